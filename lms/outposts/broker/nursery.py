"""The nursery: a small process that forks keepers, and keeps the zygote their programs come from.

A fresh single-threaded interpreter that has imported the keeper and little else, so that its forks
are cheap. It listens to its owner over one SEQPACKET socket and ends when that closes. The zygote
takes some seconds to start: what asks for it waits in its socket, which is held here as well, so
that nothing is lost when the zygote dies. It is started again, later and later if it fails at once.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from lms.outposts.broker import cgroups, keeper, syscalls
from lms.outposts.broker.descriptors import close_all_but, receive, send
from lms.outposts.broker.forks import (
    FAILED,
    JOIN,
    MAX_DESCRIPTORS,
    NO_ZYGOTE,
    OPEN,
    PROBLEM,
    READY,
    close_joined,
)
from lms.outposts.broker.signals import reset_signals

_MESSAGE_BYTES = 8192
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0
#: A zygote that lived this long was well.
_WELL_SECONDS = 10.0
#: After this long nothing in a killed keeper's sandbox is left.
_SWEEP_SECONDS = 1.0
_STREAMS = (0, 1, 2)


class ZygoteChild:
    """The zygote of a nursery: started, told dead, started again."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        #: Keepers ask on the first; the zygote, and while there is none we, listen on the second.
        self.asking, self.listening = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.news: socket.socket | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._rest_seconds = 0.0
        self.is_ready = False
        #: Why there is none now; empty while there is one or one will come at once.
        self.problem = ""

    def start(self) -> None:
        """Start it if there is none and it has rested."""
        if self._popen is not None or time.monotonic() < self._started_at + self._rest_seconds:
            return
        self._started_at = time.monotonic()
        self.news, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = (self.listening.fileno(), theirs.fileno())
        with theirs:
            self._popen = subprocess.Popen(
                [*self._command, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=numbers,
                env=self._environment,
            )
        self.problem = ""

    def rest_left(self) -> float | None:
        """Return the seconds until it may be started again, or None when it lives."""
        if self._popen is not None:
            return None
        return max(0.0, self._started_at + self._rest_seconds - time.monotonic())

    def read_news(self) -> bytes:
        """Return what it says about its start, for the owner; empty when it said all."""
        if self.news is None:
            return b""
        with contextlib.suppress(OSError):
            data = self.news.recv(_MESSAGE_BYTES)
            self.is_ready = self.is_ready or data == READY
            if data[:1] == FAILED:
                self.problem = f"{NO_ZYGOTE}: {data[1:].decode(errors='replace')}"
            if data:
                return data
        self.news.close()
        self.news = None
        return b""

    def owns(self, pid: int, status: int) -> bool:
        """Tell whether the ended child `pid` was the zygote, and take note of that."""
        if self._popen is None or pid != self._popen.pid:
            return False
        code = self._popen.returncode = os.waitstatus_to_exitcode(status)
        while self.news is not None:
            self.read_news()
        self._popen = None
        reason = self.problem or f"{NO_ZYGOTE}: it ended with {code}"
        sys.stderr.write(f"zygote: {reason}\n")
        was_ready, self.is_ready = self.is_ready, False
        if was_ready and time.monotonic() - self._started_at > _WELL_SECONDS:
            self._rest_seconds = 0.0
        else:
            longer = max(_FIRST_REST_SECONDS, 2 * self._rest_seconds)
            self._rest_seconds = min(longer, _LONGEST_REST_SECONDS)
        # One that was well comes back soon; nobody need do without it.
        self.problem = "" if was_ready else reason
        return True


class Nursery:
    """Forks a keeper for each launch that its owner hands over."""

    def __init__(self, owner: socket.socket, zygote: ZygoteChild) -> None:
        self._owner = owner
        self._zygote = zygote
        self._hierarchy = cgroups.detect()
        self._sweep_at: float | None = None
        self._wake = os.pipe()
        for end in self._wake:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> None:
        """Fork until the owner's line closes."""
        while self._serve_once():
            if self._zygote.problem:
                self._do_without()
            self._zygote.start()

    def _serve_once(self) -> bool:
        poll = select.poll()
        sources: dict[int, Callable[[], bool]] = {
            self._owner.fileno(): self._on_owner,
            self._wake[0]: self._on_end,
        }
        if self._zygote.news is not None:
            sources[self._zygote.news.fileno()] = self._on_news
        if self._zygote.problem:
            sources[self._zygote.listening.fileno()] = lambda: True
        for descriptor in sources:
            poll.register(descriptor, select.POLLIN)
        found = poll.poll(self._wait_milliseconds())
        self._sweep()
        return all(sources[descriptor]() for descriptor, _ in found)

    def _wait_milliseconds(self) -> float | None:
        left = self._zygote.rest_left()
        waits = [] if left is None else [left]
        if self._sweep_at is not None:
            waits.append(max(0.0, self._sweep_at - time.monotonic()))
        return min(waits) * 1000 + 1 if waits else None

    def _sweep(self) -> None:
        if self._sweep_at is not None and time.monotonic() >= self._sweep_at:
            self._sweep_at = None
            cgroups.sweep(self._hierarchy)

    def _on_owner(self) -> bool:
        data, descriptors = receive(self._owner, 16, MAX_DESCRIPTORS)
        asking = self._zygote.asking
        if data == OPEN:
            # Nobody's keeper is needed; when so many wait already, the caller hears nothing more.
            with contextlib.suppress(BlockingIOError):
                send(asking, data, descriptors, socket.MSG_DONTWAIT)
        elif data:
            keep_it = lambda: keeper.keep_given(descriptors, asking)  # noqa: E731
            fork_keeper(descriptors, keep_it, asking.fileno())
            return True
        for descriptor in descriptors:
            os.close(descriptor)
        return bool(data)

    def _on_news(self) -> bool:
        news = self._zygote.read_news()
        if news == READY:
            self._tell(news)
        return True

    def _tell(self, news: bytes) -> None:
        with contextlib.suppress(OSError):
            self._owner.send(news)

    def _on_end(self) -> bool:
        os.read(self._wake[0], 4096)
        killed = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if not self._zygote.owns(pid, status):
                    killed = killed or os.WIFSIGNALED(status)
                elif self._zygote.problem:
                    self._tell(FAILED + self._zygote.problem.encode()[:4000])
        if killed:
            # A killed keeper could not remove its control group, whose processes are still ending.
            self._sweep_at = time.monotonic() + _SWEEP_SECONDS
        return True

    def _do_without(self) -> None:
        """Answer those who wait for a zygote that will not come."""
        listening, problem = self._zygote.listening, self._zygote.problem
        listening.setblocking(False)  # noqa: FBT003 - has no keyword
        try:
            while True:
                _answer_without(*receive(listening, 16, MAX_DESCRIPTORS), problem)
        except BlockingIOError:
            listening.setblocking(True)  # noqa: FBT003 - has no keyword


def _answer_without(data: bytes, descriptors: list[int], problem: str) -> None:
    if data[:1] == JOIN:
        os.write(descriptors[PROBLEM], problem.encode()[:4000])
    elif data != OPEN:
        fork_keeper(descriptors, lambda: keeper.keep_executed(descriptors, problem))
        return
    # Of an open program the closed line says enough: the caller can start a process itself.
    close_joined(descriptors)


def fork_keeper(descriptors: list[int], keep: Callable[[], int], *more: int) -> None:
    """Fork a keeper for `descriptors`, and close them here.

    The keeper holds them until they are closed here: whoever is the last to close what a stranger
    has sent may have to wait as long as the stranger wants.
    """
    held, let_go = os.pipe()
    if os.fork() == 0:
        os.close(let_go)
        os.read(held, 1)
        _keep(descriptors, keep, *more)
    for descriptor in [*descriptors, held, let_go]:
        os.close(descriptor)


def _keep(descriptors: list[int], keep: Callable[[], int], *more: int) -> NoReturn:
    """Be the keeper of one launch."""
    code = 1
    try:
        os.setsid()
        close_all_but([*_STREAMS, *descriptors, *more])
        reset_signals()
        syscalls.name_process("seodang-keeper")
        code = keep()
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
    finally:
        os._exit(code)


def main(number: int, command: str, environment: str) -> int:
    """Be the nursery of whoever holds the other end of socket `number`."""
    os.set_inheritable(number, False)  # noqa: FBT003 - has no keyword
    syscalls.name_process("seodang-nursery")
    zygote = ZygoteChild(json.loads(command), json.loads(environment))
    zygote.start()
    # A keeper's collections would otherwise copy all of our pages.
    gc.collect()
    gc.freeze()
    Nursery(socket.socket(fileno=number), zygote).serve()
    return 0
