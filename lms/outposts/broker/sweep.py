"""Measures how much each home takes: a program of its own that only uses what nobody else wants.

Run by root over trees that strangers change meanwhile: folders are opened one step at a time below
the home, never through a link, never on another file system, and nothing is ever changed. Each home
has so much time; what could not be looked through counts as at least what was found. The homes that
were measured longest ago come first, so that all have their turn however many there are.
"""

import contextlib
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: How long all homes, and one of them, may take at a time.
SECONDS, HOME_SECONDS = 120.0, 10.0
#: Folders still to be opened, and files with several names, that are remembered at most.
_MOST_WAITING = 100_000
_MOST_LINKED = 100_000
_LOOK_EVERY = 256
#: A folder that a file system of its own has.
_NO_HOMES = {"lost+found"}
_BLOCK_BYTES = 512


class Tree:
    """One home as it is looked through."""

    def __init__(self, home: int, deadline: float) -> None:
        self._home = home
        self._deadline = deadline
        self._device = os.fstat(home).st_dev
        self._linked: set[int] = set()
        self._waiting = [""]
        self._entries = 0
        self.used_bytes = 0
        self.complete = True

    def measure(self) -> None:
        """Add up what lies in the home, until the time is up."""
        while self._waiting:
            if not self._look(self._waiting.pop()):
                self.complete = False
                return

    def _look(self, path: str) -> bool:
        folder = open_below(self._home, path)
        if folder is None:
            return True  # it has just gone
        try:
            if os.fstat(folder).st_dev != self._device:
                return True
            with os.scandir(folder) as found:
                return all(self._add(path, entry) for entry in found)
        except OSError:
            return True
        finally:
            os.close(folder)

    def _add(self, path: str, entry: "os.DirEntry[str]") -> bool:
        self._entries += 1
        if self._entries % _LOOK_EVERY == 0 and time.monotonic() > self._deadline:
            return False
        with contextlib.suppress(OSError):
            status = entry.stat(follow_symlinks=False)
            if status.st_dev != self._device or self._is_known(status):
                return True
            self.used_bytes += status.st_blocks * _BLOCK_BYTES
            if entry.is_dir(follow_symlinks=False):
                if len(self._waiting) >= _MOST_WAITING:
                    self.complete = False
                else:
                    self._waiting.append(f"{path}/{entry.name}" if path else entry.name)
        return True

    def _is_known(self, status: os.stat_result) -> bool:
        """Say whether a file of several names has been counted by another of them."""
        if status.st_nlink < 2 or (status.st_mode & 0o170000) == 0o040000:  # noqa: PLR2004
            return False
        if status.st_ino in self._linked:
            return True
        if len(self._linked) < _MOST_LINKED:
            self._linked.add(status.st_ino)
        return False


def open_below(home: int, path: str) -> int | None:
    """Open a folder below `home`, never through a link; None when it is not there any more."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.dup(home)
    for name in path.split("/") if path else ():
        try:
            inner = os.open(name, flags, dir_fd=here)
        except OSError:
            return None
        finally:
            os.close(here)
        here = inner
    return here


def sweep(
    homes: int, known: "dict[str, float]", *, seconds: float = SECONDS, each: float = HOME_SECONDS
) -> "Iterator[dict[str, object]]":
    """Yield what each home takes, those first that `known` says were measured longest ago."""
    end = time.monotonic() + seconds
    for name in sorted(os.listdir(homes), key=lambda name: (known.get(name, 0.0), name)):
        now = time.monotonic()
        if now >= end:
            return
        home = None if name in _NO_HOMES else open_below(homes, name)
        if home is None:
            continue
        try:
            tree = Tree(home, min(end, now + each))
            tree.measure()
        finally:
            os.close(home)
        yield {
            "username": name,
            "used_bytes": tree.used_bytes,
            "measured_at": time.time(),
            "complete": tree.complete,
        }


def main(homes: str, before: str) -> int:
    """Print what each home takes, a line of JSON each; `before` says when each was measured."""
    known: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError), open(before, encoding="utf-8") as file:
        known = {one["username"]: one["measured_at"] for one in json.load(file)}
    os.nice(19)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    folder = os.open(homes, os.O_RDONLY | os.O_DIRECTORY)
    for one in sweep(folder, known):
        sys.stdout.write(json.dumps(one) + "\n")
        sys.stdout.flush()
    return 0
