"""The zygote: a process that has imported the notebook environment and forks on request.

A fresh single-threaded interpreter of its own. It listens to whoever started it, over one
SEQPACKET socket: a message is one byte and carries the descriptors of a launch. It opens and
reads none of them: the fork does, which is the keeper of one sandbox. So nothing about one run
lies in the memory of another. It ends when that socket closes.
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

from lms.outposts.broker import cgroups, keeper, programs, seccomp, syscalls
from lms.outposts.broker.descriptors import close_all_but, receive
from lms.outposts.environment import replace_environment

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
    "matplotlib_inline.backend_inline",
    "sklearn",
    "torch",
)
READY = b"r"
FAILED = b"f"
#: Descriptors of a request: the caller's control line, the spec, and the program's channel.
MAX_DESCRIPTORS = 3
_THREADS_SECONDS = 10.0


def load() -> None:
    """Import everything a fork may need; raises RuntimeError when that left a thread running."""
    # Nothing of any user's folders gets in, and nothing is left of ours.
    folder = tempfile.mkdtemp(prefix="zygote-")
    try:
        own = {"HOME": folder, "MPLCONFIGDIR": folder, "IPYTHONDIR": folder}
        replace_environment(programs.ENVIRONMENT | own)
        for name in IMPORTS:
            _import(name)
        for program in programs.MODULES:
            programs.prepare(program)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    end = time.monotonic() + _THREADS_SECONDS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > end:
            raise RuntimeError("an imported module started a thread")
        time.sleep(0.05)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
    except Exception as error:  # noqa: BLE001 - somebody else's module; kernels work without it
        sys.stderr.write(f"zygote: {name} cannot be imported: {error}\n")


class Zygote:
    """Takes launches from `line` and forks a keeper for each."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._hierarchy = cgroups.detect()
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
                    return

    def _answer(self) -> bool:
        data, descriptors = receive(self._line, 16, MAX_DESCRIPTORS)
        if not data:
            return False
        if len(descriptors) >= MAX_DESCRIPTORS - 1 and os.fork() == 0:
            _keep(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _reap(self) -> None:
        killed = False
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                killed = killed or os.WIFSIGNALED(status)
        if killed:
            # A killed keeper could not remove its control group.
            cgroups.sweep(self._hierarchy)


def _keep(descriptors: list[int]) -> NoReturn:
    """Be the keeper of one launch, and nothing of the zygote besides its memory."""
    code = 1
    try:
        os.setsid()
        close_all_but([0, 1, 2, *descriptors])
        programs.reset_signals()
        syscalls.name_process("seodang-keeper")
        control, written, *channel = descriptors
        with open(written, "rb") as file:
            spec = json.loads(file.read())
        code = keeper.keep(
            spec, socket.socket(fileno=control), channel=channel[0] if channel else None
        )
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
    finally:
        os._exit(code)


def main(number: int) -> int:
    """Be a zygote for whoever holds the other end of socket `number`."""
    os.set_inheritable(number, False)  # noqa: FBT003 - has no keyword
    syscalls.name_process("seodang-zygote")
    line = socket.socket(fileno=number)
    try:
        load()
        seccomp.build_program(syscalls.machine())
        zygote = Zygote(line)
    except Exception as error:  # noqa: BLE001 - the edge of a process
        with contextlib.suppress(OSError):
            line.send(FAILED + str(error).encode()[:4000])
        return 1
    gc.collect()
    gc.freeze()
    # The keepers and what they run decide for themselves; a collection here only copies pages.
    gc.disable()
    with contextlib.suppress(OSError):
        line.send(READY)
        zygote.serve()
    return 0
