"""Names a socket for bind and connect, whose paths end at 107 bytes, however deep it lies."""

import contextlib
import os
from collections.abc import Iterator

_LONGEST_BYTES = 100


@contextlib.contextmanager
def socket_address(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield `path`, or a short way to the same file while the block lasts."""
    text = os.fspath(path)
    if len(os.fsencode(text)) <= _LONGEST_BYTES:
        yield text
        return
    folder = os.open(os.path.dirname(text), os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(text)}"
    finally:
        os.close(folder)
