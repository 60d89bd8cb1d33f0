"""A centre's folder of bundles: objects by digest, and which version of each course stands."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from lms.outposts.bundles import envelopes
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.manifest import Entry, Manifest, digest_of, parse
from lms.outposts.bundles.names import check_course, check_paths
from lms.outposts.bundles.problems import BundleError, DamagedError
from lms.outposts.bundles.sealing import context
from lms.protocol.sentences import sentence

_READ = 1 << 20
#: Folders in which sealed files lie open for a moment.
_OPENED = "opened-"


@dataclass(frozen=True, slots=True)
class Installed:
    """Which version of a course stands, and which stood before."""

    course: str
    version: int
    digest: str
    previous: str = ""


class Store:
    """Everything below one folder, `LMS_DATA/bundles` at a centre."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self.disk = disk or Disk()
        self.fresh = root / "fresh"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other pulls out; raises BundleError when one is under way."""
        self.disk.make_folder(self.fresh)
        with (self.root / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BundleError(
                    sentence("Another pull is under way: wait until it has ended.")
                ) from error
            yield

    def object(self, digest: str) -> Path:
        """Return where a content lies, whether it is there or not."""
        return self.root / "objects" / digest[:2] / digest

    def has(self, entry: Entry) -> bool:
        """Return whether a file's content is here, by its size; `damaged` looks closely."""
        try:
            return self.object(entry.digest).stat().st_size == entry.size
        except OSError:
            return False

    def part(self, digest: str) -> Path:
        """Return where a content grows until it is whole."""
        return self.fresh / f"{digest}.part"

    def commit(self, digests: Iterable[str]) -> None:
        """Bring whole contents to the disk and then give them their names."""
        digests = list(digests)
        self.disk.sync([self.part(digest) for digest in digests])
        folders = {self.object(digest).parent for digest in digests}
        for folder in sorted(folders):
            self.disk.make_folder(folder)
        for digest in digests:
            self.disk.rename(self.part(digest), self.object(digest))
        self.disk.sync(sorted(folders))

    def save_manifest(self, content: bytes) -> None:
        """Keep a manifest's bytes under their digest."""
        path = self.root / "manifests" / digest_of(content)
        if not path.exists():
            self.disk.write(path, content)

    def manifest_bytes(self, digest: str) -> bytes | None:
        """Return a manifest's bytes, or None when it is not here whole."""
        try:
            content = (self.root / "manifests" / digest).read_bytes()
        except OSError:
            return None
        return content if digest_of(content) == digest else None

    def manifest(self, digest: str) -> Manifest:
        """Return a manifest; raises DamagedError."""
        content = self.manifest_bytes(digest)
        if content is None:
            raise DamagedError(
                sentence("A manifest in %(folder)s is damaged: pull again.", folder=str(self.root))
            )
        return parse(content)

    def installed(self, course: str) -> Installed | None:
        """Return what stands of a course."""
        path = self.root / "installed" / f"{check_course(course)}.json"
        try:
            found = json.loads(path.read_text("utf-8"))
            return Installed(course, found["version"], found["digest"], found["previous"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                sentence("%(path)s is damaged: remove it and pull again.", path=str(path))
            ) from error

    def courses(self) -> list[str]:
        """Return the courses that stand."""
        return sorted(path.stem for path in (self.root / "installed").glob("*.json"))

    def switch(self, manifest: Manifest, digest: str) -> Installed:
        """Make a version the one that stands; its files must have been verified."""
        before = self.installed(manifest.course)
        previous = before.digest if before and before.digest != digest else ""
        if before and before.digest == digest:
            previous = before.previous
        record = {"version": manifest.version, "digest": digest, "previous": previous}
        path = self.root / "installed" / f"{manifest.course}.json"
        self.disk.write(path, json.dumps(record).encode())
        return Installed(manifest.course, manifest.version, digest, previous)

    def damaged(
        self, manifest: Manifest, on_bytes: Callable[[int], None] = lambda _: None
    ) -> list[Entry]:
        """Return the files whose bytes are not what the manifest says, having read all of them."""
        bad = []
        for entry in manifest.by_digest().values():
            if not self._whole(entry):
                bad.append(entry)
            on_bytes(entry.size)
        return bad

    def _whole(self, entry: Entry) -> bool:
        hashed = sha256()
        try:
            with self.object(entry.digest).open("rb", buffering=0) as file:
                while part := file.read(_READ):
                    hashed.update(part)
        except OSError:
            return False
        return hashed.hexdigest() == entry.digest

    def set_aside(self, entry: Entry) -> None:
        """Take away a content that was found damaged; what is good of it may serve to mend it."""
        path = self.object(entry.digest)
        if path.exists():
            self.disk.rename(path, self.fresh / f"{entry.digest}.rot")

    def content(self, name: str) -> Path:
        """Return where the bytes lie of a content, or of one that was set aside."""
        return self.fresh / name if name.endswith(".rot") else self.object(name)

    def scanned(self, entries: Iterable[Entry]) -> list[tuple[str, Path]]:
        """Return name and place of everything here that chunks may be found in."""
        names = [entry.digest for entry in entries]
        names += [path.name for path in sorted(self.fresh.glob("*.rot"))]
        return [(name, self.content(name)) for name in dict.fromkeys(names)]

    def lease(self, digest: str, name: str) -> None:
        """Keep a version for as long as `name` uses it, such as a running assignment."""
        check_course(name)
        self.disk.write(self.root / "leases" / f"{digest}.{name}", b"")

    def release(self, digest: str, name: str) -> None:
        """End a lease."""
        self.disk.remove(self.root / "leases" / f"{digest}.{check_course(name)}")

    def collect(self) -> int:
        """Remove contents of no kept version; returns how many bytes that freed."""
        kept = self._kept()
        wanted = {
            entry.digest
            for digest in kept
            if self.manifest_bytes(digest) is not None
            for entry in self.manifest(digest).entries
        }
        freed = 0
        for path in (self.root / "objects").glob("??/*"):
            if path.name not in wanted:
                freed += path.stat().st_size
                self.disk.remove(path)
        for path in (self.root / "manifests").glob("*"):
            if path.name not in kept:
                self.disk.remove(path)
        return freed

    def tidy(self) -> None:
        """Remove what unfinished pulls left, once there is none."""
        for path in self.fresh.glob("*"):
            self.disk.remove(path)
        for path in self.root.glob(f"{_OPENED}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _kept(self) -> set[str]:
        kept = {path.name.partition(".")[0] for path in (self.root / "leases").glob("*.*")}
        for course in self.courses():
            stands = self.installed(course)
            if stands is not None:
                kept |= {stands.digest, stands.previous} - {""}
        return kept

    def key_of(self, seal: str) -> bytes | None:
        """Return the key of a seal that was opened here."""
        try:
            return (self.root / "opened" / _seal_name(seal)).read_bytes()
        except FileNotFoundError:
            return None

    def keep_key(self, seal: str, key: bytes) -> None:
        """Keep the key of a seal that a code has opened."""
        # Its group is the folder's: whoever opened it, pages and commands both read it.
        self.disk.write(self.root / "opened" / _seal_name(seal), key, 0o640)

    def opened(self, manifest: Manifest) -> list[str]:
        """Return the seals of a version that are open here."""
        return sorted(name for name in manifest.seals if self.key_of(name) is not None)

    def lay_out(self, manifest: Manifest, folder: Path, *, without: str = "") -> None:
        """Make a copy of the version's files in a folder; a link could be written through.

        The files of the folder `without` stay out. Sealed files come with them once their seal is
        open; raises DamagedError.
        """
        left_out = f"{without}/" if without else "\0"
        for entry in manifest.entries:
            if not entry.seal and not entry.path.startswith(left_out):
                _copy(self.object(entry.digest), folder / entry.path)
        for seal in self.opened(manifest):
            with self.unsealed(manifest, seal) as opened:
                plain = [entry.path for entry in manifest.entries if not entry.seal]
                check_paths([*opened.files, *plain])
                for path, (digest, _) in opened.files.items():
                    _copy(opened.path(digest), folder / path)

    @contextmanager
    def unsealed(self, manifest: Manifest, seal: str) -> Iterator[envelopes.Opened]:
        """Open the envelopes of a seal that is open here, for a moment; raises DamagedError."""
        entries = sorted((e for e in manifest.entries if e.seal == seal), key=lambda e: e.path)
        row = [self.object(entry.digest) for entry in entries]
        key = self.key_of(seal) or b""
        with TemporaryDirectory(prefix=_OPENED, dir=self.root) as scratch:
            yield envelopes.read(row, key, context(manifest.course, seal), Path(scratch))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _seal_name(seal: str) -> str:
    return check_course(seal)
