"""Frames on a stream socket: a JSON header and blobs of bytes, in both directions.

On the wire: header length and blob bytes, each a big-endian u32, then the header, then the blobs;
the header's `blobs` holds their lengths. Whoever reads treats all of it as hostile: a line takes
in a limited number of bytes in all, headers are small, and no read or write waits for ever.
"""

import json
import select
import socket
import struct
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

Header = dict[str, Any]

#: A header is parsed, which costs many times its size; what is big travels as a blob.
HEADER_BYTES = 4 << 20
_PREFIX = struct.Struct(">II")
#: What a frame counts for besides its bytes: small ones cost us work too.
_FRAME_BYTES = 128
_CHUNK = 1 << 16


class LineError(Exception):
    """The other side cannot be spoken with any more."""


class LineClosedError(LineError):
    """The other side is gone."""


class LineFloodError(LineError):
    """The other side has sent more than anybody reads."""


class LineBrokenError(LineError):
    """The other side does not keep to the format."""


class Line:
    """One end of a socket pair that carries frames."""

    def __init__(
        self, sock: socket.socket, *, limit_bytes: int, header_bytes: int = HEADER_BYTES
    ) -> None:
        sock.settimeout(None)
        self._sock = sock
        #: Most bytes that this end takes in over its life.
        self._limit_bytes = limit_bytes
        self._header_bytes = header_bytes
        self._taken = 0
        self._pending = bytearray()

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    @property
    def taken_bytes(self) -> int:
        """How many bytes have come in so far."""
        return self._taken

    def send(
        self, header: Header, blobs: Sequence[bytes] = (), *, timeout: float | None = None
    ) -> None:
        """Send one frame; raises LineClosedError, and TimeoutError when nobody reads it.

        After a TimeoutError half a frame may be under way: the line is of no more use.
        """
        self._write(pack(header, blobs), timeout)

    def _write(self, data: bytes, timeout: float | None) -> None:
        end = None if timeout is None else monotonic() + timeout
        view = memoryview(data)
        while view:
            try:
                sent = self._sock.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self._wait(select.POLLOUT, end)
            except OSError as error:
                raise LineClosedError("the other side is gone") from error
            else:
                view = view[sent:]

    def receive(self, timeout: float | None = None) -> tuple[Header, list[bytes]]:
        """Return the next frame; after a TimeoutError the same frame may be waited for again.

        Raises LineClosedError, LineFloodError, LineBrokenError and TimeoutError.
        """
        end = None if timeout is None else monotonic() + timeout
        while (size := self._frame_size()) is None or len(self._pending) < size:
            wanted = _CHUNK if size is None else max(_CHUNK, size - len(self._pending))
            self._take(min(wanted, 1 << 20), end)
        frame = bytes(memoryview(self._pending)[:size])
        del self._pending[:size]
        self._count(_FRAME_BYTES)
        return unpack(frame)

    @property
    def has_more(self) -> bool:
        """Bytes of a next frame have been taken in already; no selector will announce them."""
        return bool(self._pending)

    def _frame_size(self) -> int | None:
        if len(self._pending) < _PREFIX.size:
            return None
        head, rest = _PREFIX.unpack_from(self._pending)
        if head > self._header_bytes:
            raise LineBrokenError(f"a header of {head} bytes")
        if head + rest > self._limit_bytes:
            raise LineFloodError(f"a frame of {head + rest} bytes")
        return _PREFIX.size + int(head) + int(rest)

    def _take(self, wanted: int, end: float | None) -> None:
        while True:
            try:
                data = self._sock.recv(wanted, socket.MSG_DONTWAIT)
                break
            except BlockingIOError:
                self._wait(select.POLLIN, end)
            except OSError as error:
                raise LineClosedError("the other side is gone") from error
        if not data:
            raise LineClosedError("the other side is gone")
        self._count(len(data))
        self._pending += data

    def _count(self, size: int) -> None:
        self._taken += size
        if self._taken > self._limit_bytes:
            raise LineFloodError(f"more than {self._limit_bytes} bytes in all")

    def _wait(self, event: int, end: float | None) -> None:
        poll = select.poll()  # select() fails on descriptors past 1024
        try:
            poll.register(self._sock, event)
        except (OSError, ValueError) as error:
            raise LineClosedError("this side is closed") from error
        left = None if end is None else max(0.0, end - monotonic()) * 1000
        if not poll.poll(left):
            raise TimeoutError("nothing on the line in time")


def pack(
    header: Header,
    blobs: Sequence[bytes] = (),
    default: Callable[[Any], Any] | None = None,
) -> bytes:
    """Return a frame as bytes; raises ValueError and TypeError on what JSON cannot hold."""
    whole = {**header, "blobs": [len(blob) for blob in blobs]} if blobs else header
    text = json.dumps(
        whole, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=default
    )
    head = text.encode("utf-8", "surrogatepass")
    return b"".join((_PREFIX.pack(len(head), sum(map(len, blobs))), head, *blobs))


def unpack(frame: bytes) -> tuple[Header, list[bytes]]:
    """Return a frame's header and blobs; raises LineBrokenError."""
    head, rest = _PREFIX.unpack_from(frame)
    start = _PREFIX.size + head
    try:
        header = json.loads(frame[_PREFIX.size : start].decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise LineBrokenError("a header that is no JSON") from error
    if not isinstance(header, dict):
        raise LineBrokenError("a header that is no object")
    lengths = header.pop("blobs", [])
    if not _are_lengths(lengths) or sum(lengths) != rest:
        raise LineBrokenError("blobs of other lengths than the header says")
    blobs = []
    for length in lengths:
        blobs.append(frame[start : start + length])
        start += length
    return header, blobs


def _are_lengths(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in value
    )
