"""Cutting bytes where their content says so (FastCDC): a change moves only the cuts beside it."""

import mmap
from collections.abc import Iterator

from pyfastcdc import FastCDC


def cut(content: bytes | memoryview | mmap.mmap, average: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each chunk; the same content is cut alike on every machine."""
    chunker = FastCDC(average, min_size=average // 4, max_size=average * 4, normalized_chunking=2)
    view = memoryview(content)
    try:
        for chunk in chunker.cut_buf(view):
            yield chunk.offset, chunk.length
    finally:
        view.release()
