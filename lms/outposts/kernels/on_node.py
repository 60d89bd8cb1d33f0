"""What `srun` starts on a node: it starts the kernel there, watches it, and ends with its server.

Its orders come on standard input, one JSON object a line; its words go to standard output in the
same way. The end of the input is the end of the kernel: however the server of the person has ended,
nobody is left to use it, and the job must not hold its GPU.

The first order is a MUNGE credential that only the same user's processes on the cluster can open,
since it carries the kernel's keys and environment and srun's own lines are not encrypted.
"""

import argparse
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
import time
from pathlib import Path
from typing import Any

from lms.outposts.broker.syscalls import PR_SET_PDEATHSIG, prctl
from lms.outposts.environment import process_environment
from lms.outposts.kernels.credentials import CredentialError, open_credential

#: Seconds between two words of life; the server takes the node for lost after a few of them.
BEAT_SECONDS = 2.0
#: How long an ended kernel may be started again in this job, in seconds.
RESTART_SECONDS = 60.0
_READY_SECONDS = 90.0
_PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
#: What a kernel needs to know of its job, whatever environment the server asked for.
_JOB_VARIABLES = ("CUDA_", "GPU_", "NVIDIA_", "ROCR_", "SLURM", "ZE_")


def boot_id() -> str:
    """Return what no two running machines have in common."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def address_towards(other: str) -> str:
    """Return this machine's address as `other` reaches it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        # Nothing is sent: the system only chooses the way.
        probe.connect((other, 9))
        return str(probe.getsockname()[0])
    return socket.gethostbyname(socket.gethostname())


class NodeKernel:
    """The kernel of this job, which may be started more than once at the same place."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._folder = Path(tempfile.mkdtemp(prefix="lms-kernel-"))
        self._file = self._folder / "kernel.json"
        self._file.touch(mode=0o600)
        self._file.write_text(json.dumps(self._listen()))
        self.process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1

    def start(self) -> dict[str, Any]:
        """Start it and return where it listens, once it does; raises RuntimeError."""
        env = process_environment()
        job = {name: env[name] for name in env if name.startswith(_JOB_VARIABLES)}
        path = str(self._file)
        self.process = subprocess.Popen(
            [word.replace("{connection_file}", path) for word in self._order["argv"]],
            env=self._order["env"] | job | {"JPY_PARENT_PID": str(os.getpid())},
            cwd=self._cwd(),
            stdin=subprocess.DEVNULL,
            # The orders' answers are nobody else's to write.
            stdout=sys.stderr.fileno(),
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread runs here
        )
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = os.pidfd_open(self.process.pid)
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("the kernel ended before it was ready")
            place = self._place()
            if place is not None:
                return place
            time.sleep(0.02)
        raise RuntimeError("the kernel did not become ready")

    def fileno(self) -> int:
        """Return what is readable once the kernel has ended."""
        return self._pidfd

    def poll(self) -> int | None:
        """Return the kernel's exit code or None while it runs."""
        return self.process.poll() if self.process is not None else 0

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel and to what it started."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kill the kernel and what it started; returns when it is gone."""
        self.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def end(self) -> None:
        """Kill the kernel and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listen(self) -> dict[str, Any]:
        order = self._order
        info = dict.fromkeys(_PORTS, 0) | {
            "key": order["key"],
            "signature_scheme": "hmac-sha256",
        }
        folder = Path(order["folder"])
        if order["boot_id"] == boot_id() and (folder / order["nonce"]).is_file():
            ports = {name: number for number, name in enumerate(_PORTS, 1)}
            return info | ports | {"transport": "ipc", "ip": str(folder / "node")}
        server = process_environment().get("SLURM_LAUNCH_NODE_IPADDR", "")
        return info | {
            "transport": "tcp",
            "ip": address_towards(server),
            "curve_publickey": order["curve_publickey"],
            "curve_secretkey": order["curve_secretkey"],
        }

    def _place(self) -> dict[str, Any] | None:
        try:
            info = json.loads(self._file.read_text())
        except ValueError:
            return None
        if info["transport"] == "ipc":
            there = [Path(f"{info['ip']}-{info[name]}").is_socket() for name in _PORTS]
            ready = all(there)
        else:
            ready = all(info[name] for name in _PORTS)
        return {name: info[name] for name in ("transport", "ip", *_PORTS)} if ready else None

    def _cwd(self) -> str:
        # A folder of the server's that this node does not have.
        return self._order["cwd"] if Path(self._order["cwd"]).is_dir() else str(Path.home())


def main() -> int:
    """Start the kernel and serve its server's orders until they end."""
    parser = argparse.ArgumentParser(prog="on_node")
    parser.add_argument("--munge-socket", default="")
    socket_path = parser.parse_args().munge_socket
    lines = _Lines()
    # Only now: a credential is short-lived, and the job may have waited for hours.
    _say({"hello": process_environment().get("SLURM_JOB_ID", "")})
    try:
        kernel = NodeKernel(open_credential(lines.next(None) or "", socket_path))
    except CredentialError as error:
        _say({"failed": str(error)})
        return 1
    try:
        if _start(kernel):
            _serve(kernel, lines)
    finally:
        kernel.end()
    return 0


def _start(kernel: NodeKernel) -> bool:
    try:
        place = kernel.start()
    except (RuntimeError, OSError) as error:
        _say({"failed": str(error)})
        return False
    env = process_environment()
    _say({"ready": place, "host": env.get("SLURMD_NODENAME", socket.gethostname())})
    return True


def _serve(kernel: NodeKernel, lines: "_Lines") -> None:
    ended_at: float | None = None
    while ended_at is None or time.monotonic() < ended_at + RESTART_SECONDS:
        line = lines.next(BEAT_SECONDS, None if ended_at else kernel.fileno())
        if line is None:
            return
        order = json.loads(line or "{}")
        if "start" in order:
            kernel.kill()
            if not _start(kernel):
                return
            ended_at = None
        elif "signal" in order:
            kernel.send_signal(int(order["signal"]))
        code = kernel.poll()
        if code is not None and ended_at is None:
            _say({"ended": code})
            ended_at = time.monotonic()


class _Lines:
    """Standard input by lines; says a word of life while nothing comes."""

    def __init__(self) -> None:
        self._buffer = b""
        self._beat_at = time.monotonic() + BEAT_SECONDS

    def next(self, timeout: float | None, watch: int | None = None) -> str | None:
        """Return the next line, "" when none came in time, None when there will be none.

        It ends early with "" as soon as `watch` is readable.
        """
        wanted = [0] if watch is None else [0, watch]
        while b"\n" not in self._buffer:
            readable, _, _ = select.select(wanted, [], [], timeout)
            if time.monotonic() >= self._beat_at:
                _say({"beat": True})
                self._beat_at = time.monotonic() + BEAT_SECONDS
            if 0 not in readable:
                return ""
            found = os.read(0, 65536)
            if not found:
                return None
            self._buffer += found
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()


def _die_with_parent() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _say(word: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(word) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
