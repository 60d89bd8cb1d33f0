"""The zygote: a process that has imported the notebook environment and forks on request.

A fresh single-threaded interpreter of its own. It listens to keepers over one SEQPACKET socket: a
message says what is wanted and carries descriptors. The zygote opens and reads none of them, its
forks do, so that nothing about one run lies in the memory of another. Forks of so large a process
cost more than all else in a launch, so there is one a run wherever it can be put into a sandbox
from outside; that takes root. Elsewhere the fork is the keeper, and forks again.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from typing import NoReturn

from lms.outposts.broker import cgroups, devices, inside, keeper, pages, programs, seccomp, syscalls
from lms.outposts.broker.descriptors import close_all_but, receive
from lms.outposts.broker.forks import (
    FAILED,
    JOIN,
    KEEP,
    KERNELS,
    MAX_DESCRIPTORS,
    OPEN,
    READY,
    ZYGOTES,
    close_joined,
)
from lms.outposts.broker.signals import reset_signals
from lms.outposts.environment import process_environment, replace_environment

#: What notebooks and kernels use, imported once; a module that is not installed is left out.
IMPORTS = (
    "IPython.core.completer",
    "IPython.core.ultratb",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "sqlite3",
    "numpy",
    "numpy.random",
    "pandas",
    "matplotlib",
    "matplotlib.pyplot",
    "matplotlib.backends.backend_agg",
    "sklearn",
    "torch",
    # Both sides of a split run.
    "lms.outposts.kernels.answers",
    "lms.outposts.kernels.stubs",
    "lms.outposts.kernels.values_numpy",
    "lms.outposts.kernels.values_pandas",
)
_THREADS_SECONDS = 10.0
_STREAMS = (0, 1, 2)
#: In thousandths of the server's memory: so much larger than it is a kernel looks to the machine.
_KERNEL_OOM_SCORE = "400"


def load(kind: str = KERNELS) -> None:
    """Import everything a fork may need; raises RuntimeError when that left a thread running."""
    # Nothing of any user's folders gets in, and nothing is left of ours.
    folder = tempfile.mkdtemp(prefix="zygote-")
    try:
        own = {"HOME": folder, "MPLCONFIGDIR": folder, "IPYTHONDIR": folder}
        replace_environment(process_environment() | own)
        for program in ZYGOTES[kind]:
            programs.prepare(program)
        if kind == KERNELS:
            _import_for_notebooks()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    end = time.monotonic() + _THREADS_SECONDS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            raise RuntimeError("an imported module started a thread")
        time.sleep(0.05)


def _import_for_notebooks() -> None:
    from lms.outposts.kernels import cells

    # pandas, for one, looks at its import whether there is a kernel around it. The inline
    # backend does so too, and has to find the fork's: it is not imported here.
    with cells.importing():
        for name in IMPORTS:
            _import(name)
    _list_backends()


def _list_backends() -> None:
    """Let matplotlib read what every installed package offers it; each fork would do so anew."""
    registry = sys.modules.get("matplotlib.backends.registry")
    if registry is not None:
        registry.backend_registry.list_all()


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
    except Exception as error:  # noqa: BLE001 - somebody else's module; kernels work without it
        sys.stderr.write(f"zygote: {name} cannot be imported: {error}\n")


class Zygote:
    """Takes requests from `line` and forks for each."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._hierarchy = cgroups.detect()
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        #: Programs put into sandboxes, with the pipe that is told how each ended.
        self._programs: dict[int, int] = {}
        #: Those among them that nobody else ends when our owner has gone.
        self._open_programs: set[int] = set()
        self._wake = os.pipe()
        for end in self._wake:
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> None:
        """Fork until the line closes."""
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._wake[0]:
                    os.read(self._wake[0], 4096)
                    self._reap()
                elif not self._answer():
                    self._end_open_programs()
                    return

    def _answer(self) -> bool:
        data, descriptors = receive(self._line, 16, MAX_DESCRIPTORS)
        if not data:
            return False
        if data[:1] == JOIN:
            self._join(descriptors, has_channel=data[1:] == b"c")
        elif data == KEEP and os.fork() == 0:
            _keep(descriptors)
        elif data == OPEN:
            self._open(descriptors)
        close_joined(descriptors)
        return True

    def _open(self, descriptors: list[int]) -> None:
        """Fork a program in our own rights, whose caller hears of it over the first descriptor."""
        pid = os.fork()
        if pid == 0:
            _be_open(descriptors)
        line = os.dup(descriptors[0])
        self._open_programs.add(pid)
        self._programs[pid] = line
        with contextlib.suppress(OSError):
            os.write(line, f"{pid}\n".encode())

    def _join(self, descriptors: list[int], *, has_channel: bool) -> None:
        """Fork a program into the sandbox whose first process the second descriptor names."""
        _, first, status, problem, *_ = descriptors
        try:
            # Of a new process only the namespace of pids must be set before it is there.
            syscalls.setns(first, syscalls.CLONE_NEWPID)
            try:
                pid = os.fork()
                if pid == 0:
                    _enter(descriptors, has_channel=has_channel)
            finally:
                syscalls.setns(self._own_pids, syscalls.CLONE_NEWPID)
        except OSError as error:
            os.write(problem, str(error).encode()[:4000])
            return
        self._programs[pid] = os.dup(status)
        os.write(status, f"{pid}\n".encode())

    def _end_open_programs(self) -> None:
        for pid in self._open_programs:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)

    def _reap(self) -> None:
        killed = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                told = self._programs.pop(pid, None)
                self._open_programs.discard(pid)
                if told is None:
                    killed = killed or os.WIFSIGNALED(status)
                    continue
                with contextlib.suppress(OSError):
                    os.write(told, str(status).encode())
                os.close(told)
        if killed:
            # A killed keeper could not remove its control group.
            cgroups.sweep(self._hierarchy)


