"""A file out of an earlier one: runs that are copied, and frames that lean on a window of the base.

A small file is one patch with the whole base behind it. Of a large one, runs that content-defined
cuts find again are copied, and each stretch between them is patched against the base around it, so
that a centre never holds more than one window and one stretch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from lms.outposts.bundles.cutting import cut
from lms.outposts.bundles.frames import FRAME_BYTES, LEVEL, PATCH_BYTES, compress

#: The average chunk in which runs are looked for.
_CHUNK = 8192
#: Bytes of the base on either side of a stretch that its patch leans on.
_AROUND = 1 << 20
#: Files up to this are one patch, without looking for runs.
_WHOLE = 4 << 20


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes of the base as they are."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Patch:
    """A frame of `packed` bytes that unpacks to `raw` behind a window of the base."""

    window: int
    window_length: int
    raw: int
    packed: int


Segment = Copy | Patch


def make(
    base: memoryview, new: memoryview, level: int = LEVEL
) -> tuple[list[Segment], list[bytes]]:
    """Return the segments that make `new` out of `base`, and the frames of the patches."""
    if max(len(base), len(new)) <= _WHOLE:
        return _whole(base, new, level)
    segments, frames = _runs(base, new, level)
    # Compressed content (a wheel's members) moves between the cuts: lean on all of the base once.
    if max(len(base), len(new)) <= PATCH_BYTES and sum(map(len, frames)) > len(new) // 64:
        whole = _whole(base, new, level)
        if len(whole[1][0]) < sum(map(len, frames)):
            return whole
    return segments, frames


def _whole(base: memoryview, new: memoryview, level: int) -> tuple[list[Segment], list[bytes]]:
    frame = compress(new, bytes(base), level=level)
    return [Patch(0, len(base), len(new), len(frame))], [frame]


def _runs(base: memoryview, new: memoryview, level: int) -> tuple[list[Segment], list[bytes]]:
    segments: list[Segment] = []
    frames: list[bytes] = []
    near = 0
    for at, length, source in _stretches(base, new):
        if source is not None:
            segments.append(Copy(source, length))
            near = source + length
            continue
        for begin in range(at, at + length, FRAME_BYTES):
            stretch = new[begin : min(begin + FRAME_BYTES, at + length)]
            window = max(0, near - _AROUND)
            window_length = min(len(base), near + len(stretch) + _AROUND) - window
            frame = compress(stretch, bytes(base[window : window + window_length]), level=level)
            segments.append(Patch(window, window_length, len(stretch), len(frame)))
            frames.append(frame)
            near = min(len(base), near + len(stretch))
    return segments, frames


def _stretches(base: memoryview, new: memoryview) -> Iterator[tuple[int, int, int | None]]:
    """Yield offset, length and, where the base has the same bytes, their offset in it."""
    known: dict[bytes, int] = {}
    for offset, length in cut(base, _CHUNK):
        known.setdefault(_name(base[offset : offset + length]), offset)
    at, run, source = 0, 0, None
    for offset, length in cut(new, _CHUNK):
        found = known.get(_name(new[offset : offset + length]))
        follows = source is None if found is None else source is not None and found == source + run
        if run and not follows:
            yield at, run, source
            run = 0
        if not run:
            at, source = offset, found
        run += length
    if run:
        yield at, run, source


def _name(chunk: memoryview) -> bytes:
    return blake2b(chunk, digest_size=16).digest()
