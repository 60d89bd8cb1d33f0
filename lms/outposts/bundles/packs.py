"""Writing packs: like beside like in frames of some megabytes, and reading files out of them."""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath

from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.frames import FRAME_BYTES, compress, decompress
from lms.outposts.bundles.manifest import Entry, Pack
from lms.outposts.bundles.problems import DamagedError
from lms.protocol.sentences import sentence

#: Packed bytes after which a next pack begins: far below what FAT32 holds.
_PACK_BYTES = 256 << 20
#: Letters of a pack's digest that name it within a manifest.
_NAME = 12


@dataclass(slots=True)
class Place:
    """Where a content lies."""

    pack: str
    frame: int
    offset: int


@dataclass(slots=True)
class _Frame:
    """Raw bytes of a frame to be: parts of files."""

    parts: list[tuple[Path, int, int]] = field(default_factory=list)
    size: int = 0


def open_bytes(path: Path) -> memoryview:
    """Return a file's bytes without reading them all into memory."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def order(path: str) -> tuple[str, str, str]:
    """Return the sort key that puts files of one kind, and then of one folder, side by side."""
    pure = PurePosixPath(path)
    return pure.suffix, pure.parent.as_posix(), pure.name


def write_packs(
    repository: Path,
    groups: Iterable[list[tuple[str, Path, int]]],
    on_progress: Callable[[int], None],
    level: int,
) -> tuple[dict[str, Place], dict[str, Pack]]:
    """Pack contents (digest, file, size), groups never sharing a frame; returns where each lies."""
    places: dict[str, Place] = {}
    packs: dict[str, Pack] = {}
    frames: list[_Frame] = []
    found: dict[str, tuple[int, int]] = {}
    for group in groups:
        _lay(group, frames, found)
    begin = 0
    threads = max(1, len(os.sched_getaffinity(0)))
    writer = _Writer(repository)
    with ThreadPoolExecutor(threads) as pool:
        for number, frame in enumerate(_compressed(pool, frames, threads, level)):
            writer.add(frame, frames[number].size)
            on_progress(frames[number].size)
            if _ends_pack(writer.size, frames[number + 1 : number + 2]):
                name, pack = writer.finish()
                packs[name] = pack
                for digest, (at, offset) in found.items():
                    if begin <= at <= number:
                        places[digest] = Place(name, at - begin, offset)
                begin = number + 1
    return places, packs


def _ends_pack(size: int, following: list[_Frame]) -> bool:
    """Say whether a pack of this size ends before the following frame: never within a content."""
    if not following:
        return True
    path, at, _ = following[0].parts[0]
    return at == 0 and max(size, path.stat().st_size) >= _PACK_BYTES


def _lay(
    group: list[tuple[str, Path, int]],
    frames: list[_Frame],
    found: dict[str, tuple[int, int]],
) -> None:
    current: _Frame | None = None
    for digest, path, size in group:
        if not size or digest in found:
            continue
        if current is None or current.size + size > FRAME_BYTES:
            current = _Frame()
            frames.append(current)
        found[digest] = (len(frames) - 1, current.size)
        for at in range(0, size, FRAME_BYTES):
            length = min(FRAME_BYTES, size - at)
            if current.size + length > FRAME_BYTES:
                current = _Frame()
                frames.append(current)
            current.parts.append((path, at, length))
            current.size += length


def _compressed(
    pool: ThreadPoolExecutor, frames: list[_Frame], ahead: int, level: int
) -> Iterator[bytes]:
    """Yield the frames in their order; only some are in memory at once."""
    step = ahead * 2
    for begin in range(0, len(frames), step):
        yield from pool.map(lambda frame: _compress(frame, level), frames[begin : begin + step])


def _compress(frame: _Frame, level: int) -> bytes:
    return compress(b"".join(_read(*part) for part in frame.parts), level=level)


def _read(path: Path, at: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        content = file.read(length)
    if len(content) != length:
        raise DamagedError(sentence("%(path)s changed while it was read.", path=str(path)))
    return content


class _Writer:
    """A pack that is being written."""

    def __init__(self, repository: Path) -> None:
        self._folder = repository / "objects"
        self._disk = Disk()
        self._begin()

    def _begin(self) -> None:
        self._path = self._folder / ".fresh.pack"
        self._disk.remove(self._path)
        self._hash = sha256()
        self._frames: list[tuple[int, int]] = []
        self.size = 0

    def add(self, frame: bytes, raw: int) -> None:
        """Append a frame."""
        if not self._frames:
            self._disk.make_folder(self._folder)
        self._disk.append(self._path, frame)
        self._hash.update(frame)
        self._frames.append((len(frame), raw))
        self.size += len(frame)

    def finish(self) -> tuple[str, Pack]:
        """Give the pack its name; returns its short name and what it holds."""
        pack = Pack(self._hash.hexdigest(), tuple(self._frames))
        final = self._folder.parent / pack.path
        self._disk.sync([self._path])
        self._disk.make_folder(final.parent)
        self._disk.rename(self._path, final)
        self._disk.sync([final.parent])
        self._begin()
        return pack.digest[:_NAME], pack


def read_entry(repository: Path, entry: Entry, pack: Pack) -> Iterator[bytes]:
    """Yield a file's bytes out of a repository's pack, unchecked."""
    left, skip, frame = entry.size, entry.offset, entry.frame
    with (repository / pack.path).open("rb") as file:
        while left:
            packed, raw = pack.frames[frame]
            file.seek(pack.starts[frame])
            part = decompress(file.read(packed), raw)[skip : skip + left]
            yield part
            left -= len(part)
            skip, frame = 0, frame + 1
