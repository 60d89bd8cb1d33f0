"""A launcher without a sandbox: kernels are plain children. For trusted code in tests only."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from lms.outposts.broker.launcher import KernelProcess, KernelRequest, Usage

ROOT = Path(__file__).resolve().parents[2]


class PlainProcess(KernelProcess):
    """A kernel as a child process in a session of its own."""

    def __init__(self, request: KernelRequest, channel: socket.socket | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="fake-kernel-")
        if request.files_dir is not None:
            shutil.copytree(request.files_dir, self._folder, dirs_exist_ok=True)
        home = {"HOME": self._folder, "IPYTHONDIR": f"{self._folder}/.ipython"}
        self._popen = subprocess.Popen(
            _command(request, channel),
            pass_fds=() if channel is None else (channel.fileno(),),
            env={**request.env, **home},
            cwd=self._folder,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._popen.pid

    def poll(self) -> int | None:
        code = self._popen.poll()
        if code is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        return code

    def wait(self, timeout: float | None = None) -> int:
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
        shutil.rmtree(self._folder, ignore_errors=True)
        return code

    def send_signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        if self._popen.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def usage(self) -> Usage:
        return Usage()


class PlainLauncher:
    """Starts kernels as children of this process, with no limit on what they may do."""

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        with channel or contextlib.nullcontext():
            return PlainProcess(request, channel)


def _command(request: KernelRequest, channel: socket.socket | None) -> tuple[str, ...]:
    """Return what runs the request without a zygote."""
    if request.program == "kernel":
        return (sys.executable, "-m", "ipykernel_launcher", *request.argv)
    if request.program == "cells" and channel is not None:
        code = (
            "import socket, sys; from lms.outposts.kernels import cells; "
            f"sys.path[:] = [path for path in sys.path if path not in ('', {str(ROOT)!r})]; "
            f"sys.exit(cells.run(socket.socket(fileno={channel.fileno()}), []))"
        )
        return (sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}")
    return request.argv
