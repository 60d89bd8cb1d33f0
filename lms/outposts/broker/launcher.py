"""Starts kernels in sandboxes: from this process, or through the broker; one contract for both."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lms.outposts.broker import layout
from lms.outposts.broker.address import socket_address
from lms.outposts.broker.spec import Spec, blank_spec
from lms.outposts.broker.zygotes import START_SECONDS, ZygoteError, shared_zygotes
from lms.outposts.environments.folder import EnvironmentMissingError, Environments
from lms.outposts.environments.place import with_packages
from lms.protocol.broker import KernelRequest, SandboxReport, Verdict

__all__ = [
    "BrokerLauncher",
    "DirectLauncher",
    "EnvironmentLauncher",
    "EnvironmentUnavailableError",
    "KeeperLostError",
    "KernelLauncher",
    "KernelProcess",
    "KernelRequest",
    "SandboxReport",
    "SandboxUnavailableError",
    "Usage",
    "Verdict",
    "probe",
]

#: First and one past the last uid of grading runs; the same numbers as in the settings.
RUN_UIDS = (300_000, 301_000)
KERNEL_HOME = "/home/student"
KERNEL_FOLDER = "/home/student/work"
MESSAGE_BYTES = 192 << 10
_START_SECONDS = 30.0


class SandboxUnavailableError(Exception):
    """No sandbox could be started; the text says why and what would help."""


class KeeperLostError(SandboxUnavailableError):
    """Whoever should have started the sandbox went away without a word."""


class EnvironmentUnavailableError(SandboxUnavailableError):
    """The environment that was asked for is not built where the sandbox would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a kernel used and why it ended; `verdict` is None while it runs."""

    memory_peak_bytes: int = 0
    oom_killed: bool = False
    output_exceeded: bool = False
    disk_exceeded: bool = False
    verdict: Verdict | None = None
    #: The end of what it wrote to stdout and stderr past Jupyter, for a log.
    output_tail: str = ""


class KernelLauncher(Protocol):
    """Starts a kernel in a sandbox."""

    def launch(
        self, request: KernelRequest, channel: socket.socket | None = None
    ) -> "KernelProcess":
        """Start the kernel of `request`; raises SandboxUnavailableError.

        With a `program` it is a fork of a zygote, which talks over `channel`: one end of a pair
        of local stream sockets, closed here. The caller keeps the other end.
        """
        ...


class KernelProcess:
    """A kernel in its sandbox; may be used from several threads."""

    def __init__(
        self,
        control: socket.socket,
        keeper: subprocess.Popen[bytes] | None,
        *,
        start_seconds: float = _START_SECONDS,
    ) -> None:
        self._control = control
        self._keeper = keeper
        self._lock = threading.Lock()
        self._exit: int | None = None
        self._usage = Usage()
        #: The keeper's pid, as the launching machine counts; only for logs.
        self.pid = self._await_start(start_seconds)

    def poll(self) -> int | None:
        """Return the exit code (negative: a signal) or None while it runs."""
        with self._lock:
            self._read(0)
            return self._exit

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended; raises TimeoutError after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 1.0 if end is None else end - time.monotonic()
            with self._lock:
                # In slices: another thread may want to kill meanwhile.
                self._read(max(0.0, min(left, 0.1)))
                if self._exit is not None:
                    return self._exit
            if left <= 0:
                raise TimeoutError(f"the kernel still runs after {timeout} seconds")

    def fileno(self) -> int:
        """Return what is readable when the kernel has ended."""
        return self._control.fileno()

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel; nothing happens when it has ended."""
        self._say({"signal": int(number)})

    def kill(self) -> None:
        """End the kernel and everything it started, at once; `wait` tells when it is gone."""
        self._say({"kill": True})

    def usage(self) -> Usage:
        """Return what it used; final once it has ended."""
        with self._lock:
            self._read(0)
            return self._usage

    def _say(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _await_start(self, seconds: float) -> int:
        message = self._receive(seconds)
        started = message.get("started") if message else None
        if isinstance(started, dict):
            return int(started["pid"])
        self._close()
        if message is None:
            raise SandboxUnavailableError("the sandbox did not answer")
        if "lost" in message:
            raise KeeperLostError(str(message["lost"]))
        raise SandboxUnavailableError(str(message.get("failed") or message.get("error")))

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        poll = select.poll()  # select() fails on descriptors past 1024
        poll.register(self._control, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return None
        try:
            data = self._control.recv(MESSAGE_BYTES)
        except OSError:
            data = b""
        message = json.loads(data) if data else {"lost": "the sandbox's keeper went away"}
        return dict(message)

    def _read(self, timeout: float) -> None:
        if self._exit is not None:
            return
        message = self._receive(timeout)
        if message is None:
            return
        ended = message.get("ended")
        if not isinstance(ended, dict):
            # The keeper died: its sandbox died with it.
            ended = {"exit": -9, "verdict": "abandoned"}
        self._exit = int(ended["exit"])
        self._usage = Usage(
            memory_peak_bytes=int(ended.get("memory_peak_bytes", 0)),
            oom_killed=bool(ended.get("oom_killed")),
            output_exceeded=bool(ended.get("output_exceeded")),
            disk_exceeded=bool(ended.get("disk_exceeded")),
            verdict=Verdict(ended["verdict"]),
            output_tail=str(ended.get("output_tail", "")),
        )
        self._close()

    def _close(self) -> None:
        self._control.close()
        if self._keeper is not None:
            self._keeper.wait()


class DirectLauncher:
    """Starts sandboxes from this process: as root with own uids, else in user namespaces.

    Programs are forks of one zygote, which all launchers of this process share.
    """

    def __init__(self, *, unsafe: bool = False, environments: Path | None = None) -> None:
        #: Start kernels without a sandbox where the machine has none; the operator's choice.
        self._unsafe = unsafe
        #: Where the environments lie that requests may name.
        self._environments = environments

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        """Start the kernel of `request`; raises SandboxUnavailableError."""
        with channel or contextlib.nullcontext():
            spec = kernel_spec(request, caller_uid=os.geteuid(), caller_pid=0)
            try:
                packages = add_environment(spec, request.environment, self._environments)
            except EnvironmentMissingError as error:
                raise EnvironmentUnavailableError(str(error)) from error
            try:
                return _launch(spec, channel, packages)
            except SandboxUnavailableError:
                if not self._unsafe:
                    raise
            spec["isolated"] = False
            return _launch(spec, channel, packages)


class EnvironmentLauncher:
    """Starts everything in one course's environment, by another launcher."""

    def __init__(self, launcher: KernelLauncher, environment: str) -> None:
        self._launcher = launcher
        self._environment = environment

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        """Start the kernel of `request` with the environment's packages."""
        return self._launcher.launch(replace(request, environment=self._environment), channel)


class BrokerLauncher:
    """Asks the broker at `socket_path` for sandboxes; they end when this process does."""

    def __init__(self, socket_path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(socket_path)

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        """Start the kernel of `request`; raises SandboxUnavailableError."""
        with channel or contextlib.nullcontext():
            try:
                return self._launch(request, channel)
            except KeeperLostError:
                if not request.program:
                    raise
            # The zygote died with our launch in its hands; the broker starts another.
            return self._launch(request, channel)

    def _launch(self, request: KernelRequest, channel: socket.socket | None) -> KernelProcess:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with socket_address(self._path) as address:
                control.connect(address)
            question = json.dumps({"launch": request.to_json()}).encode()
            given = [] if channel is None else [channel.fileno()]
            socket.send_fds(control, [question], given)
        except OSError as error:
            control.close()
            raise SandboxUnavailableError(f"the broker does not answer: {error}") from error
        return KernelProcess(control, None, start_seconds=START_SECONDS)


def _launch(spec: Spec, channel: socket.socket | None, packages: str) -> KernelProcess:
    if not spec["program"]:
        return _execute(spec)
    try:
        return _fork(spec, channel, packages)
    except KeeperLostError:
        return _fork(spec, channel, packages)  # the zygote died with our launch in its hands


def _fork(spec: Spec, channel: socket.socket | None, packages: str) -> KernelProcess:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            number = None if channel is None else channel.fileno()
            shared_zygotes.of(packages).fork(spec, theirs.fileno(), number)
        except ZygoteError as error:
            ours.close()
            raise SandboxUnavailableError(str(error)) from error
    return KernelProcess(ours, None, start_seconds=START_SECONDS)


def _execute(spec: Spec) -> KernelProcess:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        keeper = start_keeper(spec, control=theirs)
    return KernelProcess(ours, keeper)


def kernel_spec(request: KernelRequest, *, caller_uid: int, caller_pid: int) -> Spec:
    """Return the sandbox of one kernel; `caller_pid` other than 0 names who lives in a view."""
    limits, is_root = request.limits, os.geteuid() == 0
    env = {
        "PATH": layout.search_path(),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        **request.env,
        "HOME": KERNEL_HOME,
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
        **dict.fromkeys(("USER", "LOGNAME"), "student"),
        "JUPYTER_PLATFORM_DIRS": "0",
    }
    return blank_spec() | {
        "argv": list(request.argv),
        "program": request.program,
        "seed": request.seed,
        "env": env,
        "cwd": KERNEL_FOLDER,
        "umask": 0,
        "terminals": True,  # shell escapes of a notebook run in one
        "user": "student",
        "home": KERNEL_HOME,
        "uid": RUN_UIDS[0],
        "gid": RUN_UIDS[0],
        "lease_first": RUN_UIDS[0] if is_root else 0,
        "lease_end": RUN_UIDS[1] if is_root else 0,
        "user_namespace": not is_root,
        "caller_pid": caller_pid,
        "caller_uid": caller_uid,
        "binds": layout.program_binds(),
        "connection_dir": request.connection_dir,
        "files_dir": request.files_dir or "",
        "scratch_bytes": limits.disk_bytes,
        "memory_bytes": limits.memory_bytes,
        "processes": limits.processes,
        "wall_seconds": limits.wall_seconds,
        "output_bytes": limits.output_bytes,
        # A little more than the disk: a full disk should say so, not the file limit.
        "file_bytes": limits.disk_bytes + (1 << 20),
    }


def add_environment(spec: Spec, environment: str, root: Path | None) -> str:
    """Let `spec` have a built environment; return its folder, which its zygote imports from.

    Raises EnvironmentMissingError, and does nothing where none is asked for.
    """
    if not environment:
        return ""
    if root is None:
        raise EnvironmentMissingError(environment)
    packages = Environments(root).packages(environment)
    with_packages(spec, packages)
    return str(packages)


def start_keeper(
    spec: Spec, *, control: socket.socket | None, log: int | None = None
) -> "subprocess.Popen[bytes]":
    """Start the keeper of `spec`; it says over `control`, or to `log`, how that went."""
    number = None if control is None else control.fileno()
    program = (
        f"import sys; sys.path.insert(0, {layout.source_root()!r}); "
        f"from lms.outposts.broker.keeper import main; sys.exit(main({number}))"
    )
    # -I -S and no environment: nothing of a folder or site-packages gets into a root process.
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.PIPE,
        pass_fds=() if number is None else (number,),
        cwd="/",
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        start_new_session=True,
        stdout=log,
        stderr=log,
    )
    if keeper.stdin is not None:
        with keeper.stdin as pipe:
            pipe.write(json.dumps(spec).encode())
    return keeper


def probe() -> SandboxReport:
    """Return what sandboxes have here; takes a tenth of a second, so keep the answer."""
    from lms.outposts.broker.probe import probe as run_probe

    return run_probe()