def _be_open(descriptors: list[int]) -> NoReturn:
    """Be a program with the rights, root and limits of who started the zygote."""
    try:
        os.setsid()
        _, written, *channel = descriptors
        close_all_but([*_STREAMS, written, *channel])
        spec = json.loads(os.pread(written, 1 << 24, 0))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with contextlib.suppress(OSError):
            os.chdir(spec["cwd"])
        programs.run(spec, channel[0] if channel else None, written)
    except BaseException:  # noqa: BLE001 - the edge of a process
        os._exit(inside.EXEC_FAILED)


def _enter(descriptors: list[int], *, has_channel: bool) -> NoReturn:
    """Be the program of a sandbox that a keeper has built."""
    written, first, status, problem, output, *rest = descriptors
    try:
        close_all_but([*_STREAMS, *descriptors])
        reset_signals()
        channel = rest.pop(0) if has_channel else None
        spec = json.loads(os.pread(written, 1 << 24, 0))
        groups = rest[: len(rest) - len(spec["devices"])]
        for group in groups:
            os.write(group, b"0")
        if spec["joins"]:
            _go_before_the_server()
        kinds = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET
        syscalls.setns(first, kinds | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
        if spec["devices"]:
            devices.show(spec["devices"], rest[len(groups) :])
        pipes = inside.Pipes(go=-1, problem=problem, status=status, output=output, channel=channel)
        inside.run_program(spec, pipes)
    except BaseException as error:  # noqa: BLE001 - the edge of a process
        with contextlib.suppress(OSError):
            os.write(problem, str(error).encode()[:4000])
    finally:
        os._exit(inside.EXEC_FAILED)


def _go_before_the_server() -> None:
    """Want of memory ends a kernel, or what it has started, before the server that it belongs to.

    Not whatever its size: a terminal that eats everything still goes first. Who undoes this risks
    nothing but the own server.
    """
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
        f.write(_KERNEL_OOM_SCORE)


def _keep(descriptors: list[int]) -> NoReturn:
    """Be the keeper of one launch, and nothing of the zygote besides its memory."""
    code = 1
    try:
        os.setsid()
        close_all_but([*_STREAMS, *descriptors])
        reset_signals()
        syscalls.name_process("seodang-keeper")
        code = keeper.keep_given(descriptors, None)
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
    finally:
        os._exit(code)


def main(number: int, news: int, kind: str = KERNELS) -> int:
    """Be a zygote for who asks over socket `number`; say over socket `news` how the start went."""
    for descriptor in (number, news):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - has no keyword
    syscalls.name_process("seodang-zygote")
    line, ready = socket.socket(fileno=number), socket.socket(fileno=news)
    try:
        load(kind)
        zygote = Zygote(line)
    except Exception as error:  # noqa: BLE001 - the edge of a process
        with contextlib.suppress(OSError):
            ready.send(FAILED + str(error).encode()[:4000])
        return 1
    gc.collect()
    gc.freeze()
    # The keepers and what they run decide for themselves; a collection here only copies pages.
    gc.disable()
    if seccomp.is_supported(syscalls.machine()):
        seccomp.build_program(syscalls.machine())
    pages.enlarge()
    with contextlib.suppress(OSError):
        ready.send(READY)
    ready.close()
    zygote.serve()
    return 0
