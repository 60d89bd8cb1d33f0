"""Jobs in processes of this machine: one a slot, forked from a nursery that imported their code."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from lms.outposts.executors.base import ChildLostError, JobExecutor

_LOG = logging.getLogger("lms.worker")
_T = TypeVar("_T")
#: What a grading job needs, imported before the first fork so that all share its memory.
GRADING_MODULES = (
    "lms.outposts.executors.job",
    "lms.outposts.runner.autograde",
    "lms.outposts.runner.feedback",
    "lms.outposts.runner.kernel",
)


class _Child:
    """A job process, seen from the worker: a connection that ends with either of the two."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._line = Connection(os.dup(end.fileno()))

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Return whether the function worked, and its result or error; raises ChildLostError."""
        try:
            self._line.send((function, arguments))
            worked, answer = self._line.recv()
        except (EOFError, OSError) as error:
            self.hang_up()
            self._line.close()
            raise ChildLostError("the process that ran this job has ended") from error
        return bool(worked), answer

    def hang_up(self) -> None:
        """End the process, whatever it is at; a `call` in another thread raises then."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()


class ProcessesExecutor(JobExecutor):
    """Runs picklable functions in `slots` processes; a process that dies is replaced."""

    def __init__(self, slots: int, *, modules: Sequence[str] = GRADING_MODULES) -> None:
        self._modules = tuple(modules)
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="slot")
        #: Processes that wait for a job. The last one used is the warmest.
        self._idle: list[_Child] = []
        self._open: set[_Child] = set()
        self._lock = threading.Lock()
        self._nursery: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closed = False

    def submit(
        self,
        function: Callable[..., _T],
        /,
        *arguments: Any,  # noqa: ANN401
        **_named: Any,  # noqa: ANN401
    ) -> "Future[_T]":
        """Run `function(*arguments)` in a process; fails with ChildLostError if that dies."""
        return self._threads.submit(self._call, function, arguments)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """End every process; without `wait`, those at work too, and their jobs fail."""
        if wait:
            self._threads.shutdown(wait=True, cancel_futures=cancel_futures)
        with self._lock:
            self._closed = True
            for child in self._open:
                child.hang_up()
            self._open.clear()
            nursery, self._nursery = self._nursery, None
        self._threads.shutdown(wait=False, cancel_futures=True)
        if nursery is not None:
            process, control = nursery
            control.close()
            process.wait()

    def _call(self, function: Callable[..., _T], arguments: tuple[Any, ...]) -> _T:
        with self._lock:
            child = self._idle.pop() if self._idle else self._start()
        try:
            worked, answer = child.call(function, arguments)
        except BaseException:
            with self._lock:
                self._open.discard(child)
                child.hang_up()
            raise
        with self._lock:
            self._idle.append(child)
        if not worked:
            raise answer
        return answer  # type: ignore[no-any-return]

    def _start(self) -> _Child:
        """Have a process forked, from a nursery started anew if the last one has died."""
        if self._closed:
            raise ChildLostError("the executor is closed")
        for _attempt in range(2):
            ours, theirs = socket.socketpair()
            with theirs:
                try:
                    socket.send_fds(self._control(), [b"f"], [theirs.fileno()])
                except OSError:
                    ours.close()
                    self._bury()
                    continue
            child = _Child(ours)
            self._open.add(child)
            return child
        raise ChildLostError("no process for a job could be started")

    def _control(self) -> socket.socket:
        if self._nursery is not None and self._nursery[0].poll() is not None:
            self._bury()
        if self._nursery is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                name = "lms.outposts.executors.nursery"
                process = subprocess.Popen(
                    [sys.executable, "-m", name, str(theirs.fileno()), *self._modules],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # Ctrl-C at a terminal is the worker's to answer.
                    start_new_session=True,
                )
            self._nursery = process, ours
        return self._nursery[1]

    def _bury(self) -> None:
        if self._nursery is not None:
            process, control = self._nursery
            control.close()
            _LOG.warning("the process that job processes are forked from ended: %s", process.wait())
            self._nursery = None
