"""A file's size and digest, read once."""

from hashlib import sha256
from pathlib import Path

_READ = 1 << 20


def measure(file: Path) -> tuple[int, str]:
    """Return a file's bytes and their hexadecimal sha256."""
    hashed, size = sha256(), 0
    with file.open("rb", buffering=0) as content:
        while part := content.read(_READ):
            hashed.update(part)
            size += len(part)
    return size, hashed.hexdigest()
