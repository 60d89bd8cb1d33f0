"""A grading cluster on this machine: `lms cluster scheduler` and `lms cluster worker`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lms.foundation import clock
from lms.outposts.executors.certificates import make_certificates

ROOT = Path(__file__).resolve().parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Scheduler and workers as processes; each may be killed."""

    def __init__(self, folder: Path, keys: Path) -> None:
        self.folder = folder
        self.keys = keys
        self.port = free_port()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    @property
    def address(self) -> str:
        return f"tls://127.0.0.1:{self.port}"

    def start_scheduler(self) -> "subprocess.Popen[bytes]":
        words = ["scheduler", "--port", str(self.port), "--host", "127.0.0.1"]
        self.scheduler = self._start(words)
        end = time.monotonic() + 60
        while self.port not in listening(self.scheduler.pid):
            assert self.scheduler.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)
        return self.scheduler

    def start_worker(self) -> "subprocess.Popen[bytes]":
        self.workers.append(self._start(["worker", "--memory", "1GiB", self.address]))
        return self.workers[-1]

    def log(self) -> str:
        return (self.folder / "cluster.log").read_text()

    def end(self) -> None:
        parts = [self.scheduler, *self.workers]
        for part in parts:
            part.kill()
        for part in parts:
            part.wait()

    def _start(self, words: list[str]) -> "subprocess.Popen[bytes]":
        code = "import tests.fakes.light; from lms.cli.main import cli; cli()"
        with (self.folder / "cluster.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code, "cluster", *words, "--keys", str(self.keys)],
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def make_cluster(folder: Path) -> Cluster:
    keys = folder / "cluster-keys"
    make_certificates(keys, now=clock.now())
    return Cluster(folder, keys)


def listening(pid: int) -> dict[int, str]:
    """Return the TCP ports that a process listens on, and the address of each."""
    inodes = set(_sockets(pid))
    found = {}
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, port = words[1].rsplit(":", 1)
                found[int(port, 16)] = address
    return found


def _sockets(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]
