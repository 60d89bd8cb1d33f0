"""What a kernel is started with: its folders on the machine's disk, and its environment."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """The folders of one run; only `connection` is the kernel's to write in."""

    root: Path
    connection: Path
    files: Path
    fonts: Path


@contextlib.contextmanager
def place(files: Mapping[str, bytes], fonts: Mapping[str, bytes]) -> Iterator[Place]:
    """Make the folders of one run, and remove them afterwards."""
    # The outer folder is ours alone; the kernel, whoever it runs as, writes in the inner one.
    root = Path(tempfile.mkdtemp(prefix="run-"))
    try:
        connection = root / "k"
        connection.mkdir()
        connection.chmod(0o777)
        _write_files(connection / "m", fonts)
        (connection / "m").chmod(0o777)
        _write_files(root / "f", files)
        yield Place(root, connection, root / "f", connection / "m")
    finally:
        _remove(root)


def environment(seed: int, fonts: Path) -> dict[str, str]:
    """Return the kernel's whole environment: nothing of ours is inherited."""
    folder = str(Path(sys.executable).parent)
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
    )
    return {
        "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": str(seed % (1 << 32)),
        "PYTHONNOUSERSITE": "1",
        "IPYTHONDIR": "/tmp/.ipython",  # noqa: S108 (the sandbox's own)
        "MPLCONFIGDIR": str(fonts),
        # nbgrader sets it too, so that a notebook can tell that it is being graded.
        "NBGRADER_EXECUTION": "autograde",
        **threads,
    }


def _remove(folder: Path) -> None:
    """Remove a run's folder; a kernel may have nested folders deeper than Python recurses."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        subprocess.run(["/bin/rm", "-rf", "--", str(folder)], check=False)


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
