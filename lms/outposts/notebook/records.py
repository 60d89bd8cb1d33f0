"""What this server remembers of each fetched assignment: its release, and an open correction.

Kept in the person's home and outside of the assignment's folder, which is handed in as it is.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lms.outposts.notebook.client import Correction, ExchangeApiError, read_correction

_FOLDER = ".seodang/releases"


@dataclass(slots=True)
class Record:
    """One assignment's folder; `digest` is empty when nobody knows what it was made from."""

    path: Path
    digest: str = ""
    #: Notebooks of the open correction that were brought up to date.
    done: set[str] = field(default_factory=set)
    #: Notebooks whose copy from before this correction was kept.
    kept: set[str] = field(default_factory=set)

    def save(self) -> None:
        """Write the record; a reader sees the old or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        value = {"digest": self.digest, "done": sorted(self.done), "kept": sorted(self.kept)}
        replace_file(self.path, (json.dumps(value) + "\n").encode())

    @property
    def _archive(self) -> Path:
        return self.path.with_suffix(".zip")

    def correction(self) -> Correction | None:
        """Return the correction that was begun and not ended."""
        try:
            return read_correction(self._archive.read_bytes())
        except (OSError, ExchangeApiError):
            return None

    def begin(self, correction: Correction) -> None:
        """Remember a correction until all of its notebooks are up to date."""
        self.done, self.kept = set(), set()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._archive, correction.archive)
        self.save()

    def end(self, digest: str) -> None:
        """Remember the release that the folder is up to date with."""
        self.digest, self.done, self.kept = digest, set(), set()
        self.save()
        self._archive.unlink(missing_ok=True)


def find_record(home: Path, folder: Path) -> Record:
    """Return what is known of an assignment's folder."""
    name = hashlib.sha256(str(folder.absolute()).encode("utf-8", "surrogateescape")).hexdigest()
    path = home / _FOLDER / f"{name[:32]}.json"
    try:
        value: Any = json.loads(path.read_bytes())
        return Record(path, str(value["digest"]), set(value["done"]), set(value["kept"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Record(path)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, never a half."""
    beside = path.with_name(f".{path.name}.new~")
    beside.write_bytes(content)
    beside.replace(path)
