"""The nursery and its zygote as their owner sees them: started, asked to fork, started again.

A broker owns one, and so does each process that starts sandboxes by itself. Both end with their
owner, however that ends, since they listen to a socket that only the owner holds. Nothing here
waits: a launch that comes before the zygote is ready waits in its keeper.
"""

import atexit
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict

from lms.outposts.broker import layout
from lms.outposts.broker.forks import FAILED, KEEP, KERNELS, NO_ZYGOTE, READY
from lms.outposts.broker.spec import Spec

#: Importing everything takes some seconds of processor time; a busy machine has little of it.
START_SECONDS = 120.0
#: The variables of every zygote, and the only ones: grading must give the same result each time.
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "JUPYTER_PLATFORM_DIRS": "0",
    # debugpy would complain to every kernel's output.
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
#: How many environments besides the default one have a zygote at a time: each holds some 140 MB.
MOST_ENVIRONMENTS = 4
_MESSAGE_BYTES = 8192
_ENDING_SECONDS = 5.0


class ZygoteError(Exception):
    """No zygote can be had; the text says why."""


class ZygoteProcess:
    """One nursery with its zygote, from start to end; for one thread at a time."""

    def __init__(self, kind: str = KERNELS, packages: str = "") -> None:
        #: Which of forks.ZYGOTES it is.
        self.kind = kind
        #: The folder of the environment it imports from, before the default one; or empty.
        self.packages = packages
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._popen = _start(theirs.fileno(), kind, packages)
        self._line.setblocking(False)  # noqa: FBT003 - has no keyword
        self.started_at = time.monotonic()
        #: Whether the zygote has imported everything.
        self.is_ready = False
        #: Why the zygote could not start, when last we heard.
        self.problem = ""
        self.has_ended = False

    @property
    def pid(self) -> int:
        """Return the nursery's process id, which is its session's as well."""
        return self._popen.pid

    def fileno(self) -> int:
        """Return what to poll; `read` when something is there."""
        return self._line.fileno()

    def read(self) -> None:
        """Take what it says: that the zygote is ready, or cannot start, or that it has ended."""
        while not self.has_ended:
            try:
                data = self._line.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data[:1] == READY:
                self.is_ready, self.problem = True, ""
            elif data[:1] == FAILED:
                self.problem = data[1:].decode(errors="replace")
            else:
                self.end()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the zygote is ready; raises ZygoteError when it cannot be or takes long."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        while not self.is_ready:
            left = end - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise ZygoteError(f"the zygote is not ready after {seconds:.0f} seconds")
            self.read()
            if self.problem or self.has_ended:
                raise ZygoteError(self.problem or f"{NO_ZYGOTE}: its nursery ended")

    def fork(self, spec: Spec, control: int, channel: int | None, *, kind: bytes = KEEP) -> None:
        """Hand over a launch with its two descriptors; raises ZygoteError when it cannot."""
        written = os.memfd_create("spec", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(written), "wb") as file:
                file.write(json.dumps(spec).encode())
            descriptors = [control, written, *([] if channel is None else [channel])]
            socket.send_fds(self._line, [kind], descriptors)
        except OSError as error:
            raise ZygoteError(f"the nursery does not take a launch: {error}") from error
        finally:
            os.close(written)

    def end(self) -> None:
        """End it; what it has forked goes on."""
        self._line.close()
        self.has_ended = True
        try:
            self._popen.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def forget(self) -> None:
        """Let go of it in a fork of its owner, whose child it is not."""
        self._line.close()
        self._popen.returncode = 0


def _start(number: int, kind: str, packages: str) -> "subprocess.Popen[bytes]":
    root = layout.source_root()
    environment = {**ENVIRONMENT, "PYTHONPATH": packages} if packages else ENVIRONMENT
    program = (
        f"import sys; sys.path += [] if {root!r} in sys.path else [{root!r}]\n"
        "from lms.outposts.broker.zygote import main\n"
        f"sys.exit(main(*map(int, sys.argv[1:]), {kind!r}))"
    )
    # Not -I: that would not take the hash seed. The environment is ours alone.
    zygote = [sys.executable, "-s", "-P", "-c", program]
    nursery = (
        f"import sys; sys.path.insert(0, {root!r}); "
        "from lms.outposts.broker.nursery import main; "
        f"sys.exit(main({number}, *sys.argv[1:]))"
    )
    # -I -S: as light as can be, and nothing of a folder or site-packages gets in.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", nursery, json.dumps(zygote), json.dumps(environment)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(number,),
        cwd="/",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
    )


class SharedZygote:
    """A zygote of a process that starts sandboxes itself; started when first asked for."""

    def __init__(self, packages: str = "") -> None:
        self._packages = packages
        self._lock = threading.Lock()
        self._process: ZygoteProcess | None = None

    def fork(self, spec: Spec, control: int, channel: int | None, *, kind: bytes = KEEP) -> None:
        """Hand over a launch; raises ZygoteError."""
        with self._lock:
            try:
                self._living().fork(spec, control, channel, kind=kind)
            except ZygoteError:
                # It may have died since we looked.
                self._end()
                self._living().fork(spec, control, channel, kind=kind)

    def warm_up(self, seconds: float = START_SECONDS) -> None:
        """Start the zygote and wait until it is ready; raises ZygoteError."""
        with self._lock:
            self._living().wait_until_ready(seconds)

    def is_ready(self) -> bool:
        """Tell whether the zygote is ready, and start it if there is none."""
        with self._lock:
            return self._living().is_ready

    @property
    def pid(self) -> int | None:
        """Return the nursery's process id, or None when there is none."""
        return None if self._process is None else self._process.pid

    def close(self) -> None:
        """End the zygote; the next launch starts another."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """Let go of it in a fork of this process."""
        self._lock = threading.Lock()
        if self._process is not None:
            self._process.forget()
            self._process = None

    def _living(self) -> ZygoteProcess:
        if self._process is not None:
            self._process.read()
        if self._process is None or self._process.has_ended:
            self._process = ZygoteProcess(packages=self._packages)
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self._process.end()
            self._process = None


class SharedZygotes:
    """Those of courses' environments, by their folders; beyond a few the one used longest ago ends.

    What an ended one has forked goes on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zygotes: OrderedDict[str, SharedZygote] = OrderedDict()

    def of(self, packages: str) -> SharedZygote:
        """Return the zygote of the environment in that folder; empty: the default one."""
        if not packages:
            return shared_zygote
        with self._lock:
            zygote = self._zygotes.setdefault(packages, SharedZygote(packages))
            self._zygotes.move_to_end(packages)
            over = len(self._zygotes) - MOST_ENVIRONMENTS
            ended = [self._zygotes.popitem(last=False)[1] for _ in range(over)]
        for one in ended:
            one.close()
        return zygote

    def close(self) -> None:
        """End them all."""
        with self._lock:
            for zygote in self._zygotes.values():
                zygote.close()
            self._zygotes.clear()

    def forget(self) -> None:
        """Let go of them in a fork of this process."""
        self._lock = threading.Lock()
        for zygote in self._zygotes.values():
            zygote.forget()
        self._zygotes.clear()


#: Of this process; its forks begin with none.
shared_zygote = SharedZygote()
shared_zygotes = SharedZygotes()
for _one in (shared_zygote, shared_zygotes):
    os.register_at_fork(after_in_child=_one.forget)
    atexit.register(_one.close)
