"""Memory and process limits by control group: version 1, version 2 or neither, found at start.

Files are held by directory descriptors, since the keeper changes its root while a group lives.
"""

import contextlib
import os
import signal
import time
from typing import Literal, NamedTuple

Version = Literal["none", "v1", "v2"]

_CONTROLLERS = ("memory", "pids")
#: Welcome where it can be had: without it a busy sandbox takes the processor from the others.
_CPU = "cpu"
#: Where the processes of a group with parts are (version 2 wants them beside the parts, not above).
_LEAF = "main"
_CPU_PERIOD_MICROSECONDS = 100_000
_KILL_ROUNDS = 100
_KILL_SECONDS = 0.01
_SUBTREE = "cgroup.subtree_control"
_PARENT = "seodang"


class Hierarchy(NamedTuple):
    """Where groups can be made: one folder (version 2) or one a controller (version 1)."""

    version: Version
    #: Controller name -> folder under which groups are made.
    folders: dict[str, str]


NO_CGROUPS = Hierarchy("none", {})


def find_hierarchy(mounts: str, own_groups: str) -> Hierarchy:
    """Return what this process can limit with; `mounts` and `own_groups` are its /proc files.

    Makes the parent group, since only trying tells whether it may.
    """
    for version, found in (
        ("v2", _find_v2(mounts)),
        ("v1", _find_v1(mounts, _own_paths(own_groups))),
    ):
        if found and all(_can_make(folder) for folder in set(found.values())):
            return Hierarchy("v2" if version == "v2" else "v1", found)
    return NO_CGROUPS


def detect() -> Hierarchy:
    """Return the hierarchy of this machine for this process."""
    try:
        return find_hierarchy(_read("/proc/self/mounts"), _read("/proc/self/cgroup"))
    except OSError:
        return NO_CGROUPS


def sweep(hierarchy: Hierarchy) -> int:
    """Remove groups whose keeper is gone and return how many there were."""
    removed = 0
    for folder in set(hierarchy.folders.values()):
        for name in _list(folder):
            owner = name.partition("-")[0]
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                with contextlib.suppress(OSError):
                    _remove_tree(os.path.join(folder, name))
                    removed += 1
    return removed


def find_group(hierarchy: Hierarchy, keeper: int) -> str | None:
    """Return the name of the group that the keeper with this pid has made."""
    for folder in set(hierarchy.folders.values()):
        for name in _list(folder):
            if name.partition("-")[0] == str(keeper):
                return name
    return None


def pids_within(hierarchy: Hierarchy, keeper: int, part: str) -> set[int]:
    """Return the processes in one part of the group that a keeper has made."""
    return {
        int(pid)
        for folder in _parts(hierarchy, keeper, part)
        for pid in _read_or_empty(os.path.join(folder, "cgroup.procs")).split()
    }


def seconds_within(hierarchy: Hierarchy, keeper: int, part: str) -> float | None:
    """Return the processor time that such a part has used; only version 2 counts it there."""
    for folder in _parts(hierarchy, keeper, part) if hierarchy.version == "v2" else ():
        for line in _read_or_empty(os.path.join(folder, "cpu.stat")).splitlines():
            name, _, value = line.partition(" ")
            if name == "usage_usec" and value.isdigit():
                return int(value) / 1e6
    return None


def _parts(hierarchy: Hierarchy, keeper: int, part: str) -> list[str]:
    name = find_group(hierarchy, keeper)
    return (
        [os.path.join(folder, name, part) for folder in set(hierarchy.folders.values())]
        if name
        else []
    )


