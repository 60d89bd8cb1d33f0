"""Limits of homes that the file system itself keeps, where it has quotas that are switched on.

Quotas of users come first: each person is an own uid, and nobody can give files away. Else quotas
of projects: a new home is marked with its owner's number, which what is made in it inherits;
sandboxes may not change marks. Asked by one call, which ext4 and XFS both answer.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Protocol

_QUOTACTL_FD = 443
_GET_INFO, _GET_QUOTA, _SET_QUOTA = 0x80_0005, 0x80_0007, 0x80_0008
_BLOCK_LIMITS = 1
#: struct if_dqblk: six numbers of blocks and inodes, two times, and which of them are meant.
_QUOTA = struct.Struct("8QI4x")
_INFO_BYTES = 24
_USED_AT = 2
_KIBIBYTE = 1024

_GET_MARK, _SET_MARK = 0x801C_581F, 0x401C_5820
#: struct fsxattr: flags, two numbers, the project, one more number.
_MARK = struct.Struct("5I8x")
_PROJECT_AT = 3
_INHERIT = 0x200

_libc = ctypes.CDLL(None, use_errno=True)


class Kind(IntEnum):
    """Whose use a file system counts, as the kernel numbers them."""

    USER = 0
    PROJECT = 2


class QuotaCalls(Protocol):
    """What is asked of the kernel; raises OSError."""

    def quotactl(self, folder: int, command: int, number: int, data: bytearray) -> None:
        """Ask about or change the quotas of the file system that `folder` lies on."""

    def ioctl(self, folder: int, request: int, data: bytearray) -> None:
        """Read or write the mark of a folder."""


class Kernel:
    """The real ones."""

    def quotactl(self, folder: int, command: int, number: int, data: bytearray) -> None:
        """Call quotactl_fd, which is there since Linux 5.14."""
        buffer = (ctypes.c_char * len(data)).from_buffer(data)
        if _libc.syscall(ctypes.c_long(_QUOTACTL_FD), folder, command, number, buffer) < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"quotactl: {os.strerror(code)}")

    def ioctl(self, folder: int, request: int, data: bytearray) -> None:
        """Call ioctl."""
        fcntl.ioctl(folder, request, data, True)  # noqa: FBT003 - has no keyword


class Quotas:
    """The quotas of one file system."""

    def __init__(self, folder: Path, kernel: QuotaCalls | None = None) -> None:
        self._folder = folder
        self._kernel = kernel or Kernel()

    def kind(self) -> Kind | None:
        """Return which quotas are switched on; None where there are none, or none for us."""
        with self._opened(self._folder) as folder:
            for kind in Kind:
                with contextlib.suppress(OSError):
                    self._ask(folder, _GET_INFO, kind, 0, bytearray(_INFO_BYTES))
                    return kind
        return None

    def limit(self, home: Path, uid: int, limit_bytes: int) -> bool:
        """Let the home of `uid` grow so far, 0 for no limit; False where there are no quotas."""
        kind = self.kind()
        if kind is None:
            return False
        with self._opened(home) as folder:
            if kind is Kind.PROJECT and not self._mark(folder, uid):
                return False
            blocks = -(-limit_bytes // _KIBIBYTE)
            wanted = bytearray(_QUOTA.pack(blocks, blocks, 0, 0, 0, 0, 0, 0, _BLOCK_LIMITS))
            self._ask(folder, _SET_QUOTA, kind, uid, wanted)
        return True

    def used_bytes(self, uid: int) -> int | None:
        """Return what the file system counts for `uid`; None where it counts nothing."""
        kind, data = self.kind(), bytearray(_QUOTA.size)
        if kind is None:
            return None
        with self._opened(self._folder) as folder:
            try:
                self._ask(folder, _GET_QUOTA, kind, uid, data)
            except OSError as error:
                if error.errno not in {errno.ESRCH, errno.ENOENT}:
                    raise
                return 0  # nothing was ever counted
        return int(_QUOTA.unpack(data)[_USED_AT])

    def _mark(self, folder: int, uid: int) -> bool:
        """Mark an empty home as a project; one that holds files already is only measured."""
        data = bytearray(_MARK.size)
        self._kernel.ioctl(folder, _GET_MARK, data)
        flags, *numbers = _MARK.unpack(data)
        if numbers[_PROJECT_AT - 1] == uid and flags & _INHERIT:
            return True
        if os.listdir(folder):
            return False
        numbers[_PROJECT_AT - 1] = uid
        self._kernel.ioctl(folder, _SET_MARK, bytearray(_MARK.pack(flags | _INHERIT, *numbers)))
        return True

    def _ask(self, folder: int, command: int, kind: Kind, number: int, data: bytearray) -> None:
        self._kernel.quotactl(folder, command << 8 | kind, number, data)

    @contextlib.contextmanager
    def _opened(self, path: Path) -> Iterator[int]:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            yield folder
        finally:
            os.close(folder)
