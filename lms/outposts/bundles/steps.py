"""One step from a version to the next: the new manifest, then each changed file's delta.

It is read from its front to its end, so that an update is one request. Its head is named in
the course's signed metadata; what follows is checked by the digests of what comes out of it.
"""

import json
from dataclasses import dataclass
from typing import Any

from lms.outposts.bundles.delta import Copy, Patch, Segment
from lms.outposts.bundles.frames import FRAME_BYTES, PATCH_BYTES, compress, decompress
from lms.outposts.bundles.manifest import LARGEST, Entry, Manifest, digest_of, parse
from lms.outposts.bundles.problems import HostileError
from lms.protocol.sentences import sentence

#: The most that a step's table of segments may measure.
_LARGEST_TABLE = 64 << 20


@dataclass(frozen=True, slots=True)
class Described:
    """What the signed metadata says of a step."""

    manifest: int
    manifest_raw: int
    table: int
    table_raw: int
    digest: str
    size: int

    @property
    def head(self) -> int:
        """Return the bytes before the first delta."""
        return self.manifest + self.table

    def to_json(self) -> list[object]:
        """Return the parts in a row."""
        return [
            *(self.manifest, self.manifest_raw, self.table, self.table_raw),
            *(self.digest, self.size),
        ]

    @classmethod
    def from_json(cls, row: object) -> "Described":
        """Read a row; raises HostileError."""
        match row:
            case [int(m), int(mr), int(t), int(tr), str(digest), int(size)] if (
                0 < m <= LARGEST and 0 < mr <= LARGEST and 0 < t <= _LARGEST_TABLE
                and 0 < tr <= _LARGEST_TABLE and size >= m + t
            ):  # fmt: skip
                return cls(m, mr, t, tr, digest, size)
            case _:
                raise _unreadable()


@dataclass(frozen=True, slots=True)
class Delta:
    """How a file comes out of one of the base version; its frames begin at `start`."""

    digest: str
    base: str
    start: int
    segments: tuple[Segment, ...]


def step_path(digest: str, base: str) -> str:
    """Return where the step to a manifest lies in a repository."""
    return f"deltas/{digest[:2]}/{digest}-{base}.delta"


def write_step(
    manifest: bytes, base: bytes, deltas: list[tuple[Delta, list[bytes]]]
) -> tuple[bytes, Described]:
    """Return a step's bytes and what the metadata says of it."""
    new, old = _numbers(parse(manifest)), _numbers(parse(base))
    table = json.dumps(
        [
            [new[delta.digest], old[delta.base], *map(write_segment, delta.segments)]
            for delta, _ in deltas
        ],
        separators=(",", ":"),
    ).encode()
    first, second = compress(manifest, base[-PATCH_BYTES:]), compress(table)
    head = first + second
    content = head + b"".join(frame for _, frames in deltas for frame in frames)
    sizes = (len(first), len(manifest), len(second), len(table))
    return content, Described(*sizes, digest_of(head), len(content))


def read_manifest(head: bytes, described: Described, base: bytes) -> bytes:
    """Return the new manifest's bytes, checked against the signed digest of the head."""
    if len(head) != described.head or digest_of(head) != described.digest:
        raise _unreadable()
    return decompress(head[: described.manifest], described.manifest_raw, base[-PATCH_BYTES:])


def read_deltas(head: bytes, described: Described, new: Manifest, base: Manifest) -> list[Delta]:
    """Return the deltas of a step whose head was checked; raises HostileError."""
    table = decompress(head[described.manifest :], described.table_raw)
    deltas, at = [], described.head
    try:
        for number, source, *flat in json.loads(table):
            if min(number, source) < 0:
                raise _unreadable()
            entry, old = new.entries[number], base.entries[source]
            segments = tuple(read_segment(row) for row in flat)
            _check(segments, entry, old)
            deltas.append(Delta(entry.digest, old.digest, at, segments))
            at += sum(part.packed for part in segments if isinstance(part, Patch))
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise _unreadable() from error
    if at != described.size:
        raise _unreadable()
    return deltas


def _check(segments: tuple[Segment, ...], entry: Entry, base: Entry) -> None:
    total = 0
    for part in segments:
        if isinstance(part, Copy):
            total += part.length
            inside = part.offset >= 0 and 0 < part.length <= base.size - part.offset
        else:
            total += part.raw
            most = PATCH_BYTES if len(segments) == 1 else FRAME_BYTES
            inside = (
                part.window >= 0
                and 0 <= part.window_length <= min(PATCH_BYTES, base.size - part.window)
                and 0 < part.raw <= most
                and 0 < part.packed <= 2 * most
            )
        if not inside:
            raise _unreadable()
    if total != entry.size:
        raise _unreadable()


def write_segment(part: Segment) -> list[int]:
    """Return a segment as numbers in a row."""
    if isinstance(part, Copy):
        return [part.offset, part.length]
    return [part.window, part.window_length, part.raw, part.packed]


def read_segment(row: Any) -> Segment:  # noqa: ANN401 - whatever JSON holds
    """Read a segment; raises HostileError."""
    match row:
        case [int(offset), int(length)]:
            return Copy(offset, length)
        case [int(window), int(length), int(raw), int(packed)]:
            return Patch(window, length, raw, packed)
        case _:
            raise _unreadable()


def _numbers(manifest: Manifest) -> dict[str, int]:
    return {entry.digest: number for number, entry in enumerate(manifest.entries)}


def _unreadable() -> HostileError:
    return HostileError(sentence("The step to the new version breaks the rules of its format."))
