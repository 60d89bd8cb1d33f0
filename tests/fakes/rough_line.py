"""A bad line: a proxy of bytes that cuts connections and spoils what passes, by a seed."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PART = 1 << 14
_HEAD = 1 << 16


@dataclass
class RoughLine:
    """Passes a port on to another; what asks for `spoils` may come to harm on its way."""

    port: int
    target: int
    seed: int = 0
    #: Only requests whose first line holds these bytes are harmed.
    spoils: bytes = b"/api/sync"
    #: Of a hundred connections, how many are cut and how many spoilt.
    cut: int = 25
    spoil: int = 15
    #: What happened, for the test to see that the line was bad.
    seen: dict[str, int] = field(default_factory=lambda: {"cut": 0, "spoilt": 0, "whole": 0})
    _count: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _fate(self) -> tuple[str, int]:
        with self._lock:
            self._count += 1
            chance = random.Random(f"{self.seed}:{self._count}")  # noqa: S311 - repeatable
        drawn = chance.randrange(100)
        # Where in the answer: most often early, where the headers are.
        at = int(chance.paretovariate(0.6) * 50)
        if drawn < self.cut:
            return "cut", at
        return ("spoilt" if drawn < self.cut + self.spoil else "whole"), at

    def _pass(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as far:
            first = client.recv(_HEAD)
            fate, at = "whole", 0
            if self.spoils in first.split(b"\r\n", 1)[0]:
                fate, at = self._fate()
                with self._lock:
                    self.seen[fate] += 1
            far.sendall(first)
            back = threading.Thread(target=_copy, args=(client, far), daemon=True)
            back.start()
            self._answer(far, client, fate, at)
            with suppress(OSError):
                far.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            back.join(10)

    def _answer(self, far: socket.socket, client: socket.socket, fate: str, at: int) -> None:
        passed = 0
        while part := far.recv(_PART):
            here = at - passed
            if fate == "cut" and here < len(part):
                client.sendall(part[: max(0, here)])
                return
            if fate == "spoilt" and 0 <= here < len(part):
                part = part[:here] + bytes([part[here] ^ 0x20]) + part[here + 1 :]
            passed += len(part)
            client.sendall(part)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(_PART):
            target.sendall(part)


@contextmanager
def rough_line(port: int, target: int, *, seed: int = 0) -> Iterator[RoughLine]:
    """Run a bad line for as long as the block lasts."""
    line = RoughLine(port, target, seed)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        thread = threading.Thread(target=line.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield line
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
