"""Kernels without a sandbox, forked from this process's zygote: for a person's own JupyterLab.

They run with the rights of the person whose server starts them, as every stock kernel does, and end
with that server. A pool keeps some of them running before anybody asks.
"""

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lms.outposts.broker.forks import AHEAD, OPEN
from lms.outposts.broker.spec import blank_spec
from lms.outposts.broker.zygotes import shared_zygote

_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
_SEED_BITS = 52
_TAKE_SECONDS = 5.0


class OpenKernelError(Exception):
    """No kernel could be forked; the text says why."""


class Connection:
    """A runtime folder of ours alone, with a connection file; sockets lie beside it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lms-kernel-"))
        self.path = self.folder / "kernel.json"
        self.info: dict[str, Any] = {
            "transport": "ipc",
            "ip": str(self.folder / "s"),
            "key": secrets.token_hex(16),
            "signature_scheme": "hmac-sha256",
            **_PORTS,
        }
        self.path.touch(mode=0o600)
        self.path.write_text(json.dumps(self.info))

    def clear(self) -> None:
        """Remove the sockets of a kernel that has ended, for another at the same place."""
        for path in self.folder.glob("s-*"):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class OpenKernel:
    """A forked kernel, used as jupyter_client uses a Popen."""

    stdin = stdout = stderr = None

    def __init__(
        self, connection: Connection, env: Mapping[str, str], cwd: str, *, ahead: bool = False
    ) -> None:
        self.connection = connection
        self.returncode: int | None = None
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        spec = blank_spec() | {
            "program": "kernel",
            "argv": ["-f", str(connection.path), *([AHEAD] if ahead else [])],
            "env": dict(env),
            "cwd": cwd,
            "seed": secrets.randbits(_SEED_BITS),
        }
        with theirs, given:
            shared_zygote.fork(spec, theirs.fileno(), given.fileno(), kind=OPEN)
        self.pid = 0

    def fileno(self) -> int:
        """Return what is readable when the kernel has ended."""
        return self._line.fileno()

    def channel_fileno(self) -> int:
        """Return what is readable when the kernel's sockets are open, or it has ended."""
        return self._channel.fileno()

    def start(self) -> None:
        """Take the word that its sockets are open; raises OpenKernelError when it has ended."""
        if not self._channel.recv(1):
            self.kill()
            self.wait()
            raise OpenKernelError("the kernel ended before it was ready")
        self._read(0)

    def is_started(self) -> bool:
        """Tell whether `start` need not wait."""
        return _is_readable(self._channel, 0)

    def take(self, env: Mapping[str, str], cwd: str) -> None:
        """Make a kernel of the pool one of `env` and `cwd`; raises OpenKernelError."""
        wanted = {"env": dict(env), "cwd": cwd, "seed": secrets.randbits(_SEED_BITS)}
        try:
            self._channel.sendall(json.dumps(wanted).encode() + b"\n")
            taken = _is_readable(self._channel, _TAKE_SECONDS) and self._channel.recv(1)
        except OSError:
            taken = b""
        if not taken:
            self.kill()
            self.wait()
            raise OpenKernelError("the kernel of the pool did not answer")

    def poll(self) -> int | None:
        """Return the exit code (negative: a signal) or None while it runs."""
        self._read(0)
        return self.returncode

    def wait(self) -> int:
        """Return the exit code once it has ended; nothing it started is left."""
        while self.returncode is None:
            self._read(1.0)
        self._channel.close()
        self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and what it started."""
        if self.pid and self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """End the kernel and its whole group."""
        # A fork that was only just asked for has no pid yet.
        self._read(0 if self.pid else _TAKE_SECONDS)
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the kernel and its group to end."""
        self.send_signal(signal.SIGTERM)

    def _read(self, seconds: float) -> None:
        while self.returncode is None and _is_readable(self._line, seconds):
            data = self._line.recv(64)
            if data.endswith(b"\n"):
                self.pid, seconds = int(data), 0.0
                continue
            if self.pid:
                # What the kernel has started is in its group and outlives it otherwise.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            # Without a word the zygote has ended, which takes its kernels along.
            self.returncode = os.waitstatus_to_exitcode(int(data)) if data else -signal.SIGKILL


class Pool:
    """Kernels that run before anybody asks; shared by all of this process's provisioners."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[OpenKernel] = []

    def take(self, env: Mapping[str, str], cwd: str) -> OpenKernel | None:
        """Return a running kernel made one of `env` and `cwd`, or None when none is ready."""
        while True:
            with self._lock:
                ready = [kernel for kernel in self._waiting if kernel.is_started()]
                if not ready:
                    return None
                self._waiting.remove(ready[0])
            try:
                ready[0].start()
                ready[0].take(env, cwd)
            except OpenKernelError:
                ready[0].connection.remove()
                continue
            return ready[0]

    def fill(self, size: int, env: Mapping[str, str]) -> None:
        """Fork until `size` kernels wait; they start by themselves, nobody waits for them."""
        with self._lock:
            while len(self._waiting) < size:
                connection = Connection()
                self._waiting.append(
                    OpenKernel(connection, env, str(connection.folder), ahead=True)
                )

    def wait_until_started(self, seconds: float) -> bool:
        """Wait until every kernel of the pool answers; for measurements and tests."""
        end = time.monotonic() + seconds
        while not all(kernel.is_started() for kernel in self._waiting):
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def pids(self) -> list[int]:
        """Return the processes that wait."""
        for kernel in self._waiting:
            kernel.poll()
        return [kernel.pid for kernel in self._waiting if kernel.pid]

    def close(self) -> None:
        """End every kernel that waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for kernel in waiting:
            kernel.kill()
            kernel.wait()
            kernel.connection.remove()

    def forget(self) -> None:
        """Let go of the kernels in a fork of this process, whose they are not."""
        self._lock = threading.Lock()
        self._waiting = []


def _is_readable(line: socket.socket, seconds: float) -> bool:
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


#: Of this process; its forks begin with none.
pool = Pool()
