"""Measures what the processes of one sandbox use, from its own /proc and its scratch disk."""

import contextlib
import os
import signal
import stat
from typing import NamedTuple

#: A full disk answers with fewer free bytes than this.
_NEARLY_NOTHING = 64 << 10

#: Anonymous, of files, shared memory: since Linux 5.4.
_PSS_LINES = 3

#: No file has this owner.
_NOBODY = -1


class Memory(NamedTuple):
    """Resident memory of a process tree, and the process that holds most of it."""

    total_bytes: int
    largest_pid: int


def measure_memory(pids: list[int], scratch_used_bytes: int) -> Memory:
    """Sum what `pids` hold and what lies on the scratch disk, which is memory as well.

    Pages shared by a fork are counted in each process: an upper bound, never too little. Shared
    memory counts once, as the larger of what is mapped and what lies on the disk.
    """
    anonymous = shared = largest = largest_pid = 0
    for pid in pids:
        own, mapped = _resident(pid)
        anonymous += own
        shared += mapped
        if own + mapped > largest:
            largest, largest_pid = own + mapped, pid
    return Memory(anonymous + max(shared, scratch_used_bytes), largest_pid)


def measure_shares(pids: list[int], scratch_used_bytes: int) -> int:
    """Sum each process's share of the memory it maps, exactly and slowly, with the scratch disk.

    What a fork has inherited and not changed is shared with the zygote and counts in part.
    """
    anonymous = shared = 0
    for pid in pids:
        own, mapped = _shares(pid) or _resident(pid)
        anonymous += own
        shared += mapped
    return anonymous + max(shared, scratch_used_bytes)


def _shares(pid: int) -> tuple[int, int] | None:
    """Return a process's share of anonymous and of shared memory, or None when it hides them."""
    found: dict[bytes, int] = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                name, *values = line.split()
                if name.startswith(b"Pss_"):
                    found[name] = int(values[0]) << 10
    except OSError:
        return None
    return (found[b"Pss_Anon:"], found[b"Pss_Shmem:"]) if len(found) >= _PSS_LINES else None


def list_pids() -> list[int]:
    """Return every process of the pid namespace that /proc shows, the first one left out."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def list_descendants(root: int) -> list[int]:
    """Return the processes below `root`, for a sandbox without a pid namespace."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
                children = [int(child) for child in file.read().split()]
        except OSError:
            continue
        found += children
        waiting += children
    return found


def kill_descendants(root: int) -> int:
    """Kill every process below `root` and return how many there were."""
    found = list_descendants(root)
    for pid in found:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return len(found)


def _resident(pid: int) -> tuple[int, int]:
    own = mapped = 0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                own = int(line.split()[1]) << 10
            elif line.startswith("RssShmem:"):
                mapped = int(line.split()[1]) << 10
                break
    return own, mapped


def disk_used_bytes(path: str) -> int:
    """Return how much of the file system at `path` is taken."""
    state = os.statvfs(path)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def is_disk_full(path: str) -> bool:
    """Tell whether the file system at `path` has no bytes or no file entries left."""
    state = os.statvfs(path)
    return state.f_bfree * state.f_frsize < _NEARLY_NOTHING or state.f_ffree == 0


def exceeds(folder: int, *, bytes_allowed: int, entries_allowed: int) -> bool:
    """Tell whether the tree in `folder` (a descriptor) is over either limit; stops looking then."""
    total = entries = 0
    for _, folders, names, descriptor in os.fwalk(".", dir_fd=folder):
        for name in [*folders, *names]:
            entries += 1
            with contextlib.suppress(OSError):
                total += os.lstat(name, dir_fd=descriptor).st_blocks * 512
        if entries > entries_allowed or total > bytes_allowed:
            return True
    return False


def purge(folder: int, *, keep_uid: int) -> None:
    """Remove everything in `folder` (a descriptor) that `keep_uid` does not own.

    Goes down and up by descriptors, so that no nesting is too deep for us. Nothing may be running
    that could write there.
    """
    here = os.dup(folder)
    #: The folders still to be emptied at each level; we stand in the last one of the level above.
    levels = [_unlink_files(here, keep_uid)]
    while levels:
        if levels[-1]:
            inner = _open_folder(levels[-1][-1], here)
            if inner is None:
                levels[-1].pop()
                continue
            os.close(here)
            here = inner
            levels.append(_unlink_files(here, _NOBODY))
            continue
        levels.pop()
        if levels:
            above = os.open("..", os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = above
            with contextlib.suppress(OSError):
                os.rmdir(levels[-1].pop(), dir_fd=here)
    os.close(here)


def _unlink_files(folder: int, keep_uid: int) -> list[str]:
    """Remove what is no folder and return the folders."""
    folders = []
    for name in os.listdir(folder):
        status = os.lstat(name, dir_fd=folder)
        if status.st_uid == keep_uid:
            continue
        if stat.S_ISDIR(status.st_mode):
            folders.append(name)
        else:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
    return folders


def _open_folder(name: str, folder: int) -> int | None:
    try:
        return os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        return None


def remove(path: str) -> None:
    """Remove the folder at `path` and everything in it."""
    folder = os.open(path, os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        purge(folder, keep_uid=_NOBODY)
    finally:
        os.close(folder)
    os.rmdir(path)
