"""A launcher without a sandbox: kernels are plain children. For trusted code in tests only."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile

from lms.outposts.broker.launcher import KernelProcess, KernelRequest, Usage


class PlainProcess(KernelProcess):
    """A kernel as a child process in a session of its own."""

    def __init__(self, request: KernelRequest) -> None:
        self._folder = tempfile.mkdtemp(prefix="fake-kernel-")
        if request.files_dir is not None:
            shutil.copytree(request.files_dir, self._folder, dirs_exist_ok=True)
        home = {"HOME": self._folder, "IPYTHONDIR": f"{self._folder}/.ipython"}
        self._popen = subprocess.Popen(
            request.argv,
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
        if channel is not None:
            channel.close()
        return PlainProcess(request)
