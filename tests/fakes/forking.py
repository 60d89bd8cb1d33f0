"""A launcher whose cells are forks of a prepared process, without a sandbox: trusted code only."""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Self

from lms.outposts.broker.launcher import KernelProcess, KernelRequest, Usage
from tests.fakes.launcher import PlainLauncher

ROOT = Path(__file__).resolve().parents[2]


class ForkedProcess(KernelProcess):
    """A fork of the zygote, in a session of its own."""

    def __init__(self, pid: int, folder: str) -> None:
        self.pid = pid
        self._folder = folder
        self._watched = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended(-1 if timeout is None else timeout * 1000):
            raise TimeoutError
        return 0

    def _ended(self, milliseconds: float) -> bool:
        poll = select.poll()
        poll.register(self._watched, select.POLLIN)
        if not poll.poll(milliseconds):
            return False
        shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def send_signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._watched, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def usage(self) -> Usage:
        return Usage()


class ForkingLauncher(PlainLauncher):
    """Starts `cells` as forks of one process that has imported and prepared everything."""

    def __init__(self, *imports: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *imports],
                pass_fds=(theirs.fileno(),),
                cwd=ROOT,
                env={
                    "PATH": "/usr/bin:/bin",
                    "LANG": "C.UTF-8",
                    "PYTHONHASHSEED": "0",
                    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        assert self._socket.recv(100) == b"ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._zygote.wait(10)

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        if request.program != "cells":
            return super().launch(request)
        assert channel is not None
        home = tempfile.mkdtemp(prefix="fake-cells-")
        folder = f"{home}/work"
        if request.files_dir is not None:
            shutil.copytree(request.files_dir, folder)
        env = {**request.env, "HOME": home, "IPYTHONDIR": f"{home}/.ipython"}
        question = json.dumps({"cwd": folder, "env": env}).encode()
        socket.send_fds(self._socket, [question], [channel.fileno()])
        channel.close()
        return ForkedProcess(int(self._socket.recv(100)), home)


def _zygote(number: int, imports: list[str]) -> None:
    from lms.outposts.kernels import cells

    with cells.importing():
        for name in imports:
            __import__(name)
    here = socket.socket(fileno=number)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    here.send(b"ready")
    while True:
        data, channels, _, _ = socket.recv_fds(here, 1 << 20, 1)
        if not data:
            return
        pid = os.fork()
        if pid == 0:
            here.close()
            _child(json.loads(data), channels[0])
        os.close(channels[0])
        here.send(str(pid).encode())


def _child(asked: dict[str, object], channel: int) -> None:
    from lms.outposts.kernels import cells

    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    os.chdir(str(asked["cwd"]))
    sys.path[:] = [path for path in sys.path if path not in {"", str(ROOT)}]
    try:
        os._exit(cells.run(socket.socket(fileno=channel), []))
    except BaseException:  # noqa: BLE001 (the end of a process)
        traceback.print_exc(file=sys.__stderr__)
    os._exit(70)


if __name__ == "__main__":
    _zygote(int(sys.argv[1]), sys.argv[2:])
