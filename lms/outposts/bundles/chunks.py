"""Chunks of every content, for centres whose files no step fits: older, damaged or another's.

One table a version names the chunks of all contents in two levels: groups of chunks, and the chunks
of each group. A centre cuts what it has in the same way, skips the groups it knows, and fetches the
rows and then the chunks of the others.
"""

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from lms.outposts.bundles.cutting import cut
from lms.outposts.bundles.frames import compress, decompress
from lms.outposts.bundles.manifest import LARGEST, Manifest, digest_of
from lms.outposts.bundles.problems import HostileError
from lms.protocol.sentences import sentence

#: Average chunk of small contents, whose changes are small, and of large ones with long tables.
_SMALL, _LARGE, _SMALL_CONTENT = 4096, 16384, 256 << 10
_MOST_RAW = 4 * _LARGE
#: Bytes of a pack of chunks at the most, and chunks that are packed at once: both lie in memory.
_PACK_BYTES, _AT_ONCE = 128 << 20, 1024
#: A group ends at a chunk whose name has these bits all zero: after 64 chunks on average.
_GROUP_MASK, _MOST_IN_GROUP = 63, 512
_GROUP, _ROW = struct.Struct("<QIH"), struct.Struct("<QIHII")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its name (64 bits of its hash), raw size, and where it lies packed."""

    name: int
    raw: int
    pack: int = 0
    start: int = 0
    packed: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Chunks in a row: a name made of theirs, raw size, and which rows tell of them."""

    name: int
    raw: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Described:
    """What the signed metadata says of a version's table."""

    head: int
    head_raw: int
    groups: int
    digest: str
    size: int

    @property
    def first(self) -> int:
        """Return the bytes before the rows."""
        return self.head + self.groups

    def to_json(self) -> list[object]:
        """Return the parts in a row."""
        return [self.head, self.head_raw, self.groups, self.digest, self.size]

    @classmethod
    def from_json(cls, row: object) -> "Described":
        """Read a row; raises HostileError."""
        match row:
            case [int(head), int(raw), int(groups), str(digest), int(size)] if (
                0 < head <= LARGEST and 0 < raw <= LARGEST and 0 <= groups <= LARGEST
                and size >= head + groups
            ):  # fmt: skip
                return cls(head, raw, groups, digest, size)
            case _:
                raise _unreadable()


@dataclass(frozen=True, slots=True)
class Table:
    """The first level of a version's table."""

    packs: tuple[tuple[str, int], ...]
    groups: Mapping[str, tuple[Group, ...]]


def table_path(digest: str) -> str:
    """Return where the table of a manifest lies in a repository."""
    return f"chunks/{digest[:2]}/{digest}.table"


def pack_path(digest: str) -> str:
    """Return where a pack of chunks lies in a repository."""
    return f"chunks/{digest[:2]}/{digest}.pack"


def name_of(content: bytes | memoryview) -> int:
    """Return the name of a chunk."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def chunks_of(content: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield name, offset and length of a content's chunks."""
    average = _SMALL if len(content) <= _SMALL_CONTENT else _LARGE
    for offset, length in cut(content, average):
        yield name_of(content[offset : offset + length]), offset, length


