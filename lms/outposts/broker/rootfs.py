"""Builds the small root a sandbox sees and moves into it; runs in the keeper, after `unshare`.

The root holds the system read-only, what the spec binds at the same paths, one size-limited
scratch disk shared by /tmp, /dev/shm and the home, a few devices and nothing else.
"""

import contextlib
import os
import stat

from lms.outposts.broker import syscalls
from lms.outposts.broker.spec import Bind, Spec

#: Bound read-only where they exist; a symbolic link (merged /usr) is made again as one.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/fonts")
SYSTEM_NETWORK = ("/etc/ssl", "/etc/ca-certificates", "/etc/pki")
#: Small files copied as they are now.
COPIED = ("/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/mime.types")
COPIED_NETWORK = ("/etc/hosts", "/etc/resolv.conf", "/etc/services", "/etc/protocols")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

_DEVICE_LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}
_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost\n"
_SCRATCH = ".scratch"
_SCRATCH_INODES = 65536
#: Where the machine's /proc stays until the sandbox's own is mounted: in a user namespace the
#: kernel allows a new one only while another is in sight.
OLD_PROC = "/run"
#: Every sandbox's root is mounted over this folder, in its own mount namespace only.
_BASE = "/tmp"  # noqa: S108


class Sources:
    """What is taken from the old root before the new one hides it."""

    def __init__(self, spec: Spec) -> None:
        self.links: dict[str, str] = {}
        self.trees: dict[str, int] = {}
        self.copies: dict[str, bytes] = {}
        system = SYSTEM + (SYSTEM_NETWORK if spec["network"] else ())
        for path in system:
            self._take(Bind(path=path, writable=False, optional=True))
        for path in DEVICES:
            self.trees[path] = syscalls.clone_tree(path, read_only=False, devices=True)
        for path in COPIED + (COPIED_NETWORK if spec["network"] else ()):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                self.copies[path] = file.read(4 << 20)
        for bind in spec["binds"]:
            self._take(bind)
        if spec["user_namespace"]:
            self.trees[OLD_PROC] = syscalls.clone_tree("/proc", read_only=False)
        self.files: int | None = None
        self.connection: int | None = None
        self._take_callers(spec)

    def _take(self, bind: Bind) -> None:
        path = bind["path"]
        if os.path.islink(path):
            self.links[path] = os.readlink(path)
            return
        try:
            self.trees[path] = syscalls.clone_tree(path, read_only=not bind["writable"])
        except FileNotFoundError:
            if not bind["optional"]:
                raise

    def _take_callers(self, spec: Spec) -> None:
        # The caller names these two, so they are opened with the caller's rights, not ours.
        with _rights_of(spec):
            if spec["files_dir"]:
                self.files = os.open(spec["files_dir"], os.O_DIRECTORY | os.O_NOFOLLOW)
            if spec["connection_dir"]:
                flags = os.O_DIRECTORY | os.O_NOFOLLOW
                self.connection = os.open(spec["connection_dir"], flags)
        if self.connection is not None:
            owner = os.fstat(self.connection).st_uid
            if owner != (spec["uid"] if spec["user_namespace"] else spec["caller_uid"]):
                raise PermissionError(f"{spec['connection_dir']} belongs to uid {owner}")
            self.trees[spec["connection_dir"]] = syscalls.clone_tree(
                spec["connection_dir"], read_only=False, at=self.connection
            )


@contextlib.contextmanager
def _rights_of(spec: Spec):  # type: ignore[no-untyped-def]  # noqa: ANN202 - generator types cost an import
    if spec["user_namespace"] or not spec["caller_uid"]:
        yield
        return
    syscalls.set_file_uid(spec["caller_uid"])
    try:
        yield
    finally:
        syscalls.set_file_uid(os.geteuid())


def enter_root(spec: Spec) -> Sources:
    """Build the new root and make it this process's own; raises OSError naming what failed."""
    flags = syscalls.MS_REC | syscalls.MS_PRIVATE
    syscalls.mount(None, "/", None, flags)
    sources = Sources(spec)
    if sources.connection is not None:
        open_to_group(sources.connection, spec["gid"])
    plain = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", _BASE, "tmpfs", plain, "size=8m,mode=755")
    _attach(spec, sources)
    _write_files(spec, sources)
    os.chdir(_BASE)
    syscalls.pivot_root(".", ".")
    syscalls.unmount_lazily(".")
    os.chdir("/")
    _finish(spec, sources)
    syscalls.mount(
        None, "/", None, plain | syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY
    )
    return sources


def make_plain_scratch(spec: Spec) -> str:
    """Make a folder for a program that runs without a sandbox, and point the spec at it."""
    import tempfile

    folder = tempfile.mkdtemp(prefix="lms-unsafe-")
    if spec["files_dir"]:
        source = os.open(spec["files_dir"], os.O_DIRECTORY | os.O_NOFOLLOW)
        copy_files(source, folder, os.geteuid(), os.getegid())
        os.close(source)
    spec["cwd"] = folder
    spec["env"] |= {"HOME": folder, "TMPDIR": folder}
    return folder


