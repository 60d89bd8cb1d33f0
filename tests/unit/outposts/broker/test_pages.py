"""Memory in large pages: gathered where the machine has them, and never lost."""

import mmap
from pathlib import Path

import pytest

from lms.outposts.broker import pages

_SIZE = 8 << 20


def _large_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("AnonHugePages:"):
            return int(line.split()[1]) << 10
    return 0


def test_gathers_memory_and_keeps_what_is_in_it() -> None:
    pattern = bytes(range(256)) * (_SIZE >> 8)
    with mmap.mmap(-1, _SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[:] = pattern

        gathered = pages.enlarge()

        assert memory[:] == pattern
        if not gathered:
            pytest.skip("no large pages here")
        assert _large_bytes() >= _SIZE // 2
