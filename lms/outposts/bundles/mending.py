"""Planning from chunks: what a centre holds in any form, and only the chunks that it lacks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lms.outposts.bundles.chunks import (
    Chunk,
    Described,
    Group,
    Table,
    chunks_of,
    group_name,
    grouped,
    pack_path,
    place_of,
    read_rows,
)
from lms.outposts.bundles.manifest import Entry, Manifest
from lms.outposts.bundles.packs import open_bytes
from lms.outposts.bundles.plan import FromBase, FromPiece, Job, Part, by_pack
from lms.outposts.bundles.wire import Piece

#: Rows of groups that lie this close are read together.
_CLOSE = 512


@dataclass(frozen=True, slots=True)
class Held:
    """Chunks and groups of chunks that are here: name -> content, offset and length."""

    chunks: dict[int, tuple[str, int, int]]
    groups: dict[int, tuple[str, int, int]]


def scan(files: Iterable[tuple[str, Path]]) -> Held:
    """Cut the contents that are here."""
    held = Held({}, {})
    for digest, path in files:
        try:
            content = open_bytes(path)
        except OSError:
            continue
        for group in grouped(chunks_of(content)):
            size = sum(length for _, _, length in group)
            name = group_name(name for name, _, _ in group)
            held.groups.setdefault(name, (digest, group[0][1], size))
            for chunk, offset, length in group:
                held.chunks.setdefault(chunk, (digest, offset, length))
    return held


def plan(
    missing: list[Entry],
    manifest: Manifest,
    table: tuple[Table, Described],
    held: Held,
    read: Callable[[int, int], bytes],
) -> dict[str, Job]:
    """Return jobs from chunks for the contents that they are cheaper for than whole frames are.

    `read` gives bytes of the table's file.
    """
    first, described = table
    wanted = [
        group
        for entry in missing
        for group in first.groups[entry.digest]
        if group.name not in held.groups
    ]
    rows = _rows(sorted(wanted, key=lambda group: group.first), first, described, read)
    jobs = {entry.digest: Job(entry, tuple(_parts(entry, first, held, rows))) for entry in missing}
    return _cheaper(jobs, manifest)


def _rows(
    groups: list[Group], table: Table, described: Described, read: Callable[[int, int], bytes]
) -> dict[int, list[Chunk]]:
    """Return the chunks of the groups, by the groups' first rows."""
    rows: dict[int, list[Chunk]] = {}
    at = 0
    while at < len(groups):
        start, length = place_of(described, groups[at])
        end, last = start + length, at + 1
        while last < len(groups) and place_of(described, groups[last])[0] - end <= _CLOSE:
            start_of, length = place_of(described, groups[last])
            end, last = max(end, start_of + length), last + 1
        content = read(start, end - start)
        for group in groups[at:last]:
            begin, length = place_of(described, group)
            part = content[begin - start : begin - start + length]
            rows[group.first] = read_rows(part, table)
        at = last
    return rows


def _parts(entry: Entry, table: Table, held: Held, rows: dict[int, list[Chunk]]) -> Iterable[Part]:
    for group in table.groups[entry.digest]:
        found = held.groups.get(group.name)
        if found is not None and found[2] == group.raw:
            yield FromBase(*found)
            continue
        for chunk in rows.get(group.first, []):
            here = held.chunks.get(chunk.name)
            if here is not None and here[2] == chunk.raw:
                yield FromBase(*here)
                continue
            digest, size = table.packs[chunk.pack]
            piece = Piece(pack_path(digest), size, chunk.start, chunk.packed, chunk.raw)
            yield FromPiece(piece, 0, chunk.raw)


def _cheaper(jobs: dict[str, Job], manifest: Manifest) -> dict[str, Job]:
    """Leave out what whole frames bring for fewer bytes; files share frames."""
    shared: dict[tuple[str, int], list[Job]] = {}
    for job in jobs.values():
        for piece in by_pack(job.entry, manifest).pieces():
            shared.setdefault(piece.key, []).append(job)
    frames = {
        piece.key: piece.packed
        for job in jobs.values()
        for piece in by_pack(job.entry, manifest).pieces()
    }
    kept = dict(jobs)
    for key, users in shared.items():
        if sum(_cost(job) for job in users) >= frames[key] * _spread(users, shared):
            for job in users:
                kept.pop(job.entry.digest, None)
    return kept


def _cost(job: Job) -> int:
    return sum({piece.key: piece.packed for piece in job.pieces()}.values())


def _spread(users: list[Job], shared: dict[tuple[str, int], list[Job]]) -> int:
    """Return over how many frames a large file lies: it is alone in most of them."""
    if len(users) > 1:
        return 1
    return sum(1 for others in shared.values() if users[0] in others)
