"""The CPU time of a process and everything it ever started, as /proc has it.

A sandbox is a grandchild of the process that asked for it, in namespaces of its own; it counts
because each parent waits for its children, whose times then stand with the parent's. Nothing is
taken on trust: `lms bench grade` first lets a sandbox burn a known time and reads this meter.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

#: Looking costs time too, so it is done seldom.
_QUIET_SECONDS = 0.15
_TICKS = os.sysconf("SC_CLK_TCK")
#: Behind the name, which may hold anything: state, ppid and so on; utime is the twelfth.
_PPID, _UTIME, _CSTIME = 1, 11, 14


class _Process(NamedTuple):
    parent: int
    seconds: float


def tree_seconds(root: int | None = None) -> float:
    """Return the CPU seconds of `root` (this process), its descendants and their dead ones."""
    processes = _processes()
    wanted = os.getpid() if root is None else root
    return sum(processes[pid].seconds for pid in _tree(processes, wanted))


def settle(seconds: float = 5.0) -> None:
    """Wait until this process' descendants have stopped changing: ended sandboxes still leave."""
    end, before = time.monotonic() + seconds, -1
    while (now := descendants()) != before and time.monotonic() < end:
        before = now
        time.sleep(_QUIET_SECONDS)


def descendants() -> int:
    """Return how many processes this one has started, directly or not, that still live."""
    return len(_tree(_processes(), os.getpid())) - 1


def _tree(processes: dict[int, _Process], root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in processes:
            found.append(pid)
        waiting += children.get(pid, [])
    return found


def _processes() -> dict[int, _Process]:
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue  # it has just ended
            fields = text.rpartition(")")[2].split()
            ticks = sum(map(int, fields[_UTIME : _CSTIME + 1]))
            found[int(entry.name)] = _Process(int(fields[_PPID]), ticks / _TICKS)
    return found
