"""Names processes so that a later process can find them again, and ends them for certain."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import Self

_START_FIELD = 19
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A pid with the time it started, in clock ticks since boot: never another process's name."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the name of process `pid`, or None when it has gone or only waits to be reaped."""
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                # The program's name stands in brackets and may itself hold spaces and brackets.
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else cls(pid, int(fields[_START_FIELD]))

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return type(self).of(self.pid) == self

    def send_signal(self, number: int) -> bool:
        """Send a signal to this process and no other; False when it has gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            # The name is checked while the descriptor pins the process.
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until this process has ended; False when it still runs after `seconds`."""
        end = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        return True


def find_marked(variable: str, value: str) -> list[ProcessName]:
    """Return the processes that were started with `variable=value` in their environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if wanted in file.read().split(b"\0"):
                process = ProcessName.of(int(name))
                if process is not None:
                    found.append(process)
    return found


def end_marked(variable: str, value: str) -> int:
    """Kill every process marked with `variable=value`, and what they start meanwhile."""
    ended: set[ProcessName] = set()
    # A process may fork between the look and the kill: look until none is left.
    while marked := [process for process in find_marked(variable, value) if process.is_alive()]:
        for process in marked:
            process.send_signal(signal.SIGKILL)
            ended.add(process)
        for process in marked:
            if not process.wait_for_end(1.0):
                return len(ended)
    return len(ended)
