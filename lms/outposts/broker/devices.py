"""Device nodes of a lease: shown to one kernel alone, and taken from whoever kept a way to them.

A kernel with a lease gets a mount namespace of its own, whose /dev has the leased nodes besides the
usual ones. A person's other processes may reach into it (/proc/PID/root is theirs to open, and an
open file can be handed on), which is the person's right while the lease lasts. When the kernel has
ended, whoever still holds a file, folder or mapping of that namespace or of the nodes is ended too.
"""

import contextlib
import os
import signal
import stat
import time
from collections.abc import Callable

from lms.outposts.broker import syscalls

#: What a simulated device is: a file that says so.
SIMULATED_PREFIX = "seodang-gpu-"
_CALM_ROUNDS = 2
#: After this long every process of the person counts as a holder; after that one we give up.
_PATIENCE_SECONDS = 5.0
_LONGEST_SECONDS = 15.0
_ROUND_SECONDS = 0.01


def target_of(path: str) -> str:
    """Return where the node at `path` of this machine appears in the kernel."""
    return path if path.startswith("/dev/") else f"/dev/{os.path.basename(path)}"


def open_trees(paths: list[str]) -> list[int]:
    """Return a descriptor for each node, to attach in another namespace."""
    return [syscalls.clone_tree(path, read_only=False, devices=True) for path in paths]


def show(paths: list[str], trees: list[int]) -> None:
    """Give this process a mount namespace whose /dev has the nodes; needs root in a sandbox."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    links, usual = {}, {}
    for name in os.listdir("/dev"):
        path = f"/dev/{name}"
        if os.path.islink(path):
            links[path] = os.readlink(path)
        else:
            usual[path] = syscalls.clone_tree(path, read_only=False, devices=True)
    flags = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    # Whoever the kernel is shall come to /dev/nvidia-caps; it sets its own mask later.
    os.umask(0o022)
    syscalls.mount("tmpfs", "/dev", "tmpfs", flags, "size=64k,nr_inodes=256,mode=755")
    for path, text in links.items():
        os.symlink(text, path)
    leased = dict(zip(map(target_of, paths), trees, strict=True))
    for path, tree in (usual | leased).items():
        _make_target(path, tree)
        syscalls.attach(tree, path)
        os.close(tree)
    closed = syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY
    syscalls.mount(None, "/dev", None, flags | closed)


def _make_target(path: str, tree: int) -> None:
    if stat.S_ISDIR(os.fstat(tree).st_mode):
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def mount_ids(pid: int) -> set[int]:
    """Return the mounts of a process's namespace."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:
        return {int(line.split(maxsplit=1)[0]) for line in file}


def end_holders(uid: int, mounts: set[int], paths: list[str]) -> int:
    """End every process of `uid` that still holds one of the mounts or nodes; return how many.

    Looks again until nothing was found twice: a file may be on its way from one to another. Whoever
    makes that take long loses all that runs. Raises TimeoutError when something does not end.
    """
    nodes = _numbers_of(paths)
    began = time.monotonic()
    ended: set[int] = set()
    calm = 0
    while calm < _CALM_ROUNDS:
        is_holder = _Patience(began + _PATIENCE_SECONDS, mounts, nodes).is_holder
        found = [pid for pid in _pids_of(uid) if _end_if(is_holder, pid, uid)]
        ended.update(found)
        calm = 0 if found else calm + 1
        if found and time.monotonic() - began > _LONGEST_SECONDS:
            raise TimeoutError(f"process {found[0]} of uid {uid} does not end")
        time.sleep(_ROUND_SECONDS)
    return len(ended)


def end_strangers(uids: set[int], mounts: set[int], paths: list[str], sole: list[str]) -> None:
    """End processes of other people who were handed a file of the kernel's, or hold a sole node.

    Between people there are no walls for sockets without a path. `paths` are all nodes that the
    kernel had, `sole` those that nobody else may use now. Raises TimeoutError as `end_holders`.
    """
    nodes, alone = _numbers_of(paths), _numbers_of(sole)
    end = time.monotonic() + _LONGEST_SECONDS

    def has_been_handed(pid: int) -> bool:
        tasks = _tasks(pid)
        own = tasks[:1] + [task for task in tasks[1:] if not _is_alike(tasks[0], task)]
        return any(_was_handed(f"/proc/{pid}/task/{task}", mounts, nodes, alone) for task in own)

    while nodes:
        found = [pid for uid in uids for pid in _pids_of(uid) if _end_if(has_been_handed, pid, uid)]
        if not found:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"process {found[0]} holds a device and does not end")
        time.sleep(_ROUND_SECONDS)


