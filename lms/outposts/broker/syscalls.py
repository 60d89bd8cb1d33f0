"""The kernel calls Python has no names for, through libc; numbers are per machine, in one table.

Nothing here decides anything. Imported by the keeper before every sandbox, so it stays light.
"""

import ctypes
import errno
import os
import struct

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2

#: What `is_shared` compares: the table of open files, and root and working folder.
KCMP_FILES, KCMP_FS = 2, 3

_LAST_CAPABILITY = 63
_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1
_MOUNT_ATTR_NOSUID = 2
_MOUNT_ATTR_NODEV = 4
_MNT_DETACH = 2

#: Calls that glibc does not wrap everywhere; from 424 on every machine has the same numbers.
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_KCMP = {"x86_64": 312, "aarch64": 272}

#: Version 3 of capset's header, and the bits, each locked, that take root's name its powers:
#: no capabilities by exec, none kept over a change of user, none raised to ambient.
_CAPABILITY_VERSION = 0x2008_0522
_SECURE_BITS = 0xEF

_libc = ctypes.CDLL(None, use_errno=True)


def machine() -> str:
    """Return the machine's name as `uname` gives it, such as x86_64 or aarch64."""
    return os.uname().machine


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(number: int, what: str, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), what)


def unshare(flags: int) -> None:
    """Put this process into new namespaces; a new pid namespace starts with its next child."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace that `descriptor` stands for."""
    _check(_libc.setns(descriptor, kind), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Mount a file system, or change a mount, by `flags`."""
    result = _libc.mount(
        source and os.fsencode(source),
        os.fsencode(target),
        kind and kind.encode(),
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _check(result, f"mount {kind or source or ''} on {target}")


def unmount_lazily(target: str) -> None:
    """Take a mount away now and free it when its last user has gone."""
    _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace; raises OSError on an unknown machine."""
    number = _PIVOT_ROOT.get(machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no system call table for {machine()}")
    _syscall(number, "pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def clone_tree(path: str, *, read_only: bool, devices: bool = False, at: int | None = None) -> int:
    """Return a descriptor of a detached copy of the mounts at `path`, without set-uid programs.

    A final symbolic link is not followed; `at` is an open descriptor of the folder itself, for
    paths that others might change meanwhile. The copy belongs to nobody until `attach` puts it
    somewhere, so later mounts cannot hide it.
    """
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE | _AT_SYMLINK_NOFOLLOW
    if at is None:
        tree = _syscall(_OPEN_TREE, f"open_tree {path}", _AT_FDCWD, os.fsencode(path), flags)
    else:
        tree = _syscall(_OPEN_TREE, f"open_tree {path}", at, b"", flags | _AT_EMPTY_PATH)
    wanted = _MOUNT_ATTR_NOSUID
    wanted |= 0 if devices else _MOUNT_ATTR_NODEV
    wanted |= _MOUNT_ATTR_RDONLY if read_only else 0
    attributes = struct.pack("QQQQ", wanted, 0, 0, 0)
    try:
        _syscall(
            _MOUNT_SETATTR,
            f"mount_setattr {path}",
            tree,
            b"",
            _AT_EMPTY_PATH | _AT_RECURSIVE,
            attributes,
            len(attributes),
        )
    except OSError:
        os.close(tree)
        raise
    return tree


def attach(tree: int, target: str) -> None:
    """Mount what `clone_tree` returned on `target`."""
    _syscall(
        _MOVE_MOUNT,
        f"move_mount {target}",
        tree,
        b"",
        _AT_FDCWD,
        os.fsencode(target),
        _MOVE_MOUNT_F_EMPTY_PATH,
    )


def is_shared(one: int, other: int, kind: int) -> bool:
    """Say whether two threads share what `kind` names; False also where the kernel cannot tell."""
    number = _KCMP.get(machine())
    if number is None:
        return False
    return int(_libc.syscall(ctypes.c_long(number), one, other, kind, 0, 0)) == 0


def prctl(option: int, argument: int = 0) -> None:
    """Set the property `option` of this process; raises OSError."""
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero)
    _check(result, f"prctl {option}")


def drop_capabilities() -> None:
    """Give up every capability now, for good, as an exec by an ordinary user would."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _check(_libc.capset(header, bytes(24)), "capset")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def forbid_capabilities() -> None:
    """Make sure no later exec can bring a capability back; needs CAP_SETPCAP."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the kernel knows no more than these
                raise
            break
    prctl(PR_SET_SECUREBITS, _SECURE_BITS)


def name_process(name: str) -> None:
    """Show this process as `name`, at most 15 characters, in lists of processes."""
    _check(_libc.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0), "prctl name")


def set_seccomp(program: bytes) -> None:
    """Load a classic BPF program of 8-byte instructions as this thread's system call filter."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    result = _libc.prctl(
        PR_SET_SECCOMP,
        ctypes.c_ulong(SECCOMP_MODE_FILTER),
        ctypes.c_char_p(header),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
    _check(result, "seccomp")


def set_file_uid(uid: int) -> None:
    """Look at files with the rights of `uid` until called again (setfsuid)."""
    _libc.setfsuid(uid)
