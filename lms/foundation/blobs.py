"""Bytes by digest, in a folder: written once, durable before they are named, shared by all."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import NewType

from lms.foundation.errors import InvalidError, NotFoundError, UnavailableError
from lms.protocol.sentences import sentence

#: "sha256:" and 64 hexadecimal digits.
Digest = NewType("Digest", str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_of(content: bytes) -> Digest:
    """Return the digest of `content`."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest; raises InvalidError when it is not one."""
    if not _DIGEST.fullmatch(text):
        raise InvalidError(sentence("“%(text)s” is not a sha256 digest.", text=text[:80]))
    return Digest(text)


class BlobStore:
    """A folder of blobs, `ab/abcdef…`, group-readable for the parts that share it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, content: bytes) -> Digest:
        """Keep `content`, on disk when this returns; raises UnavailableError on a full disk."""
        digest = digest_of(content)
        path = self._path(digest)
        if path.exists():
            return digest
        try:
            self._write(path, content)
        except OSError as error:
            raise UnavailableError(
                sentence(
                    "The file could not be stored: %(why)s. Nothing was changed; "
                    "please try again later, and tell the operator if it goes on.",
                    why=error.strerror or "unknown error",
                )
            ) from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of `digest`; raises NotFoundError, or UnavailableError if damaged."""
        try:
            content = self._path(parse_digest(digest)).read_bytes()
        except FileNotFoundError:
            raise NotFoundError(
                sentence("No stored file has the digest %(digest)s.", digest=digest)
            ) from None
        if digest_of(content) != digest:
            raise UnavailableError(
                sentence("The stored file %(digest)s is damaged; restore a backup.", digest=digest)
            )
        return content

    def remove(self, digest: str) -> None:
        """Delete the bytes of `digest`; for the erasure of a person alone."""
        self._path(parse_digest(digest)).unlink(missing_ok=True)

    def __contains__(self, digest: str) -> bool:
        return self._path(parse_digest(digest)).exists()

    def _path(self, digest: Digest) -> Path:
        name = digest.removeprefix("sha256:")
        return self.root / name[:2] / name

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        # The parts that share the folder have own uids and one group; whose umask was in force
        # when the folder was made must not decide who can write to it.
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o2770)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o640)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