def open_to_group(connection: int, gid: int) -> None:
    """Let group `gid` work in the connection folder; what is in it stays its owner's."""
    owner = os.fstat(connection).st_uid
    os.fchown(connection, -1, gid)
    os.fchmod(connection, 0o770)
    for entry in os.scandir(connection):
        if not entry.is_file(follow_symlinks=False):
            continue
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(entry.name, flags, dir_fd=connection)
        try:
            status = os.fstat(descriptor)
            # Nothing that is also somewhere else, under another name.
            if status.st_uid == owner and status.st_nlink == 1:
                os.fchown(descriptor, -1, gid)
                os.fchmod(descriptor, 0o660)
        finally:
            os.close(descriptor)


def _attach(spec: Spec, sources: Sources) -> None:
    for folder in ("/proc", "/dev/pts", "/etc", "/run", "/var"):
        os.makedirs(_BASE + folder, exist_ok=True)
    _make_scratch(spec)
    links = sources.links | _DEVICE_LINKS | {"/var/tmp": "/tmp"}  # noqa: S108
    if spec["terminals"]:
        links["/dev/ptmx"] = "pts/ptmx"
    for path, target in links.items():
        os.makedirs(os.path.dirname(_BASE + path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(target, _BASE + path)
    # Shorter paths first: one bind may lie inside another.
    for path in sorted(sources.trees, key=len):
        tree = sources.trees[path]
        _make_target(_BASE + path, is_folder=stat.S_ISDIR(os.fstat(tree).st_mode))
        syscalls.attach(tree, _BASE + path)
        os.close(tree)


def _make_scratch(spec: Spec) -> None:
    plain = syscalls.MS_NOSUID | syscalls.MS_NODEV
    scratch = os.path.join(_BASE, _SCRATCH)
    os.mkdir(scratch)
    options = f"size={spec['scratch_bytes']},nr_inodes={_SCRATCH_INODES},mode=755"
    syscalls.mount("tmpfs", scratch, "tmpfs", plain, options)
    homes = [] if _is_bound(spec, spec["home"]) else [(spec["home"], 0o700)]
    for path, mode in [("/tmp", 0o1777), ("/dev/shm", 0o1777), *homes]:  # noqa: S108
        inside = os.path.join(scratch, path.strip("/").replace("/", "-"))
        os.mkdir(inside)
        os.chmod(inside, mode)
        if path == spec["home"]:
            os.chown(inside, spec["uid"], spec["gid"])
        tree = syscalls.clone_tree(inside, read_only=False)
        os.makedirs(_BASE + path, exist_ok=True)
        syscalls.attach(tree, _BASE + path)
        os.close(tree)
    # The three folders hold the disk; its own mount point would show one in the other.
    syscalls.unmount_lazily(scratch)
    os.rmdir(scratch)


def _is_bound(spec: Spec, path: str) -> bool:
    return any(path == bind["path"] for bind in spec["binds"])


def _make_target(path: str, *, is_folder: bool) -> None:
    if is_folder:
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _write_files(spec: Spec, sources: Sources) -> None:
    uid, gid, user, home = spec["uid"], spec["gid"], spec["user"], spec["home"]
    files = {
        "/etc/passwd": f"root:x:0:0::/root:/bin/sh\n{user}:x:{uid}:{gid}::{home}:/bin/bash\n",
        "/etc/group": f"root:x:0:\n{user}:x:{gid}:\n",
        "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        "/etc/hosts": _HOSTS,
        "/etc/hostname": "sandbox\n",
    }
    contents = {path: text.encode() for path, text in files.items()} | sources.copies
    for path, content in contents.items():
        with open(_BASE + path, "wb") as file:
            file.write(content)
        os.chmod(_BASE + path, 0o644)


def _finish(spec: Spec, sources: Sources) -> None:
    if spec["terminals"]:
        flags = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
        syscalls.mount("devpts", "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=600")
    if not os.path.isdir(spec["cwd"]):
        os.makedirs(spec["cwd"])
        os.chown(spec["cwd"], spec["uid"], spec["gid"])
    if sources.files is not None:
        copy_files(sources.files, spec["cwd"], spec["uid"], spec["gid"])
        os.close(sources.files)


def copy_files(source: int, target: str, uid: int, gid: int) -> None:
    """Copy the regular files under folder `source` (a descriptor); anything else is left behind."""
    for folder, folders, names, descriptor in os.fwalk(".", dir_fd=source, follow_symlinks=False):
        inside = os.path.normpath(os.path.join(target, folder))
        for name in folders:
            if not stat.S_ISLNK(os.lstat(name, dir_fd=descriptor).st_mode):
                os.mkdir(os.path.join(inside, name), 0o755)
                os.chown(os.path.join(inside, name), uid, gid)
        for name in names:
            _copy_file(descriptor, name, os.path.join(inside, name), (uid, gid))


def _copy_file(folder: int, name: str, target: str, owner: tuple[int, int]) -> None:
    try:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return  # a symbolic link, or a file its owner cannot read
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        try:
            while os.sendfile(descriptor, source, None, 1 << 20):
                pass
            os.fchown(descriptor, *owner)
        finally:
            os.close(descriptor)
    finally:
        os.close(source)
