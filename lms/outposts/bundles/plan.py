"""What a pull fetches: for each missing file the cheapest way that its bytes can come."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lms.outposts.bundles.delta import Copy
from lms.outposts.bundles.manifest import Entry, Manifest
from lms.outposts.bundles.steps import Delta
from lms.outposts.bundles.wire import Piece


@dataclass(frozen=True, slots=True)
class FromBase:
    """Bytes of a content that is here already."""

    base: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class FromPiece:
    """Bytes of a piece, which may lean on a window of a content that is here already."""

    piece: Piece
    offset: int
    length: int
    base: str = ""
    window: int = 0
    window_length: int = 0


Part = FromBase | FromPiece


@dataclass(frozen=True, slots=True)
class Job:
    """One content that is missing, and the parts that make it."""

    entry: Entry
    parts: tuple[Part, ...]

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces in their order."""
        for part in self.parts:
            if isinstance(part, FromPiece):
                yield part.piece


def by_delta(entry: Entry, delta: Delta, path: str, whole: int) -> Job:
    """Return the job that makes a file out of an earlier one."""
    parts: list[Part] = []
    start = delta.start
    for segment in delta.segments:
        if isinstance(segment, Copy):
            parts.append(FromBase(delta.base, segment.offset, segment.length))
            continue
        piece = Piece(path, whole, start, segment.packed, segment.raw)
        window = (segment.window, segment.window_length)
        parts.append(FromPiece(piece, 0, segment.raw, delta.base, *window))
        start += segment.packed
    return Job(entry, tuple(parts))


def by_pack(entry: Entry, manifest: Manifest) -> Job:
    """Return the job that takes a file out of the packs."""
    parts: list[Part] = []
    left, offset, number = entry.size, entry.offset, entry.frame
    while left:
        pack = manifest.packs[entry.pack]
        packed, raw = pack.frames[number]
        length = min(left, raw - offset)
        piece = Piece(pack.path, pack.size, pack.starts[number], packed, raw)
        parts.append(FromPiece(piece, offset, length))
        left, offset, number = left - length, 0, number + 1
    return Job(entry, tuple(parts))


def make_jobs(missing: Iterable[Entry], manifest: Manifest, deltas: Mapping[str, Job]) -> list[Job]:
    """Return the jobs in the order in which their bytes lie in the repository."""
    jobs = [deltas.get(entry.digest) or by_pack(entry, manifest) for entry in missing]
    return sorted(jobs, key=_place)


def _place(job: Job) -> tuple[str, int, int]:
    for part in job.parts:
        if isinstance(part, FromPiece):
            return part.piece.path, part.piece.start, part.offset
    return "", 0, 0


def unique(jobs: Iterable[Job]) -> list[Piece]:
    """Return each piece of the jobs once, in their order."""
    return list({piece.key: piece for job in jobs for piece in job.pieces()}.values())
