"""Stands between a kernel's sockets and our client, and counts.

A kernel is free to speak ZMTP badly: a message of endless frames grows in the receiver's memory
before anybody sees it. All bytes therefore pass here, and past a limit nothing passes any more.
A kernel also owns the folder its sockets lie in, so a symbolic link there is not followed.
"""

import contextlib
import os
import selectors
import socket
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_CHUNK = 1 << 16
_PENDING = 1 << 18
_RETRY_SECONDS = 0.005


class _Half:
    """One direction of a connection: what was read and waits to be written."""

    def __init__(self, source: socket.socket, target: socket.socket, *, counted: bool) -> None:
        self.source = source
        self.target = target
        #: Whether these bytes come from the kernel.
        self.counted = counted
        self.pending = bytearray()


class Relay:
    """Carries bytes between `ours/s-N` and `theirs/s-N` in a thread of its own."""

    def __init__(
        self,
        ours: Path,
        theirs: Path,
        ports: Iterable[int],
        limit_bytes: int,
        on_exceeded: Callable[[], None],
    ) -> None:
        self._theirs = theirs
        self._limit_bytes = limit_bytes
        self._on_exceeded = on_exceeded
        self._selector = selectors.DefaultSelector()
        self._listeners = {_listen(ours / f"s-{port}"): port for port in ports}
        #: Accepted, waiting for the kernel to open its side: (socket, port).
        self._waiting: list[tuple[socket.socket, int]] = []
        self._halves: dict[socket.socket, tuple[_Half, _Half]] = {}
        self._carried = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        #: The kernel sent more than the limit; nothing is carried since.
        self.is_exceeded = False

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def stop(self) -> None:
        """Close every socket and end the thread."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        try:
            while not self._stopped.is_set() and not self.is_exceeded:
                for key, events in self._selector.select(self._pause()):
                    self._serve(key.fileobj, events)  # type: ignore[arg-type]
                self._waiting = [pair for pair in self._waiting if not self._connect(*pair)]
        finally:
            for sock in self._all_sockets():
                with contextlib.suppress(OSError):
                    sock.close()
            self._selector.close()
        if self.is_exceeded:
            self._on_exceeded()

    def _pause(self) -> float:
        # A socket that somebody is about to bind announces itself to nobody.
        return _RETRY_SECONDS if self._waiting else 0.1

    def _all_sockets(self) -> Iterator[socket.socket]:
        yield from self._listeners
        yield from (sock for sock, _ in self._waiting)
        yield from list(self._halves)

    def _serve(self, sock: socket.socket, events: int) -> None:
        if sock in self._listeners:
            with contextlib.suppress(OSError):
                client, _ = sock.accept()
                client.settimeout(0)
                self._waiting.append((client, self._listeners[sock]))
            return
        if sock not in self._halves:
            return  # closed by an earlier event of this round
        reads, writes = self._halves[sock]
        try:
            if events & selectors.EVENT_READ:
                self._read(reads)
            if events & selectors.EVENT_WRITE:
                _write(writes)
            _write(reads)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(reads)
            return
        self._watch(reads.source)
        self._watch(reads.target)

    def _read(self, half: _Half) -> None:
        data = half.source.recv(_CHUNK)
        if not data:
            raise ConnectionResetError
        if half.counted:
            self._carried += len(data)
            self.is_exceeded = self._carried > self._limit_bytes
        half.pending += data

    def _watch(self, sock: socket.socket) -> None:
        """Wait for what can go on: reading while there is room, writing while something waits."""
        reads, writes = self._halves[sock]
        events = selectors.EVENT_READ if len(reads.pending) < _PENDING else 0
        events |= selectors.EVENT_WRITE if writes.pending else 0
        if events == 0:
            with contextlib.suppress(KeyError):
                self._selector.unregister(sock)
            return
        try:
            self._selector.modify(sock, events)
        except KeyError:
            self._selector.register(sock, events)

    def _drop(self, half: _Half) -> None:
        for sock in (half.source, half.target):
            self._halves.pop(sock, None)
            with contextlib.suppress(KeyError):
                self._selector.unregister(sock)
            sock.close()

    def _connect(self, client: socket.socket, port: int) -> bool:
        """Join `client` to the kernel's socket; False while there is none yet."""
        kernel = _connect_to(self._theirs / f"s-{port}")
        if kernel is None:
            return False
        out = _Half(client, kernel, counted=False)
        back = _Half(kernel, client, counted=True)
        self._halves[client] = (out, back)
        self._halves[kernel] = (back, out)
        for sock in (client, kernel):
            self._selector.register(sock, selectors.EVENT_READ)
        return True


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(8)
    listener.settimeout(0)
    return listener


def _write(half: _Half) -> None:
    if half.pending:
        sent = half.target.send(half.pending)
        del half.pending[:sent]


def _connect_to(path: Path) -> socket.socket | None:
    """Connect to the socket at `path` itself: what a link there points to may be ours."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A listener that accepts nobody must not hold us up.
        sock.settimeout(0)
        try:
            sock.connect(f"/proc/self/fd/{descriptor}")
        except OSError:
            sock.close()
            return None
        return sock
    finally:
        os.close(descriptor)
