"""Fetching pieces in their order: one request for what lies together, from whoever gives it.

A piece that was cut off is kept to the last megabyte on the disk, so that neither a broken line
nor a killed process fetches it again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.frames import decompress
from lms.outposts.bundles.manifest import digest_of
from lms.outposts.bundles.problems import DamagedError, SourceError
from lms.outposts.bundles.source import MissingError, Source
from lms.protocol.sentences import sentence

#: Fetched bytes after which they are brought to the disk.
COMMIT_BYTES = 1 << 20
#: The most that one request asks for.
_RUN_BYTES = 64 << 20
_PAUSE, _LONGEST_PAUSE = 0.05, 5.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame in a file of the repository: where it lies and what it unpacks to."""

    path: str
    whole: int
    start: int
    packed: int
    raw: int

    @property
    def key(self) -> tuple[str, int]:
        """Return what tells pieces apart."""
        return self.path, self.start


class ClosedError(SourceError):
    """It is not the time at which the line may be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much of the line may be used, and when."""

    bytes_per_second: int = 0
    #: First and last hour of the day, such as 22 and 6; None is always.
    hours: tuple[int, int] | None = None
    sleep: Callable[[float], None] = time.sleep
    #: The hour of the day, asked again before each request.
    hour: Callable[[], int] = lambda: datetime.now().astimezone().hour  # noqa: TID251 - a wall clock

    def open(self) -> None:
        """Raise ClosedError outside the hours."""
        if self.hours is None:
            return
        first, last = self.hours
        hour = self.hour()
        inside = first <= hour < last if first <= last else hour >= first or hour < last
        if not inside:
            raise ClosedError(
                sentence("The line is used from %(first)s:00 on; the rest waits.", first=first)
            )

    def wait(self, count: int) -> None:
        """Take the time that `count` bytes may take."""
        if self.bytes_per_second:
            self.sleep(count / self.bytes_per_second)


class Wire:
    """The sources of one pull, and the pieces in the order in which they are asked for."""

    def __init__(
        self,
        sources: Sequence[Source],
        fresh: Path,
        disk: Disk,
        *,
        pace: Pace,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._sources = list(sources)
        self._fresh = fresh
        self._disk = disk
        self._pace = pace
        self._on_bytes = on_bytes
        self._ends: dict[tuple[str, int], int] = {}
        self._stream: Iterator[bytes] = iter(())
        self._at: tuple[Source | None, str, int] = (None, "", 0)
        #: Where the request under way ends.
        self._stop = 0
        self._left = b""
        self._last: tuple[Piece | None, bytes] = (None, b"")
        #: Bytes fetched since the last commit, and the spools that it makes useless.
        self.uncommitted = 0
        self._spools: list[Path] = []
        #: The last thing that a source said.
        self.problem: SourceError | None = None

    def expect(self, pieces: Sequence[Piece]) -> None:
        """Learn what will be asked for, so that what lies together is one request."""
        self._ends = {}
        end, follows = 0, ("", -1)
        for piece in reversed(pieces):
            touches = follows == (piece.path, piece.start + piece.packed)
            if not touches or end - piece.start > _RUN_BYTES:
                end = piece.start + piece.packed
            self._ends[piece.key] = end
            follows = piece.key

    def get(self, piece: Piece, base: Callable[[], bytes] | None = None) -> bytes:
        """Return a piece unpacked; DamagedError: none has it whole, SourceError: none is left."""
        if self._last[0] == piece:
            return self._last[1]
        damaged: DamagedError | None = None
        for source in list(self._sources):
            try:
                frame = self._fetch(source, piece)
                raw = decompress(frame, piece.raw, base() if base else b"")
            except DamagedError as error:
                # Not to be taken for a good beginning by the next source.
                self._disk.remove(self._spool(piece))
                self._drop_stream()
                damaged = error
            except MissingError as error:
                self.problem, damaged = error, damaged or DamagedError(error.sentence)
                self._drop_stream()
            except SourceError as error:
                self.problem = error
                self._drop_stream()
                self._sources.remove(source)
            else:
                self._last = (piece, raw)
                return raw
        if damaged is not None and self._sources:
            raise damaged
        raise self.problem or SourceError(sentence("There is no source to pull from."))

    def committed(self) -> None:
        """Forget what the disk now holds as contents."""
        for path in self._spools:
            self._disk.remove(path)
        self._spools = []
        self.uncommitted = 0

    def close(self) -> None:
        """End the request under way."""
        self._drop_stream()

    def _fetch(self, source: Source, piece: Piece) -> bytes:
        spool = self._spool(piece)
        have = bytearray(_read(spool)[: piece.packed])
        durable, pause, patience = len(have), _PAUSE, source.patience
        while len(have) < piece.packed:
            before = len(have)
            try:
                for part in self._parts(source, piece, len(have)):
                    have += part
                    if len(have) - durable >= COMMIT_BYTES:
                        durable = self._save(spool, have, durable)
            except MissingError:
                raise
            except SourceError:
                durable = self._save(spool, have, durable)
                patience = source.patience if len(have) > before else patience - 1
                if patience <= 0:
                    raise
                self._drop_stream()
                self._pace.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2) if len(have) == before else _PAUSE
        if durable:
            self._spools.append(spool)
        return bytes(have)

    def _parts(self, source: Source, piece: Piece, done: int) -> Iterator[bytes]:
        """Yield a piece's bytes from `done` on, going on with the request under way if it fits."""
        start, end = piece.start + done, piece.start + piece.packed
        if self._at != (source, piece.path, start) or end > self._stop:
            self._drop_stream()
            self._pace.open()
            self._stop = max(end, self._ends.get(piece.key, end))
            self._stream = source.read(piece.path, start, self._stop - start, piece.whole)
        while start < end:
            part = self._left or next(self._stream, b"")
            if not part:
                raise SourceError(sentence("%(source)s ends too early.", source=source.name))
            if not self._left:
                self._count(len(part))
            wanted, self._left = part[: end - start], part[end - start :]
            start += len(wanted)
            self._at = (source, piece.path, start)
            yield wanted

    def _count(self, count: int) -> None:
        self.uncommitted += count
        self._on_bytes(count)
        self._pace.wait(count)

    def _save(self, spool: Path, have: bytearray, durable: int) -> int:
        if len(have) > durable:
            self._disk.append(spool, bytes(have[durable:]))
            self._disk.sync([spool])
        return len(have)

    def _spool(self, piece: Piece) -> Path:
        name = digest_of(f"{piece.path}:{piece.start}:{piece.packed}".encode())[:32]
        return self._fresh / f"{name}.spool"

    def _drop_stream(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()
        self._stream, self._left, self._at = iter(()), b"", (None, "", 0)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