def grouped(chunks: Iterable[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    """Yield the chunks in groups; the same chunks give the same groups wherever they lie."""
    group: list[tuple[int, int, int]] = []
    for chunk in chunks:
        group.append(chunk)
        if not chunk[0] & _GROUP_MASK or len(group) == _MOST_IN_GROUP:
            yield group
            group = []
    if group:
        yield group


def group_name(names: Iterable[int]) -> int:
    """Return the name of a group."""
    return name_of(b"".join(name.to_bytes(8, "little") for name in names))


def contents(manifest: Manifest) -> list[str]:
    """Return the digests that a table tells of, in its order."""
    return sorted({entry.digest for entry in manifest.entries if entry.size})


@dataclass(frozen=True, slots=True)
class Written:
    """A version's table."""

    table: bytes
    described: Described


def write(
    manifest: Manifest,
    open_content: Callable[[str], memoryview],
    before: tuple[Table, Mapping[str, list[Chunk]]] | None,
    level: int,
    save: Callable[[str, bytes], None],
) -> Written:
    """Make the table of a version, and `save` packs of new chunks by their digests.

    Chunks and rows of the version before are used again.
    """
    packs = _Packs(list(before[0].packs) if before else [], save)
    held = dict(before[1]) if before else {}
    known = {chunk.name: chunk for chunks in held.values() for chunk in chunks}
    rows: dict[str, list[Chunk]] = {}
    with ThreadPoolExecutor(2) as pool:
        for digest in contents(manifest):
            if digest in held:
                rows[digest] = held[digest]
                continue
            content = open_content(digest)
            cuts = list(chunks_of(content))
            new = list({cut[0]: cut for cut in cuts if cut[0] not in known}.values())
            for at in range(0, len(new), _AT_ONCE):
                some = new[at : at + _AT_ONCE]
                frames = pool.map(
                    lambda c, m=content: compress(m[c[1] : c[1] + c[2]], level=level), some
                )
                for (name, _, length), frame in zip(some, frames, strict=True):
                    known[name] = packs.add(name, length, frame)
            rows[digest] = [known[name] for name, _, _ in cuts]
    packs.finish()
    return Written(*_encode(packs.described, rows))


class _Packs:
    """The packs of a version's chunks: those there are, and the one that is being filled."""

    def __init__(
        self, described: list[tuple[str, int]], save: Callable[[str, bytes], None]
    ) -> None:
        self.described = described
        self._save = save
        self._body: list[bytes] = []
        self._size = 0

    def add(self, name: int, length: int, frame: bytes) -> Chunk:
        """Take in a packed chunk and return where it lies."""
        if self._size + len(frame) > _PACK_BYTES:
            self.finish()
        chunk = Chunk(name, length, len(self.described), self._size, len(frame))
        self._body.append(frame)
        self._size += len(frame)
        return chunk

    def finish(self) -> None:
        """Save what was filled, if there is any."""
        if not self._body:
            return
        content = b"".join(self._body)
        digest = digest_of(content)
        self._save(digest, content)
        self.described.append((digest, len(content)))
        self._body, self._size = [], 0


def _encode(
    packs: list[tuple[str, int]], rows: Mapping[str, list[Chunk]]
) -> tuple[bytes, Described]:
    counts, groups, flat = [], [], []
    for chunks in rows.values():
        cuts = [(chunk.name, number, chunk.raw) for number, chunk in enumerate(chunks)]
        found = list(grouped(cuts))
        counts.append(len(found))
        for group in found:
            size = sum(raw for _, _, raw in group)
            groups.append(_GROUP.pack(group_name(name for name, _, _ in group), size, len(group)))
        flat += [_ROW.pack(c.name, c.raw, c.pack, c.start, c.packed) for c in chunks]
    head = json.dumps({"packs": packs, "groups": counts}, separators=(",", ":")).encode()
    packed, first = compress(head), b"".join(groups)
    table = packed + first + b"".join(flat)
    digest = digest_of(packed + first)
    return table, Described(len(packed), len(head), len(first), digest, len(table))


def read(first: bytes, described: Described, manifest: Manifest) -> Table:
    """Return the first level of a table, checked against the signed digest; raises HostileError."""
    if digest_of(first) != described.digest:
        raise _unreadable()
    try:
        head = json.loads(decompress(first[: described.head], described.head_raw))
        packs = tuple((str(digest), int(size)) for digest, size in head["packs"])
        counts = [int(count) for count in head["groups"]]
        rows = list(_GROUP.iter_unpack(first[described.head :]))
        digests = contents(manifest)
        if sum(counts) != len(rows) or len(counts) != len(digests):
            raise _unreadable()
    except (ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
        raise _unreadable() from error
    groups: dict[str, tuple[Group, ...]] = {}
    at = number = 0
    for digest, count in zip(digests, counts, strict=True):
        found = []
        for name, raw, length in rows[number : number + count]:
            found.append(Group(name, raw, at, length))
            at += length
        groups[digest] = tuple(found)
        number += count
    if described.first + at * _ROW.size != described.size:
        raise _unreadable()
    return Table(packs, groups)


def place_of(described: Described, group: Group) -> tuple[int, int]:
    """Return where a group's rows lie in the table's file: their first byte and their length."""
    return described.first + group.first * _ROW.size, group.count * _ROW.size


def read_rows(content: bytes, table: Table) -> list[Chunk]:
    """Return the chunks that rows tell of; raises HostileError."""
    chunks = [Chunk(*row) for row in _ROW.iter_unpack(content)]
    for chunk in chunks:
        inside = (
            0 < chunk.raw <= _MOST_RAW
            and chunk.pack < len(table.packs)
            and 0 < chunk.packed <= table.packs[chunk.pack][1] - chunk.start
            and chunk.packed <= 2 * _MOST_RAW
        )
        if not inside:
            raise _unreadable()
    return chunks


def load(
    repository: Path, digest: str, described: Described, manifest: Manifest
) -> tuple[Table, dict[str, list[Chunk]]]:
    """Return all of a version's table out of a repository."""
    content = (repository / table_path(digest)).read_bytes()
    table = read(content[: described.first], described, manifest)
    rows: dict[str, list[Chunk]] = {}
    for one, groups in table.groups.items():
        rows[one] = []
        for group in groups:
            start, length = place_of(described, group)
            rows[one] += read_rows(content[start : start + length], table)
    return table, rows


def _unreadable() -> HostileError:
    return HostileError(sentence("The table of chunks breaks the rules of its format."))
