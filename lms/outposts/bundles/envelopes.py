"""Envelopes: the sealed files of a course in closed files, each leaning on those before it.

The first envelope of a seal holds its files whole, a later one only what changed, as patches that
were made before they were closed. So an update costs what is new, a centre that comes later takes
the whole row, and nothing of the files shows but the size of all of them together, rounded up.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lms.outposts.bundles.delta import Copy, make
from lms.outposts.bundles.frames import FRAME_BYTES, LEVEL, PATCH_BYTES, compress, decompress
from lms.outposts.bundles.manifest import LARGEST
from lms.outposts.bundles.measuring import measure
from lms.outposts.bundles.names import check_paths
from lms.outposts.bundles.packs import open_bytes, order
from lms.outposts.bundles.problems import DamagedError
from lms.outposts.bundles.sealing import close, unclose
from lms.outposts.bundles.steps import read_segment, write_segment
from lms.protocol.sentences import sentence

#: Envelopes lie here among a bundle's files, named by their seal and number.
FOLDER = ".sealed"
#: What is closed is filled up to a multiple of this.
_ROUND = 1024
_HEAD = 16
_DIGEST = re.compile(r"[0-9a-f]{64}")


def envelope_path(seal: str, number: int) -> str:
    """Return the path of an envelope in a bundle."""
    return f"{FOLDER}/{seal}-{number:04}"


def number_of(path: str) -> int:
    """Return the number of an envelope."""
    return int(path.rpartition("-")[2])


@dataclass(slots=True)
class Opened:
    """What a seal's envelopes hold: of each path the digest and size, and where contents lie."""

    folder: Path
    files: dict[str, tuple[str, int]] = field(default_factory=dict)

    def path(self, digest: str) -> Path:
        """Return where a content lies."""
        if not _DIGEST.fullmatch(digest):
            raise _damaged()
        return self.folder / digest

    def contents(self) -> dict[str, Path]:
        """Return where every content lies that the envelopes ever held, by digest."""
        return {path.name: path for path in self.folder.iterdir() if _DIGEST.fullmatch(path.name)}


def read(envelopes: Iterable[Path], key: bytes, bound: bytes, scratch: Path) -> Opened:
    """Open a seal's envelopes in their order into a folder; raises DamagedError."""
    opened = Opened(scratch)
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in envelopes:
        plain = scratch / "plain"
        try:
            with path.open("rb") as source, plain.open("wb") as target:
                for part in unclose(source, key, bound):
                    target.write(part)
            opened.files = _unpack(open_bytes(plain), opened)
        except OSError as error:
            raise _damaged() from error
        finally:
            plain.unlink(missing_ok=True)
    check_paths(opened.files)
    return opened


def _unpack(content: memoryview, opened: Opened) -> dict[str, tuple[str, int]]:
    try:
        packed, raw = (int.from_bytes(content[at : at + 8], "big") for at in (0, 8))
        if raw > LARGEST:
            raise _damaged()
        index = json.loads(decompress(content[_HEAD : _HEAD + packed], raw))
        at = _whole(content, _HEAD + packed, index, opened)
        for digest, base, *segments in index["patched"]:
            at = _patched(content, at, (opened.path(base), opened.path(digest)), segments)
            _check(opened.path(digest), digest)
        files = {str(path): (str(digest), int(size)) for path, digest, size in index["files"]}
    except (ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise _damaged() from error
    return files


def _whole(content: memoryview, at: int, index: Mapping[str, Any], opened: Opened) -> int:
    """Write the contents that need no other one; they follow each other through the frames."""
    frames = iter(index["frames"])
    left = memoryview(b"")
    for digest, size in index["whole"]:
        with opened.path(digest).open("wb") as file:
            missing = size
            while missing > 0:
                if not left:
                    packed, raw = next(frames)
                    left = memoryview(decompress(content[at : at + packed], min(raw, FRAME_BYTES)))
                    at += packed
                part, left = left[:missing], left[missing:]
                missing -= file.write(part)
        _check(opened.path(digest), digest)
    return at


def _patched(
    content: memoryview, at: int, places: tuple[Path, Path], segments: Sequence[object]
) -> int:
    base, target = places
    with base.open("rb") as old, target.open("wb") as new:
        for part in map(read_segment, segments):
            if isinstance(part, Copy):
                new.write(os.pread(old.fileno(), part.length, part.offset))
                continue
            if max(part.raw, part.window_length) > PATCH_BYTES:
                raise _damaged()
            window = os.pread(old.fileno(), part.window_length, part.window)
            new.write(decompress(content[at : at + part.packed], part.raw, window))
            at += part.packed
    return at


def _check(path: Path, digest: str) -> None:
    if measure(path)[1] != digest:
        raise _damaged()


def add(
    files: Mapping[str, Path],
    before: Opened | None,
    place: tuple[Path, bytes, bytes],
    level: int = LEVEL,
) -> None:
    """Write an envelope with all files, or with what is new since `before`.

    `place` is the file to write, the seal's key and what it is bound to.
    """
    sized = {path: measure(file) for path, file in files.items()}
    held = {digest for digest, _ in before.files.values()} if before else set()
    fresh = {
        digest: (path, files[path]) for path, (_, digest) in sized.items() if digest not in held
    }
    whole, patched, patches = [], [], []
    for digest, (path, file) in sorted(fresh.items(), key=lambda one: order(one[1][0])):
        base = before.files.get(path) if before else None
        if before is None or base is None or not file.stat().st_size:
            whole.append((digest, file))
            continue
        segments, frames = make(open_bytes(before.path(base[0])), open_bytes(file), level)
        patched.append([digest, base[0], *map(write_segment, segments)])
        patches += frames
    frames, sizes = _frames([file for _, file in whole], level)
    index = {
        "frames": sizes,
        "whole": [[digest, file.stat().st_size] for digest, file in whole],
        "patched": patched,
        "files": [[path, digest, size] for path, (size, digest) in sorted(sized.items())],
    }
    target, key, bound = place
    with target.open("wb") as out:
        close(_rounded(index, [*frames, *patches]), out, key, bound)


def _frames(files: list[Path], level: int) -> tuple[list[bytes], list[tuple[int, int]]]:
    frames, sizes, rest = [], [], b""
    for file in files:
        with file.open("rb") as source:
            while part := source.read(FRAME_BYTES):
                rest += part
                while len(rest) >= FRAME_BYTES:
                    frames.append(compress(rest[:FRAME_BYTES], level=level))
                    sizes.append((len(frames[-1]), FRAME_BYTES))
                    rest = rest[FRAME_BYTES:]
    if rest:
        frames.append(compress(rest, level=level))
        sizes.append((len(frames[-1]), len(rest)))
    return frames, sizes


def _rounded(index: Mapping[str, Any], frames: list[bytes]) -> Iterator[bytes]:
    raw = json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()
    packed = compress(raw)
    yield len(packed).to_bytes(8, "big") + len(raw).to_bytes(8, "big") + packed
    yield from frames
    size = _HEAD + len(packed) + sum(map(len, frames))
    yield bytes(-size % _ROUND)


def _damaged() -> DamagedError:
    return DamagedError(sentence("A sealed file is damaged: pull the course again."))