class Group:
    """One sandbox's control group, named after its keeper's pid so that a sweep can judge it."""

    def __init__(self, hierarchy: Hierarchy, name: str, *, has_parts: bool = False) -> None:
        self.version = hierarchy.version
        self._leaf = f"{_LEAF}/" if has_parts and self.version == "v2" else ""
        self._name = name
        self._parents: dict[str, int] = {}
        self._folders: dict[str, int] = {}
        for controller, folder in hierarchy.folders.items():
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.join(folder, name), 0o755)
            self._parents[controller] = os.open(folder, os.O_DIRECTORY)
            self._folders[controller] = os.open(
                name, os.O_DIRECTORY, dir_fd=self._parents[controller]
            )
        if self._leaf:
            # One folder for all controllers.
            folder = os.path.join(next(iter(hierarchy.folders.values())), name)
            _make(os.path.join(folder, _LEAF))
            _delegate(folder)

    def limit_cpu(self, percent: int) -> None:
        """Let the group use `percent` of one processor at most; 0 means as much as others leave."""
        if not percent or _CPU not in self._folders:
            return
        quota = percent * _CPU_PERIOD_MICROSECONDS // 100
        if self.version == "v2":
            self._try_write(_CPU, "cpu.max", f"{quota} {_CPU_PERIOD_MICROSECONDS}")
        else:
            self._try_write(_CPU, "cpu.cfs_period_us", _CPU_PERIOD_MICROSECONDS)
            self._try_write(_CPU, "cpu.cfs_quota_us", quota)

    def limit(self, *, memory_bytes: int, processes: int) -> None:
        """Set the limits; swap counts as memory where the kernel can tell."""
        if self.version == "v2":
            self._write("memory", "memory.max", memory_bytes)
            self._try_write("memory", "memory.swap.max", 0)
            self._write("pids", "pids.max", processes)
            return
        self._write("memory", "memory.limit_in_bytes", memory_bytes)
        self._try_write("memory", "memory.memsw.limit_in_bytes", memory_bytes)
        self._write("pids", "pids.max", processes)

    def add(self, pid: int) -> None:
        """Move process `pid` in; its later children follow."""
        for controller in self._folders:
            self._write(controller, f"{self._leaf}cgroup.procs", pid)

    def open_doors(self) -> list[int]:
        """Return descriptors through which a process can put itself in, by writing 0."""
        folders = set(self._folders.values())
        door = f"{self._leaf}cgroup.procs"
        return [os.open(door, os.O_WRONLY, dir_fd=folder) for folder in folders]

    def memory_peak_bytes(self) -> int:
        """Return the most memory the group has used, or 0 where the kernel does not say."""
        name = "memory.peak" if self.version == "v2" else "memory.max_usage_in_bytes"
        text = self._read("memory", name).strip()
        return int(text) if text.isdigit() else 0

    def oom_kills(self) -> int:
        """Return how many processes the kernel has ended for want of memory."""
        name = "memory.events" if self.version == "v2" else "memory.oom_control"
        for line in self._read("memory", name).splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
        return 0

    def kill(self) -> None:
        """End every process in the group, and those they start meanwhile."""
        for _ in range(_KILL_ROUNDS):
            pids = self._pids()
            if not pids:
                return
            if not self._kill_at_once():
                self._kill_each(pids)
            time.sleep(_KILL_SECONDS)

    def _pids(self) -> set[int]:
        """Return the processes in the group itself, not in the groups of its parts."""
        return {
            int(pid)
            for controller in self._folders
            for pid in self._read(controller, f"{self._leaf}cgroup.procs").split()
        }

    def _kill_at_once(self) -> bool:
        """Let the kernel end all that is in the group; only version 2 can, since Linux 5.14."""
        if self.version != "v2":
            return False
        try:
            self._write(_CONTROLLERS[0], "cgroup.kill", 1)
        except OSError:
            return False
        return True

    def _kill_each(self, pids: set[int]) -> None:
        """End processes that are still in the group once descriptors pin them.

        A number that another process got meanwhile is then either not listed any more, or the
        descriptor stands for the one that has gone.
        """
        with contextlib.ExitStack() as stack:
            pinned = {}
            for pid in pids:
                with contextlib.suppress(OSError):
                    pinned[pid] = os.pidfd_open(pid)
                    stack.callback(os.close, pinned[pid])
            for pid in pinned.keys() & self._pids():
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(pinned[pid], signal.SIGKILL)

    def remove(self) -> None:
        """Remove the group; every process must have gone."""
        for controller, parent in self._parents.items():
            with contextlib.suppress(OSError):
                os.close(self._folders.pop(controller))
            with contextlib.suppress(OSError):
                _remove_tree(self._name, parent)
            os.close(parent)
        self._parents.clear()

    def _write(self, controller: str, name: str, value: int | str) -> None:
        descriptor = os.open(name, os.O_WRONLY, dir_fd=self._folders[controller])
        try:
            os.write(descriptor, str(value).encode())
        finally:
            os.close(descriptor)

    def _try_write(self, controller: str, name: str, value: int | str) -> None:
        with contextlib.suppress(OSError):
            self._write(controller, name, value)

    def _read(self, controller: str, name: str) -> str:
        try:
            descriptor = os.open(name, os.O_RDONLY, dir_fd=self._folders[controller])
        except OSError:
            return ""
        try:
            return os.read(descriptor, 65536).decode()
        finally:
            os.close(descriptor)


