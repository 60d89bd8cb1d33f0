"""Cutting bytes where their content says so (FastCDC): a change moves only the cuts beside it."""

import mmap
from collections.abc import Iterator

from pyfastcdc import FastCDC

#: Bytes of a mapped file after which what has been read is let go: it would count as our memory.
_LET_GO = 8 << 20


def cut(content: bytes | memoryview | mmap.mmap, average: int) -> Iterator[tuple[int, int]]:
    """Yield offset and length of each chunk; the same content is cut alike on every machine."""
    chunker = FastCDC(average, min_size=average // 4, max_size=average * 4, normalized_chunking=2)
    view = memoryview(content)
    mapped = view.obj if isinstance(view.obj, mmap.mmap) else None
    gone = 0
    try:
        for chunk in chunker.cut_buf(view):
            if mapped is not None and chunk.offset - gone >= _LET_GO:
                mapped.madvise(mmap.MADV_DONTNEED, gone, _LET_GO)
                gone += _LET_GO
            yield chunk.offset, chunk.length
    finally:
        view.release()
