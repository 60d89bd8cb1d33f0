"""How long leased kernels have not computed, by what this machine's kernel says that they used.

A notebook says by itself whether a cell runs, and may say anything. Here counts the processor time
of all that is in a kernel's control group, and what the GPU's driver says of its processes. A
kernel that has not been seen to compute yet is not called idle: nobody knows since when it is.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lms.outposts.broker import cgroups
from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.server_kernels import Record

#: A kernel that uses more of one processor than this computes. One that waits uses less than 0.01.
BUSY_SHARE = 0.05
#: Looks closer together than this are not told apart.
_SHORTEST_SECONDS = 0.5
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
#: Own time and that of children who have ended, each in user and in system mode.
_TIMES = slice(11, 15)


@dataclass(slots=True)
class _Look:
    """What the last look at a kernel saw."""

    at: float
    used: dict[int, float]
    busy_at: float | None


class Idleness:
    """Remembers what kernels had used; `busy_pids` are processes that a GPU computes for."""

    def __init__(self, busy_pids: Callable[[], set[int]] = set) -> None:
        self._busy_pids = busy_pids
        self._looks: dict[ProcessName, _Look] = {}

    def look(self, kernels: Iterable[Record], now: float) -> dict[int, float | None]:
        """Return the idle seconds of each kernel, by its pid; None where they are not known yet."""
        kernels = list(kernels)
        hierarchy = cgroups.detect() if kernels else cgroups.NO_CGROUPS
        on_gpu = self._busy_pids() if kernels else set()
        looks = {one.keeper: self._look_at(one, hierarchy, on_gpu, now) for one in kernels}
        self._looks = looks
        return {
            one.first: None if busy_at is None else max(0.0, now - busy_at)
            for one in kernels
            for busy_at in [looks[one.keeper].busy_at]
        }

    def _look_at(
        self, kernel: Record, hierarchy: cgroups.Hierarchy, on_gpu: set[int], now: float
    ) -> _Look:
        before = self._looks.get(kernel.keeper)
        if before is not None and now - before.at < _SHORTEST_SECONDS:
            return before
        used, pids = _usage(kernel, hierarchy)
        look = _Look(now, used, None if before is None else before.busy_at)
        if pids & on_gpu or (before is not None and _has_computed(before, look)):
            look.busy_at = now
        return look


def _has_computed(before: _Look, look: _Look) -> bool:
    more = (max(0.0, used - before.used.get(name, 0.0)) for name, used in look.used.items())
    return sum(more) > BUSY_SHARE * (look.at - before.at)


def _usage(kernel: Record, hierarchy: cgroups.Hierarchy) -> tuple[dict[int, float], set[int]]:
    """Return what a kernel has used in seconds, by process or as one figure, and its processes."""
    name = f"kernel-{kernel.keeper.pid}"
    pids = cgroups.pids_within(hierarchy, kernel.server, name) or {kernel.first}
    whole = cgroups.seconds_within(hierarchy, kernel.server, name)
    if whole is not None:
        return {0: whole}, pids
    return {pid: _seconds_of(pid) for pid in pids}, pids


def _seconds_of(pid: int) -> float:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[_TIMES])) / _TICKS_A_SECOND
