"""Kernels of running notebook servers: who asks, whose sandbox it is, and what the kernel may have.

The caller's word counts for nothing: the kernel of this machine says which process asks, and that
process must lie in a sandbox that a server's keeper of ours has built for the same user.
"""

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.spec import Spec, blank_spec
from lms.protocol.broker import ServerKernelRequest

#: A person's kernels are few; each costs a keeper, which no server's limits count.
MOST_KERNELS = 32
#: A kernel that was asked for counts this long, unless it says earlier that it runs: its keeper and
#: its fork cost root's memory and time before there is any kernel to count.
_ON_ITS_WAY_SECONDS = 60.0
_SEED_BITS = 52
_PARENT_FIELD = 1


class KernelRefusedError(Exception):
    """No kernel for whoever asked; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a keeper wrote about a server, or about a kernel that joined one."""

    keeper: ProcessName
    #: The first process of a server's sandbox; of a kernel the kernel itself.
    first: int
    uid: int
    user: str
    home: str
    processes: int
    output: str
    lease: str
    #: Of a kernel: its server's keeper.
    server: int
    #: Seconds since the epoch.
    started_at: float
    #: When the first process started, in clock ticks since boot.
    first_started: int
    #: The mounts of a kernel's own namespace, when it has devices.
    mounts: list[int]


class ServerKernels:
    """Finds the server that a caller lives in, and plans its kernels."""

    def __init__(self, state_dir: Path) -> None:
        self._servers_dir = state_dir
        self._kernels_dir = state_dir / "kernels"
        self._kernels_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        #: State files of kernels on their way: their owners, and how long they count.
        self._on_their_way: dict[Path, tuple[int, float]] = {}

    def plan(self, request: ServerKernelRequest, *, uid: int, pid: int) -> Spec:
        """Return what a keeper needs for the kernel; raises KernelRefusedError."""
        server = self._find_server(uid, pid)
        count = self._count(uid)
        if count >= MOST_KERNELS:
            raise KernelRefusedError(f"you have {count} kernels already")
        state = self._kernels_dir / f"{secrets.token_hex(8)}.json"
        self._on_their_way[state] = uid, time.monotonic() + _ON_ITS_WAY_SECONDS
        return blank_spec() | {
            "program": "kernel",
            "argv": ["-f", request.connection_file],
            "seed": secrets.randbits(_SEED_BITS),
            "env": request.env,
            "cwd": request.cwd,
            "user": server.user,
            "home": server.home,
            "uid": server.uid,
            "gid": server.uid,
            "network": True,
            "terminals": True,
            "processes": server.processes,
            "output": server.output,
            "joins": server.first,
            "joins_keeper": server.keeper.pid,
            "lease": request.lease,
            "state_path": str(state),
        }

    def _count(self, uid: int) -> int:
        """Return how many kernels a person has or has just asked for, in whichever server."""
        now = time.monotonic()
        self._on_their_way = {
            path: (owner, until)
            for path, (owner, until) in self._on_their_way.items()
            if until > now and not path.exists()
        }
        coming = sum(owner == uid for owner, _ in self._on_their_way.values())
        return coming + sum(kernel.uid == uid for kernel in self.list_kernels())

    def list_kernels(self) -> list[Record]:
        """Return the kernels that run."""
        return [kernel for kernel in self.list_records() if kernel.keeper.is_alive()]

    def list_owners(self) -> set[int]:
        """Return whose servers run."""
        servers = _records(self._servers_dir)
        return {server.uid for server in servers if server.keeper.is_alive()}

    def list_records(self) -> list[Record]:
        """Return what keepers have written, those that were killed included."""
        return list(_records(self._kernels_dir))

    def forget(self, kernel: Record) -> None:
        """Remove what a killed keeper has left, its kernel included."""
        for path in self._kernels_dir.glob("*.json"):
            if f'"pid": {kernel.keeper.pid},' not in path.read_text():
                continue
            ProcessName(kernel.first, kernel.first_started).send_signal(signal.SIGKILL)
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)

    def read_end(self, lease: str) -> str:
        """Return how the lease's last kernel ended, as its keeper says; empty when it did not."""
        try:
            return str(json.loads((self._kernels_dir / f"{lease}.ended").read_text())["verdict"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def forget_end(self, lease: str) -> None:
        """Remove what `read_end` returns."""
        (self._kernels_dir / f"{lease}.ended").unlink(missing_ok=True)

    def _find_server(self, uid: int, pid: int) -> Record:
        try:
            theirs = os.stat(f"/proc/{pid}/ns/pid")
        except OSError as error:
            raise KernelRefusedError("the caller has gone") from error
        for server in _records(self._servers_dir):
            if server.uid == uid and server.keeper.is_alive() and _is_space(server, theirs):
                return server
        raise KernelRefusedError(f"uid {uid} does not ask from a notebook server of its own")


def _is_space(server: Record, theirs: os.stat_result) -> bool:
    """Tell whether `theirs` is the space of processes that the server's first process began."""
    try:
        ours = os.stat(f"/proc/{server.first}/ns/pid")
        with open(f"/proc/{server.first}/stat", encoding="utf-8", errors="replace") as file:
            parent = int(file.read().rpartition(")")[2].split()[_PARENT_FIELD])
    except OSError:
        return False
    same = (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
    return same and parent == server.keeper.pid


def _records(folder: Path) -> Iterator[Record]:
    for path in folder.glob("*.json"):
        try:
            about: dict[str, Any] = json.loads(path.read_text())
            yield Record(
                keeper=ProcessName(int(about["pid"]), int(about["started"])),
                **{name: about[name] for name in Record.__dataclass_fields__ if name != "keeper"},
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it ends just now, or is from before an upgrade
