"""Writing a repository, or what a centre lacks of it, to a stick: files that FAT32 can hold."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import TargetFile

from lms.outposts.bundles.build import load_manifest, manifest_path
from lms.outposts.bundles.disk import Disk, room
from lms.outposts.bundles.keys import Keys
from lms.outposts.bundles.manifest import Manifest, digest_of, parse
from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.signing import Signed
from lms.outposts.bundles.steps import Described, read_deltas, step_path
from lms.protocol.sentences import sentence

#: FAT32 holds files below this and few names in a folder.
LARGEST_FILE, MOST_NAMES = (4 << 30) - 1, 4096


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written to a stick."""

    files: int
    bytes: int


def export(
    repository: Path,
    stick: Path,
    *,
    courses: Sequence[str] = (),
    since: int = 0,
    on_file: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Copy the newest versions of the courses, all without names; `since` leaves out what is known.

    What is there already is not copied again. The newest timestamp comes last, so that a stick that
    is pulled out too early still holds what it held.
    """
    signed = Signed(repository, Keys())
    wanted = [
        path
        for course in courses or signed.courses()
        for path in _course_files(repository, signed, course, since)
    ]
    wanted += [f"metadata/{name}" for name in signed.current_files()]
    _check_limits(repository, stick, wanted)
    disk, files, size = Disk(), 0, 0
    for path in wanted:
        count = _copy(repository / path, stick / path, disk, again=path.startswith("metadata/"))
        files, size = files + bool(count), size + count
        on_file(path)
    return Exported(files, size)


def _course_files(repository: Path, signed: Signed, course: str, since: int) -> list[str]:
    target = signed.course(course)
    if target is None:
        raise BundleError(
            sentence("%(folder)s has no course %(course)s.", folder=str(repository), course=course)
        )
    digest = target.hashes["sha256"]
    raw = load_manifest(repository, course, digest, target.length)
    manifest = parse(raw)
    steps = _steps(target)
    paths = [manifest_path(course, digest)]
    if not since:
        paths += [step_path(digest, base) for base in steps]
        return paths + [pack.path for pack in manifest.packs.values()]
    base, before = _known(repository, course, steps, since)
    step = step_path(digest, base)
    covered = {entry.digest for entry in before.entries} | _by_step(
        repository / step, steps[base], manifest, before
    )
    lacking = {entry.pack for entry in manifest.entries if entry.size} & {
        entry.pack for entry in manifest.entries if entry.digest not in covered and entry.size
    }
    return [*paths, step, *(manifest.packs[name].path for name in sorted(lacking))]


def _steps(target: TargetFile) -> dict[str, Described]:
    steps = target.unrecognized_fields["custom"]["steps"]
    return {base: Described.from_json(row) for base, row in steps.items()}


def _known(
    repository: Path, course: str, steps: dict[str, Described], since: int
) -> tuple[str, Manifest]:
    """Return the manifest of the version that a centre has already."""
    for base in steps:
        packed = (repository / manifest_path(course, base)).read_bytes()
        manifest = parse(_unpacked(packed))
        if manifest.version == since:
            return base, manifest
    raise BundleError(
        sentence(
            "No step leads from version %(version)s of %(course)s to the newest: export it whole.",
            version=since,
            course=course,
        )
    )


def _unpacked(packed: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompress(packed)


def _by_step(path: Path, described: Described, new: Manifest, base: Manifest) -> set[str]:
    with path.open("rb") as file:
        head = file.read(described.head)
    if digest_of(head) != described.digest:
        raise BundleError(sentence("%(path)s is damaged.", path=str(path)))
    return {delta.digest for delta in read_deltas(head, described, new, base)}


def _check_limits(repository: Path, stick: Path, paths: Sequence[str]) -> None:
    names: dict[Path, set[str]] = {}
    size = 0
    for path in paths:
        bytes_here = (repository / path).stat().st_size
        place = stick / path
        if bytes_here > LARGEST_FILE:
            raise BundleError(sentence("%(path)s is larger than a stick's file may be.", path=path))
        held = names.setdefault(place.parent, set())
        if not held and place.parent.is_dir():
            held.update(other.name for other in place.parent.iterdir())
        held.add(place.name)
        if len(held) > MOST_NAMES:
            raise BundleError(
                sentence(
                    "%(folder)s would hold more files than a stick's folder may.",
                    folder=str(place.parent),
                )
            )
        size += 0 if place.exists() else bytes_here
    stick.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(stick).free
    if size > free:
        raise BundleError(
            sentence(
                "%(stick)s has room for %(free)s MB, and %(size)s MB are to be written.",
                stick=str(stick),
                free=free >> 20,
                size=(size >> 20) + 1,
            )
        )


def _copy(source: Path, target: Path, disk: Disk, *, again: bool) -> int:
    """Copy a file whole or not at all; returns its bytes, 0 when it was there already."""
    size = source.stat().st_size
    if not again and target.is_file() and target.stat().st_size == size:
        return 0
    disk.make_folder(target.parent)
    fresh = target.with_name(f"{target.name}.new")
    with room(fresh):
        shutil.copyfile(source, fresh)
    disk.sync([fresh])
    disk.rename(fresh, target)
    disk.sync([target.parent])
    return size