def _find_v2(mounts: str) -> dict[str, str] | None:
    for root in _mount_points(mounts, "cgroup2"):
        offered = _read_or_empty(os.path.join(root, "cgroup.controllers")).split()
        if not set(_CONTROLLERS) <= set(offered):
            continue
        folder = os.path.join(root, _PARENT)
        if _delegate(root) and _make(folder) and _delegate(folder):
            offered = _read_or_empty(os.path.join(folder, "cgroup.controllers")).split()
            return dict.fromkeys([*_CONTROLLERS, *([_CPU] if _CPU in offered else [])], folder)
    return None


def _find_v1(mounts: str, own: dict[str, str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for controller in (*_CONTROLLERS, _CPU):
        for root in _mount_points(mounts, "cgroup", controller):
            # The path of our own group is as the machine sees it; a container may not have it.
            inside = os.path.join(root, own.get(controller, "/").lstrip("/"))
            folder = os.path.join(inside if os.path.isdir(inside) else root, _PARENT)
            if _make(folder):
                found[controller] = folder
    return found if set(_CONTROLLERS) <= set(found) else None


def _mount_points(mounts: str, kind: str, controller: str = "") -> list[str]:
    points = []
    for line in mounts.splitlines():
        fields = line.split()
        if fields[2:3] == [kind] and (not controller or controller in fields[3].split(",")):
            points.append(fields[1])
    return points


def _own_paths(own_groups: str) -> dict[str, str]:
    paths: dict[str, str] = {}
    for line in own_groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _delegate(folder: str) -> bool:
    """Let groups under `folder` use our controllers; a folder with processes in it refuses."""
    control = os.path.join(folder, _SUBTREE)
    offered = _read_or_empty(os.path.join(folder, "cgroup.controllers")).split()
    wanted = [*_CONTROLLERS, *([_CPU] if _CPU in offered else [])]
    if set(wanted) <= set(_read_or_empty(control).split()):
        return True
    try:
        with open(control, "w", encoding="ascii") as file:
            file.write(" ".join(f"+{controller}" for controller in wanted))
    except OSError:
        return False
    return True


def _remove_tree(name: str, parent: int | None = None) -> None:
    """Remove a group and the groups of its parts; every process must have gone."""
    folder = os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                _remove_tree(entry.name, folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)


def _make(folder: str) -> bool:
    try:
        os.makedirs(folder, 0o755, exist_ok=True)
    except OSError:
        return False
    return True


def _can_make(folder: str) -> bool:
    return os.access(folder, os.W_OK)


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _read_or_empty(path: str) -> str:
    try:
        return _read(path)
    except OSError:
        return ""
