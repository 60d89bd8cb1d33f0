"""A person's own assignment folders: filled without overwriting, read without following links."""

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

#: Never handed in: what tools and corrections leave behind, and feedback from the LMS.
SKIPPED_FOLDERS = frozenset({".ipynb_checkpoints", "__pycache__", "feedback", ".git"})
SKIPPED_FILES = ("*.pyc", ".DS_Store", "*.swp", "*~", "*.before-correction*")
#: More files than this, or more bytes, are no assignment.
MAX_FILES = 1000
MAX_BYTES = 512 << 20


class FolderError(Exception):
    """The folder cannot be used; the message is one sentence for the person."""


def fill_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write those of `files` that are missing in `folder` and return their paths."""
    written = []
    for path, content in sorted(files.items()):
        target = folder / path
        if os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x": what appeared in the meantime is the person's and stays.
        with target.open("xb") as file:
            file.write(content)
        written.append(path)
    return written


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the folder's regular files by NFC path; raises FolderError if there are too many."""
    files: dict[str, bytes] = {}
    total = 0
    for path in _walk(folder):
        name = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        total += path.stat().st_size
        if len(files) >= MAX_FILES or total > MAX_BYTES:
            raise FolderError(
                f"The folder {folder.name} holds too much to hand in; "
                "keep large data outside of it and submit again."
            )
        files[name] = path.read_bytes()
    return files


def find_notebooks(paths: Iterable[str]) -> list[str]:
    """Return the names, without .ipynb, of the notebooks at the top of an assignment."""
    return sorted(p.removesuffix(".ipynb") for p in paths if p.endswith(".ipynb") and "/" not in p)


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        name = path.name
        # lstat: a link could lead out of the folder, and its target is not what was handed in.
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            if name not in SKIPPED_FOLDERS:
                yield from _walk(path)
        elif stat.S_ISREG(mode) and not any(fnmatch(name, skip) for skip in SKIPPED_FILES):
            yield path
