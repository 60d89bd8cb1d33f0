"""What `lms bench sync` compares with: a packed archive, rsync and casync, whichever are here."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import zstandard


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes over the line and seconds."""

    bytes: int
    seconds: float


class _Counter:
    """A file that only counts."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, content: bytes) -> int:
        self.count += len(content)
        return len(content)


def archive(folder: Path, level: int = 12) -> Cost:
    """Return what one tar of everything costs."""
    counter, begin = _Counter(), time.perf_counter()
    packer = zstandard.ZstdCompressor(level=level)
    with (
        packer.stream_writer(counter, closefd=False) as packed,  # type: ignore[arg-type]
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        tar.add(folder, arcname=".")
    return Cost(counter.count, time.perf_counter() - begin)


def floor(content: bytes) -> int:
    """Return the fewest bytes that the new content can be packed into, by zstd at its strongest."""
    return len(zstandard.ZstdCompressor(level=19).compress(content))


def rsync(old: Path, new: Path, scratch: Path) -> Cost | None:
    """Return what rsync sends to make the old version the new one; None where it is missing."""
    program = shutil.which("rsync")
    if program is None:
        return None
    target = scratch / "rsync"
    shutil.copytree(old, target)
    begin = time.perf_counter()
    options = ("-a", "-z", "--no-whole-file", "--delete", "--stats")
    done = subprocess.run(
        [program, *options, f"{new}/", f"{target}/"], capture_output=True, check=True, text=True
    )
    seconds = time.perf_counter() - begin
    shutil.rmtree(target)
    counts = re.findall(r"Total bytes (?:sent|received): ([\d,.]+)", done.stdout)
    return Cost(sum(int(re.sub(r"\D", "", count)) for count in counts), seconds)


def casync(old: Path, new: Path, scratch: Path) -> Cost | None:
    """Return the chunks and the index that casync fetches; None where it is missing."""
    program = shutil.which("casync")
    if program is None:
        return None
    store, index = scratch / "store.castr", scratch / "new.caidx"
    _run(program, "make", f"--store={store}", str(scratch / "old.caidx"), str(old))
    before = set(store.rglob("*.cacnk"))
    begin = time.perf_counter()
    _run(program, "make", f"--store={store}", str(index), str(new))
    seconds = time.perf_counter() - begin
    fresh = set(store.rglob("*.cacnk")) - before
    return Cost(sum(path.stat().st_size for path in (*fresh, index)), seconds)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def cpu_seconds_of(work: Callable[[], object]) -> float:
    """Return the CPU seconds that work took, which other processes do not stretch."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def hash_all(paths: Iterable[Path]) -> None:
    """Read and hash files, as plainly as can be."""
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def copy_all(folder: Path, target: Path) -> None:
    """Copy a folder, as plainly as can be."""
    shutil.copytree(folder, target)