def _numbers_of(paths: list[str]) -> set[tuple[int, int]]:
    nodes = set()
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.stat(path)
            nodes.add((status.st_dev, status.st_ino))
    return nodes


def _was_handed(
    task: str, mounts: set[int], nodes: set[tuple[int, int]], alone: set[tuple[int, int]]
) -> bool:
    with contextlib.suppress(OSError):
        for number in os.listdir(f"{task}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(f"{task}/fd/{number}")
                node = (status.st_dev, status.st_ino)
                if node in alone or (node in nodes and _mount_in(task, number) in mounts):
                    return True
        return bool(alone) and _maps(task, alone)
    return False


def _mount_in(task: str, number: str) -> int:
    with open(f"{task}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
        return int(next(line.split()[1] for line in file if line.startswith("mnt_id:")))


class _Patience:
    """Looks closely until a time, and from then on takes every living process for a holder."""

    def __init__(self, end: float, mounts: set[int], nodes: set[tuple[int, int]]) -> None:
        self._end = end
        self._mounts = mounts
        self._nodes = nodes

    def is_holder(self, pid: int) -> bool:
        """Say whether process `pid` has to end."""
        tasks = _tasks(pid)
        if time.monotonic() > self._end:
            return bool(tasks)
        return any(
            _holds(f"/proc/{pid}/task/{task}", self._mounts, self._nodes)
            for task in tasks[:1] + [task for task in tasks[1:] if not _is_alike(tasks[0], task)]
        )


def _end_if(is_holder: Callable[[int], bool], pid: int, uid: int) -> bool:
    """End process `pid` of `uid` when it is a holder; whoever has its number later is safe."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if os.stat(f"/proc/{pid}").st_uid != uid or not is_holder(pid):
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def _pids_of(uid: int) -> list[int]:
    pids = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                pids.append(int(name))
    return pids


def _tasks(pid: int) -> list[str]:
    """Return the threads that live: the first may have ended while others go on with all it had."""
    tasks = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{name}/stat", encoding="utf-8", errors="replace") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if state not in {"Z", "X"}:
                tasks.append(name)
    return tasks


def _is_alike(one: str, other: str) -> bool:
    """Say whether two threads of a process share open files and folders; memory they always do."""
    kinds = (syscalls.KCMP_FILES, syscalls.KCMP_FS)
    return all(syscalls.is_shared(int(one), int(other), kind) for kind in kinds)


def _holds(task: str, mounts: set[int], nodes: set[tuple[int, int]]) -> bool:
    """Say so of a thread, which may have files and folders of its own; `task` is its place."""
    with contextlib.suppress(OSError):
        if any(_is_held(task, number, mounts, nodes) for number in os.listdir(f"{task}/fd")):
            return True
        if any(_mount_of(f"{task}/{way}") in mounts for way in ("cwd", "root")):
            return True
        return bool(nodes) and _maps(task, nodes)
    return False


def _is_held(task: str, number: str, mounts: set[int], nodes: set[tuple[int, int]]) -> bool:
    with contextlib.suppress(OSError):
        with open(f"{task}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
            about = dict(line.split(":", 1) for line in file if ":" in line)
        # A file that lies in a socket, sent and not yet received, is in nobody's table.
        if int(about.get("scm_fds", 0)) or int(about.get("mnt_id", -1)) in mounts:
            return True
        status = os.stat(f"{task}/fd/{number}")
        return (status.st_dev, status.st_ino) in nodes
    return False


def _mount_of(path: str) -> int:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH)
        try:
            with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as file:
                return int(next(line.split()[1] for line in file if line.startswith("mnt_id:")))
        finally:
            os.close(descriptor)
    return -1


def _maps(task: str, nodes: set[tuple[int, int]]) -> bool:
    with open(f"{task}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            _, _, _, device, inode, *_ = line.split()
            major, minor = (int(part, 16) for part in device.split(":"))
            if (os.makedev(major, minor), int(inode)) in nodes:
                return True
    return False
