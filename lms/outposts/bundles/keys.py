"""The private keys that sign bundles, each a file of its own: root keys can lie elsewhere."""

import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from lms.outposts.bundles.names import check_course
from lms.outposts.bundles.problems import BundleError
from lms.protocol.sentences import sentence

#: Two of these must sign a root.
ROOTS = ("root-1", "root-2", "root-3")
ONLINE = ("targets", "snapshot", "timestamp")


def course_key(course: str) -> str:
    """Return the name of a course's key."""
    return f"course-{check_course(course)}"


class Keys:
    """Folders with key files, the first being where new keys go; the others may be sticks."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    def make(self, names: Iterable[str]) -> None:
        """Make the keys that are missing; none is ever written over."""
        for name in names:
            if self.find(name) is None:
                self._write(name)

    def replace(self, name: str) -> CryptoSigner:
        """Make a new key of a name and keep the old file beside it; returns the new one."""
        path = self._folders[0] / f"{name}.pem"
        if path.exists():
            number = sum(1 for _ in path.parent.glob(f"{name}.pem.old-*")) + 1
            path.rename(path.with_name(f"{name}.pem.old-{number}"))
        self._write(name)
        return self.get(name)

    def find(self, name: str) -> CryptoSigner | None:
        """Return a key, or None when none of the folders holds it."""
        for folder in self._folders:
            path = folder / f"{name}.pem"
            if path.is_file():
                return _read(path)
        return None

    def get(self, name: str) -> CryptoSigner:
        """Return a key; raises BundleError when it is not here."""
        key = self.find(name)
        if key is None:
            raise BundleError(
                sentence(
                    "The key %(name)s is not in %(folder)s: make keys with `lms bundle keys`, or "
                    "name the folder they lie in.",
                    name=name,
                    folder=", ".join(map(str, self._folders)),
                )
            )
        return key

    def roots(self) -> list[CryptoSigner]:
        """Return the root keys at hand."""
        return [key for key in map(self.find, ROOTS) if key is not None]

    def _write(self, name: str) -> None:
        folder = self._folders[0]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / f"{name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(CryptoSigner.generate_ed25519().private_bytes)
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path) -> CryptoSigner:
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except (ValueError, TypeError, OSError) as error:
        raise BundleError(
            sentence("%(path)s holds no private key that can be read.", path=str(path))
        ) from error
