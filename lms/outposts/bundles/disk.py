"""Writing so that a power cut loses nothing that was said to be kept.

Everything that changes a centre's folder goes through a Disk, so that tests can cut the power
between any two steps.
"""

import errno
import os
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lms.outposts.bundles.problems import FullError
from lms.protocol.sentences import sentence

#: fsyncs under way at once: a journal commits many files in the time of one.
_TOGETHER = 16
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """The operating system's files."""

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, where they are missing."""
        with room(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def append(self, path: Path, content: bytes) -> None:
        """Write at the end of a file, making it; not durable before `sync`."""
        with room(path), path.open("ab") as file:
            file.write(content)

    def cut(self, path: Path, size: int) -> None:
        """Cut a file to a size."""
        with room(path):
            os.truncate(path, size)

    def sync(self, paths: Iterable[Path]) -> None:
        """Bring files or folders to the disk itself; together, which costs less than one by one."""
        wanted = list(paths)
        if len(wanted) == 1:
            self._sync(wanted[0])
        elif wanted:
            with ThreadPoolExecutor(min(_TOGETHER, len(wanted))) as pool:
                list(pool.map(self._sync, wanted))

    def _sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with room(path):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, new: Path) -> None:
        """Give a file its name at once, in place of what had it."""
        with room(new):
            path.replace(new)

    def remove(self, path: Path) -> None:
        """Remove a file if it is there."""
        path.unlink(missing_ok=True)

    def write(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Write a small file whole or not at all, durably."""
        self.make_folder(path.parent)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            self.append(fresh, content)
            fresh.chmod(mode)
            self.sync([fresh])
            self.rename(fresh, path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        self.sync([path.parent])


class room:  # noqa: N801 - reads as a clause: with room(path)
    """Turns "no space" and "no inodes" into FullError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise FullError(
                sentence(
                    "The disk of %(path)s has no room left; make room and pull again: what was "
                    "fetched is kept.",
                    path=str(self._path.parent),
                )
            ) from error
