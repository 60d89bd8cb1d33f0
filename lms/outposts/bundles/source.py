"""Where a bundle's bytes come from: the contract of a source, and the folder of a stick."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lms.outposts.bundles.problems import SourceError
from lms.protocol.sentences import sentence

#: Bytes that a source gives at a time.
PART = 1 << 16


class MissingError(SourceError):
    """The source works, but has no such file or cannot read this part of it."""


class Source(Protocol):
    """A repository that can be read, from any byte on."""

    #: What a person calls it.
    name: str
    #: Times that it is asked again before it counts as gone.
    patience: int

    def read(self, path: str, start: int, length: int, whole: int) -> Iterator[bytes]:
        """Yield bytes of a file that is `whole` bytes long; raises SourceError."""
        ...

    def small(self, path: str, most: int) -> bytes:
        """Return a file of at most `most` bytes; raises SourceError."""
        ...


class FolderSource:
    """A repository in a folder, most often a stick; nothing outside it is read."""

    patience = 1

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root

    def read(self, path: str, start: int, length: int, whole: int) -> Iterator[bytes]:
        """Yield bytes of a file."""
        try:
            with os.fdopen(self._open(path), "rb") as file:
                if os.fstat(file.fileno()).st_size != whole:
                    raise MissingError(
                        sentence(
                            "%(path)s on %(source)s is cut short.", path=path, source=self.name
                        )
                    )
                file.seek(start)
                while length:
                    part = file.read(min(PART, length))
                    if not part:
                        raise self._unreadable(path)
                    length -= len(part)
                    yield part
        except OSError as error:
            raise self._unreadable(path) from error

    def small(self, path: str, most: int) -> bytes:
        """Return a small file."""
        try:
            with os.fdopen(self._open(path), "rb") as file:
                return file.read(most + 1)
        except OSError as error:
            raise self._unreadable(path) from error

    def _open(self, path: str) -> int:
        if not self._root.is_dir():
            raise SourceError(
                sentence("%(source)s is not there any more: put it in again.", source=self.name)
            )
        whole = Path(os.path.realpath(self._root / path))
        if not whole.is_relative_to(os.path.realpath(self._root)):
            raise self._unreadable(path)
        # A pipe or a device in a file's place must neither block nor be read.
        descriptor = os.open(whole, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return descriptor

    def _unreadable(self, path: str) -> MissingError:
        return MissingError(
            sentence("%(path)s cannot be read from %(source)s.", path=path, source=self.name)
        )
