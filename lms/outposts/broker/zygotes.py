"""The zygote as its owner sees it: started, asked to fork, found dead, started again.

A broker owns one, and so does each process that starts sandboxes by itself. It ends with its
owner, however that ends, since it listens to a socket that only its owner holds.
"""

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time

from lms.outposts.broker import layout
from lms.outposts.broker.programs import ENVIRONMENT
from lms.outposts.broker.spec import Spec
from lms.outposts.broker.zygote import FAILED, READY

#: Importing everything takes some seconds of processor time; a busy machine has little of it.
START_SECONDS = 120.0
_MESSAGE_BYTES = 8192
#: How long nobody asks again for a zygote that could not start.
_REST_SECONDS = 30.0
_ENDING_SECONDS = 5.0


class ZygoteError(Exception):
    """No zygote can be had; the text says why."""


class ZygoteProcess:
    """One zygote from its start to its end; for one thread at a time."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = _start(theirs.fileno())
        self._line.setblocking(False)  # noqa: FBT003 - has no keyword
        #: Whether it has imported everything.
        self.is_ready = False
        #: Why it has ended; None while it lives.
        self.problem: str | None = None

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._popen.pid

    def fileno(self) -> int:
        """Return what to poll; `read` when something is there."""
        return self._line.fileno()

    def read(self) -> None:
        """Take what it says: that it is ready, or has ended."""
        while self.problem is None:
            try:
                data = self._line.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data[:1] == READY:
                self.is_ready = True
                continue
            self.end(data[1:].decode(errors="replace") if data[:1] == FAILED else "")

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until it is ready; raises ZygoteError when it ended or takes too long."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        while not self.is_ready and self.problem is None:
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise ZygoteError(f"the zygote is not ready after {seconds:.0f} seconds")
            self.read()
        if self.problem is not None:
            raise ZygoteError(f"the zygote cannot start: {self.problem}")

    def fork(self, spec: Spec, control: int, channel: int | None) -> None:
        """Hand over a launch with its two descriptors; raises ZygoteError when it cannot."""
        written = os.memfd_create("spec", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(written), "wb") as file:
                file.write(json.dumps(spec).encode())
            os.lseek(written, 0, os.SEEK_SET)
            descriptors = [control, written, *([] if channel is None else [channel])]
            socket.send_fds(self._line, [b"k"], descriptors)
        except OSError as error:
            raise ZygoteError(f"the zygote does not take a launch: {error}") from error
        finally:
            os.close(written)

    def end(self, problem: str = "") -> None:
        """End it at once, for `problem`; what it has forked goes on."""
        self._line.close()
        if problem:
            self._popen.kill()
        try:
            self._popen.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self.problem = problem or f"it ended with {self._popen.returncode}"

    def forget(self) -> None:
        """Let go of it in a fork of its owner, whose child it is not."""
        self._line.close()
        self._popen.returncode = 0


def _start(number: int) -> "subprocess.Popen[bytes]":
    root = layout.source_root()
    program = (
        f"import sys; sys.path += [] if {root!r} in sys.path else [{root!r}]\n"
        f"from lms.outposts.broker.zygote import main; sys.exit(main({number}))"
    )
    # Not -I: that would not take the hash seed. The environment is ours alone.
    return subprocess.Popen(
        [sys.executable, "-s", "-P", "-c", program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(number,),
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
    )


class SharedZygote:
    """The one zygote of a process that starts sandboxes itself; started when first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: ZygoteProcess | None = None
        self._problem: ZygoteError | None = None
        self._ask_again_at = 0.0

    def fork(self, spec: Spec, control: int, channel: int | None) -> None:
        """Hand a launch to the zygote once it is ready; raises ZygoteError."""
        with self._lock:
            try:
                self._ready().fork(spec, control, channel)
            except ZygoteError:
                # It may have died since it was last used.
                self._end()
                self._ready().fork(spec, control, channel)

    def warm_up(self) -> None:
        """Start the zygote and wait until it is ready; raises ZygoteError."""
        with self._lock:
            self._ready()

    @property
    def pid(self) -> int | None:
        """Return the zygote's process id, or None when there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the zygote; the next launch starts another."""
        with self._lock:
            self._end()

    def _ready(self) -> ZygoteProcess:
        if self._process is not None:
            self._process.read()
            if self._process.problem is None:
                return self._process
            self._process = None
        if self._problem is not None and time.monotonic() < self._ask_again_at:
            raise self._problem
        process = ZygoteProcess()
        try:
            process.wait_until_ready(START_SECONDS)
        except ZygoteError as error:
            process.end()
            self._problem = error
            self._ask_again_at = time.monotonic() + _REST_SECONDS
            raise
        self._process, self._problem = process, None
        return process

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def forget(self) -> None:
        """Let go of it in a fork of this process."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._process.forget()
            self._process = None


#: Of this process; its forks begin with none.
shared_zygote = SharedZygote()
os.register_at_fork(after_in_child=shared_zygote.forget)
atexit.register(shared_zygote.close)
