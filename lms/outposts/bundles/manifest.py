"""What a bundle's version holds: each file, its digest, and where its bytes lie in packs."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from lms.outposts.bundles.frames import FRAME_BYTES
from lms.outposts.bundles.names import check_course, check_paths
from lms.outposts.bundles.problems import HostileError
from lms.protocol.sentences import sentence

FORMAT = 1
#: The most that a manifest may measure.
LARGEST = 64 << 20
_MOST_FILES = 200_000
_LARGEST_FILE = 1 << 40
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its bytes begin at `offset` of what the pack's frames hold from `frame` on."""

    path: str
    size: int
    digest: str
    pack: str
    frame: int
    offset: int
    #: The seal that its bytes are under; empty for a file that anybody may read.
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Pack:
    """One pack: its digest and of each frame the bytes packed and raw."""

    digest: str
    frames: tuple[tuple[int, int], ...]
    starts: tuple[int, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        starts, at = [], 0
        for packed, _ in self.frames:
            starts.append(at)
            at += packed
        object.__setattr__(self, "starts", (*starts, at))

    @property
    def size(self) -> int:
        """Return the bytes of the whole pack."""
        return self.starts[-1]

    @property
    def path(self) -> str:
        """Return where the pack lies in a repository."""
        return f"objects/{self.digest[:2]}/{self.digest}.pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One version of one course's bundle."""

    course: str
    version: int
    #: The software version that a centre needs at least.
    needs: str
    metadata: Mapping[str, Any]
    entries: tuple[Entry, ...]
    packs: Mapping[str, Pack]
    #: Seal -> what opens it (see `sealing`).
    seals: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the manifest's bytes: a line a file, so that versions differ in few lines."""
        head = {
            "format": FORMAT,
            "course": self.course,
            "version": self.version,
            "needs": self.needs,
            "metadata": dict(self.metadata),
            "seals": dict(self.seals),
        }
        lines = [_dump(head)]
        lines += [_dump([name, pack.digest, pack.frames]) for name, pack in self.packs.items()]
        lines.append("[]")
        lines += [_dump(_row(entry)) for entry in self.entries]
        return ("\n".join(lines) + "\n").encode()

    def by_path(self) -> dict[str, Entry]:
        """Return the files by their paths."""
        return {entry.path: entry for entry in self.entries}

    def by_digest(self) -> dict[str, Entry]:
        """Return one file of each content."""
        return {entry.digest: entry for entry in reversed(self.entries)}


def digest_of(content: bytes) -> str:
    """Return the hexadecimal sha256."""
    return sha256(content).hexdigest()


def parse(content: bytes) -> Manifest:
    """Read a manifest whose signature holds, and hold it to the rules; raises HostileError."""
    try:
        lines = content.decode().splitlines()
        head, gap = json.loads(lines[0]), lines.index("[]")
        if head["format"] != FORMAT:
            raise _newer(str(head["needs"]))
        manifest = Manifest(
            course=check_course(head["course"]),
            version=_number(head["version"], 1, 1 << 53),
            needs=str(head["needs"]),
            metadata=dict(head["metadata"]),
            seals=dict(head["seals"]),
            packs=dict(_pack(json.loads(line)) for line in lines[1:gap]),
            entries=tuple(_entry(json.loads(line)) for line in lines[gap + 1 :]),
        )
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _unreadable() from error
    if len(manifest.entries) > _MOST_FILES:
        raise _unreadable()
    check_paths(entry.path for entry in manifest.entries)
    _check_places(manifest)
    return manifest


def _check_places(manifest: Manifest) -> None:
    for entry in manifest.entries:
        pack = manifest.packs.get(entry.pack)
        if entry.seal and entry.seal not in manifest.seals:
            raise _unreadable()
        if not entry.size:
            continue
        if pack is None or entry.frame >= len(pack.frames):
            raise _unreadable()
        room, at = -entry.offset, entry.frame
        while room < entry.size and at < len(pack.frames):
            room += pack.frames[at][1]
            at += 1
        if room < entry.size or entry.offset >= pack.frames[entry.frame][1]:
            raise _unreadable()


def _row(entry: Entry) -> list[object]:
    row = [entry.path, entry.size, entry.digest, entry.pack, entry.frame, entry.offset]
    return [*row, entry.seal] if entry.seal else row


def _entry(row: list[Any]) -> Entry:
    path, size, digest, pack, frame, offset, *seal = row
    if not isinstance(path, str) or not _DIGEST.fullmatch(digest) or len(seal) > 1:
        raise _unreadable()
    return Entry(
        path,
        _number(size, 0, _LARGEST_FILE),
        digest,
        str(pack),
        _number(frame, 0, 1 << 31),
        _number(offset, 0, FRAME_BYTES),
        *map(str, seal),
    )


def _pack(row: list[Any]) -> tuple[str, Pack]:
    name, digest, frames = row
    if not _DIGEST.fullmatch(digest):
        raise _unreadable()
    sizes = tuple(
        (_number(packed, 1, 2 * FRAME_BYTES), _number(raw, 1, FRAME_BYTES))
        for packed, raw in frames
    )
    return str(name), Pack(digest, sizes)


def _number(value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _unreadable()
    return value


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _unreadable() -> HostileError:
    return HostileError(sentence("The bundle's manifest breaks the rules of its format."))


def _newer(needs: str) -> HostileError:
    return HostileError(
        sentence(
            "This bundle needs version %(version)s of the software: update the centre first.",
            version=needs[:40],
        )
    )
