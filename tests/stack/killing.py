"""Ends one part of a running system as `kill -9` does, and nothing else."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.stack import Stack


def children_of(pid: int) -> list[int]:
    """Return everything that descends from a process, the nearest first."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    nearest = [int(word) for word in text.split()]
    return nearest + [pid for child in nearest for pid in children_of(child)]


def words_of(pid: int) -> str:
    """Return a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def name_of(pid: int) -> str:
    """Return what a process calls itself."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _program(part: str, words: str) -> Callable[[Stack], int]:
    """Find the program itself, not the view it runs in."""

    def find(stack: Stack) -> int:
        pid = stack.pid_of(part)
        return next(one for one in [pid, *children_of(pid)] if words in words_of(one))

    return find


def _fork(kind: str, name: str) -> Callable[[Stack], int]:
    """Find a nursery or zygote of the broker's."""

    def find(stack: Stack) -> int:
        nurseries = children_of(stack.pid_of("broker"))
        return next(
            one for one in nurseries if name_of(one) == name and f"'{kind}'" in words_of(one)
        )

    return find


#: What can be killed -> how its process is found.
PARTS: dict[str, Callable[[Stack], int]] = {
    "server zygote": _fork("servers", "seodang-zygote"),
    "kernel zygote": _fork("kernels", "seodang-zygote"),
    "server nursery": _fork("servers", "seodang-nursery"),
    "kernel nursery": _fork("kernels", "seodang-nursery"),
    "broker": _program("broker", "lms.cli broker"),
    "Hub": _program("hub", "-m jupyterhub"),
    "proxy": _program("proxy", "lms.outposts.hub.proxy"),
    "web": _program("web", "-m gunicorn"),
    "worker": _program("worker", "lms.cli worker"),
}


def kill(stack: Stack, part: str) -> int:
    """Kill a part; return the process id that it had."""
    pid = PARTS[part](stack)
    os.kill(pid, signal.SIGKILL)
    return pid
