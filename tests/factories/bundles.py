"""Small courses, repositories and centres for tests of bundles."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lms.outposts.bundles.build import Added, Content, add_version
from lms.outposts.bundles.codes import mask, write_code
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.keys import ONLINE, ROOTS, Keys
from lms.outposts.bundles.pull import How, Pulled, pull
from lms.outposts.bundles.sealing import Seals
from lms.outposts.bundles.signing import Signed
from lms.outposts.bundles.source import FolderSource, Source
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.trust import Trust
from lms.outposts.bundles.wire import Pace

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
WORDS = ("gradient", "descent", "loss", "layer", "tensor", "batch", "epoch", "weight", "bias")
Files = Mapping[str, bytes]


def text(seed: int, count: int) -> bytes:
    """Return about `count` bytes of lines that compress as prose does."""
    words = random.Random(seed)  # noqa: S311 - repeatable
    lines = []
    size = 0
    while size < count:
        line = f"{words.randrange(1 << 30)} {' '.join(words.choices(WORDS, k=9))}\n"
        lines.append(line)
        size += len(line)
    return "".join(lines).encode()[:count]


def noise(seed: int, count: int) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(count)  # noqa: S311 - repeatable


def course_files(seed: int = 0) -> dict[str, bytes]:
    """Return a small course: notebooks, data, an image, an empty file, Korean names."""
    return {
        **{f"unit-{n}/source/강의-{n}.ipynb": text(seed + n, 9_000 + n) for n in range(6)},
        "data/values.csv": text(seed + 50, 150_000),
        "images/photo.jpg": noise(seed + 60, 90_000),
        "env/wheels/numpy-2.0-cp311.whl": noise(seed + 70, 60_000),
        "empty.txt": b"",
    }


def next_files(files: Files) -> dict[str, bytes]:
    """Return the version after: an edit, an append, a rename, a new file, a new wheel."""
    new = dict(files)
    new["unit-0/source/강의-0.ipynb"] = (
        new["unit-0/source/강의-0.ipynb"][:4000]
        + text(901, 300)
        + new["unit-0/source/강의-0.ipynb"][4000:]
    )
    new["data/values.csv"] += text(902, 3_000)
    new["moved/photo.jpg"] = new.pop("images/photo.jpg")
    new["unit-1/source/new.ipynb"] = text(903, 5_000)
    wheel = new.pop("env/wheels/numpy-2.0-cp311.whl")
    new["env/wheels/numpy-2.1-cp311.whl"] = wheel[:30_000] + noise(904, 500) + wheel[30_000:]
    return new


def lay_out(folder: Path, files: Files) -> dict[str, Path]:
    """Write files below a folder; returns them by path."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return {path: folder / path for path in files}


@dataclass
class Central:
    """A repository and its keys."""

    base: Path
    versions: int = 0

    @property
    def repository(self) -> Path:
        return self.base / "repository"

    @property
    def keys(self) -> Keys:
        keys = Keys(self.base / "keys")
        keys.make([*ROOTS, *ONLINE])
        return keys

    @property
    def signed(self) -> Signed:
        return Signed(self.repository, self.keys)

    @property
    def seals(self) -> Seals:
        return Seals(self.base / "seals")

    def publish(
        self,
        files: Files,
        course: str = "ml",
        now: datetime = NOW,
        level: int = 3,
        sealed: Mapping[str, datetime] | None = None,
        needs: str = "0",
    ) -> Added:
        """Add a version."""
        self.versions += 1
        files_here = lay_out(self.base / f"content-{self.versions}", files)
        content = Content(files=files_here, level=level, sealed=sealed or {}, needs=needs)
        keys, seals = self.keys, self.seals
        return add_version(self.repository, course, content, keys=keys, now=now, seals=seals)

    def code(self, centre: str, shared: bytes, course: str = "ml", number: int = 0) -> str:
        """Return the code of a course's seal for a centre that shares a secret with central."""
        one = self.seals.of(course)[number]
        over = mask(shared, course, one.seal.name, centre)
        return write_code(one.secret, over, one.seal.name, centre)


def make_store(base: Path, central: Central, disk: Disk | None = None) -> Store:
    """Return a centre's folder that trusts a central."""
    store = Store(base / "centre", disk)
    root = (central.repository / "metadata" / "1.root.json").read_bytes()
    Trust(store.root, store.disk).begin(root, NOW - timedelta(days=1))
    return store


def pull_from(
    store: Store, *sources: Source | Path, now: datetime = NOW, pace: Pace | None = None
) -> list[Pulled]:
    """Pull everything without ever sleeping."""
    listed: Sequence[Source] = [
        FolderSource(source) if isinstance(source, Path) else source for source in sources
    ]
    calm = pace or Pace(sleep=lambda _: None)
    return pull(store, How(sources=listed, machine_time=now, pace=calm))


def installed_files(store: Store, course: str = "ml") -> dict[str, bytes]:
    """Return what stands of a course, read through the store."""
    stands = store.installed(course)
    assert stands is not None
    manifest = store.manifest(stands.digest)
    return {entry.path: store.object(entry.digest).read_bytes() for entry in manifest.entries}
