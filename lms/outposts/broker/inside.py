"""The two processes inside a sandbox: its first, which waits and reaps, and the program.

The first process is pid 1 of the pid namespace, so nothing inside can signal it and its end is
everyone's end. It keeps the keeper's rights, takes no input from the sandbox and dies with the
keeper.
"""

import contextlib
import fcntl
import os
import resource
import signal
import socket
import struct
from typing import NoReturn

from lms.outposts.broker import rootfs, seccomp, syscalls, usage
from lms.outposts.broker.descriptors import close_all_but
from lms.outposts.broker.spec import Spec

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_OPEN_FILES = 4096
#: What a program that could not be started ends with, as in a shell.
EXEC_FAILED = 127


class Pipes:
    """Descriptors that cross the fork from the keeper to the first process."""

    def __init__(
        self,
        *,
        go: int,
        problem: int,
        status: int,
        output: int | None,
        channel: int | None = None,
    ) -> None:
        #: One byte arrives when the first process may go on; end of file means the keeper died.
        self.go = go
        #: Words about a failed start; closed by a successful exec.
        self.problem = problem
        #: The program's pid on a line of its own, and at the end its wait status.
        self.status = status
        #: The program's stdout and stderr; None leaves the keeper's own.
        self.output = output
        #: What a zygote's fork talks to its caller over.
        self.channel = channel


def raise_loopback() -> None:
    """Switch on the loopback interface of a fresh network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING)
        fcntl.ioctl(probe, _SIOCSIFFLAGS, request)


def run_first(spec: Spec, pipes: Pipes) -> NoReturn:
    """Be the first process: start the program, reap whatever ends, report and end with it."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        # Without a handler the first process of a namespace is deaf to what is in it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not os.read(pipes.go, 1):
            os._exit(EXEC_FAILED)
        if spec["isolated"]:
            flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
            syscalls.mount("proc", "/proc", "proc", flags)
            if spec["user_namespace"]:
                syscalls.unmount_lazily(rootfs.OLD_PROC)
        else:  # no pid namespace: orphans come to us, and we end them
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        program = os.fork()
        if program == 0:
            run_program(spec, pipes)
        os.write(pipes.status, f"{program}\n".encode())
        os.close(pipes.problem)
    except OSError as error:
        _complain(pipes.problem, error)
    os.chdir("/")
    close_all_but([pipes.status])
    status = _reap_until(program)
    with contextlib.suppress(OSError):
        os.write(pipes.status, str(status).encode())
    while not spec["isolated"] and usage.kill_descendants(os.getpid()):
        with contextlib.suppress(ChildProcessError):
            os.wait()
    os._exit(0)


def run_host(pipes: Pipes) -> NoReturn:
    """Be the first process of a sandbox whose program a zygote puts in: reap whatever ends."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        syscalls.mount("proc", "/proc", "proc", flags)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        # The keeper may have died before we asked to be told.
        os.write(pipes.go, b"h")
    except OSError as error:
        _complain(pipes.problem, error)
    os.chdir("/")
    close_all_but([])
    while True:
        signal.sigwait({signal.SIGCHLD})
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _reap_until(program: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == program:
            return status


def run_program(spec: Spec, pipes: Pipes) -> NoReturn:
    """Become the program of `spec`, without any right that is not its own."""
    try:
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _connect_streams(pipes)
        os.umask(spec["umask"])
        _set_limits(spec)
        _drop_rights(spec)
        if not spec["isolated"]:
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(spec["cwd"])
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        if spec["isolated"]:
            more = seccomp.HIDDEN_MEMORY if spec["watched_memory"] else ()
            syscalls.set_seccomp(seccomp.build_program(syscalls.machine(), more))
        if spec["program"]:
            from lms.outposts.broker import programs  # a keeper of its own does without

            programs.run(spec, pipes.channel, pipes.problem)
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell wanted
    except (OSError, ValueError) as error:
        _complain(pipes.problem, error)


def _connect_streams(pipes: Pipes) -> None:
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    if pipes.output is not None:
        os.dup2(pipes.output, 1)
        os.dup2(pipes.output, 2)
    # Every other descriptor is close-on-exec, as Python makes them.


def _set_limits(spec: Spec) -> None:
    limits = {resource.RLIMIT_CORE: 0}
    if spec["memory_bytes"] or spec["joins"]:
        limits[resource.RLIMIT_NOFILE] = _OPEN_FILES
    # Without a namespace the kernel would count everything else this user runs as well.
    if spec["processes"] and spec["isolated"]:
        limits[resource.RLIMIT_NPROC] = spec["processes"]
    if spec["file_bytes"]:
        limits[resource.RLIMIT_FSIZE] = spec["file_bytes"]
    for limit, value in limits.items():
        highest = resource.getrlimit(limit)[1]
        allowed = value if highest == resource.RLIM_INFINITY else min(value, highest)
        resource.setrlimit(limit, (allowed, allowed))


def _drop_rights(spec: Spec) -> None:
    if not spec["isolated"] or not (spec["user_namespace"] or os.geteuid() == 0):
        return
    syscalls.forbid_capabilities()
    if not spec["user_namespace"]:
        os.setgroups(spec["groups"])
        os.setresgid(spec["gid"], spec["gid"], spec["gid"])
        os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    # An exec would take them too, but a zygote's fork has none.
    syscalls.drop_capabilities()


def _complain(problem: int, error: Exception) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(problem, str(error).encode()[:4000])
    os._exit(EXEC_FAILED)
