"""The doors of notebook servers, one a person: whoever knocks is served by a thread of its own.

What comes through may keep its reader waiting: to close the last descriptor of a socket that a
stranger has set to linger waits for as long as the stranger wants, and descriptors come with any
message, even with one that nobody reads. So the broker itself neither reads nor closes here, and
each person has an own door with an own queue before it: whoever fills it shuts out nobody else.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lms.outposts.broker.address import socket_address
from lms.outposts.broker.descriptors import receive
from lms.outposts.broker.lateness import WAKE, may_hurry
from lms.outposts.broker.launcher import MESSAGE_BYTES

_log = logging.getLogger(__name__)
_CREDENTIALS = struct.Struct("3i")
#: How long a caller may take to say what it wants.
ASK_SECONDS = 5.0
#: Descriptors that come with a request: a program's channel.
MAX_GIVEN = 1
#: Beyond this many callers of one person nobody is let in by that door, which has a queue as well.
_MAX_OF_ONE = 4
_QUEUE = 16
#: A thread that has not left by then is told again and again to wait no longer.
_LATE_SECONDS = 8.0
#: How long a door stays open for a server that has not said yet that it runs.
_YOUNG_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, by the kernel's word."""

    pid: int
    uid: int
    #: It came by the door of notebook servers, which leads to one verb only.
    is_server: bool
    #: When we stop waiting for its request.
    until: float = 0.0

    @classmethod
    def of(cls, line: socket.socket, *, is_server: bool, until: float = 0.0) -> "Caller":
        """Return who is at the other end of `line`."""
        raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        return cls(pid, uid, is_server, until)


#: Answers a request with the descriptor that came along; leaves the line open.
Answer = Callable[[bytes, int | None, socket.socket, Caller], None]


def listen(path: Path, *, queue: int) -> socket.socket:
    """Return a socket that listens at `path`, to anyone who comes there."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket_address(path) as address:
        listener.bind(address)
    # Anyone may knock: who it is decides, by the kernel's word.
    path.chmod(0o666)
    listener.listen(queue)
    listener.setblocking(False)  # noqa: FBT003 - has no keyword
    return listener


@dataclass(slots=True, kw_only=True)
class Door:
    """One person's."""

    uid: int
    listener: socket.socket
    opened_at: float
    #: The threads that serve who came in, and since when.
    inside: dict[int, float] = field(default_factory=dict)

    def fileno(self) -> int:
        """Return what to poll."""
        return self.listener.fileno()


class Doors:
    """Lets servers in, a few of each person at a time; its methods are for the broker's thread."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector, answer: Answer) -> None:
        self._folder = folder
        self._selector = selector
        self._answer = answer
        self._lock = threading.Lock()
        self._doors: dict[int, Door] = {}

    def open_for(self, uid: int) -> None:
        """Make sure that the person with `uid` has a door."""
        if uid in self._doors:
            self._doors[uid].opened_at = time.monotonic()
            return
        folder = self._folder / str(uid)
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, 0, uid)
        folder.chmod(0o750)
        listener = listen(folder / "broker.sock", queue=_QUEUE)
        door = Door(uid=uid, listener=listener, opened_at=time.monotonic())
        self._doors[uid] = door
        self._selector.register(door, selectors.EVENT_READ)

    def keep_for(self, uids: set[int]) -> None:
        """Close the doors of all but `uids` and of those that have opened just now."""
        old = time.monotonic() - _YOUNG_SECONDS
        for door in list(self._doors.values()):
            if door.uid not in uids and not door.inside and door.opened_at < old:
                self._close(door)

    def close(self) -> None:
        """Close all doors; those who are inside are served to their end."""
        for door in list(self._doors.values()):
            self._close(door)

    def _close(self, door: Door) -> None:
        with self._lock:
            self._shut(door)
            del self._doors[door.uid]
        # What nobody let in may linger as well.
        threading.Thread(target=door.listener.close, daemon=True).start()
        path = self._folder / str(door.uid) / "broker.sock"
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def accept(self, door: Door) -> None:
        """Let one in; its thread does the rest."""
        try:
            line, _ = door.listener.accept()
        except OSError:
            return
        thread = threading.Thread(target=self._serve, args=(door, line), daemon=True)
        with self._lock:
            # The thread enters itself here before it waits for anything.
            thread.start()
            door.inside[thread.ident or 0] = time.monotonic()
            if len(door.inside) >= _MAX_OF_ONE:
                self._shut(door)

    def _shut(self, door: Door) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(door)

    def hurry(self) -> None:
        """Let no thread wait for what lingers after its time."""
        if not may_hurry():
            return
        late = time.monotonic() - _LATE_SECONDS
        with self._lock:
            for door in self._doors.values():
                stuck = [thread for thread, since in door.inside.items() if since < late]
                for thread in stuck:
                    signal.pthread_kill(thread, WAKE)
                if len(stuck) >= _MAX_OF_ONE:
                    _log.warning("uid %d has shut its own door", door.uid)

    def _serve(self, door: Door, line: socket.socket) -> None:
        given: list[int] = []
        try:
            with line:
                who = Caller.of(line, is_server=True)
                if who.uid == door.uid:
                    line.settimeout(ASK_SECONDS)
                    data, given = receive(line, MESSAGE_BYTES, MAX_GIVEN)
                    self._answer(data, given[0] if given else None, line, who)
        except OSError as error:
            _log.info("uid %d asked for nothing: %s", door.uid, error)
        finally:
            for descriptor in given:
                os.close(descriptor)
            self._leave(door)

    def _leave(self, door: Door) -> None:
        with self._lock:
            del door.inside[threading.get_ident()]
            is_ours = self._doors.get(door.uid) is door
            if is_ours and len(door.inside) == _MAX_OF_ONE - 1:
                # The broker may have ended meanwhile.
                with contextlib.suppress(KeyError, ValueError, OSError):
                    self._selector.register(door, selectors.EVENT_READ)
