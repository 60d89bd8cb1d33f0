"""Where the software is installed on a box: a folder a version, and which of them is current.

`current` is a link that is replaced in one step. What is to be finished after a cut lies in a
small file beside it.
"""

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lms.outposts.bundles.disk import Disk
from lms.outposts.software.shelf import SoftwareError
from lms.protocol.sentences import sentence


class Place:
    """The folder that install.sh installed into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._disk = Disk()
        #: What an update that was cut off has to do.
        self.record = root / "update.json"
        #: What `--back` goes by.
        self.way_back = root / "back.json"

    def current(self) -> str:
        """Return the version that stands; raises SoftwareError where none was installed."""
        try:
            return (self.root / "current").readlink().name
        except OSError as error:
            raise SoftwareError(
                sentence(
                    "%(folder)s holds no software that install.sh installed, so it cannot be "
                    "updated this way.",
                    folder=str(self.root),
                )
            ) from error

    def program(self, name: str) -> Path:
        """Return the `lms` of a version."""
        return self.root / name / "bin" / "lms"

    def is_whole(self, name: str) -> bool:
        """Say whether a version was installed to its end."""
        return (self.root / name / ".whole").exists()

    def switch(self, name: str) -> None:
        """Make a version the current one, in one step."""
        fresh = self.root / "current.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        self._disk.rename(fresh, self.root / "current")
        self._disk.sync([self.root])

    def tidy(self, *kept: str) -> None:
        """Remove every version but those named."""
        for mark in self.root.glob("*/about"):
            if mark.parent.name not in kept and not mark.parent.is_symlink():
                shutil.rmtree(mark.parent)

    def write(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write one of the small files, durably."""
        self._disk.write(path, json.dumps(dict(facts)).encode())

    def read(self, path: Path) -> dict[str, Any] | None:
        """Return what one of the small files says, None when it is not there."""
        try:
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        return found

    def move(self, path: Path, new: Path) -> None:
        """Give one of the small files its other name, durably."""
        self._disk.rename(path, new)
        self._disk.sync([self.root])

    def remove(self, path: Path) -> None:
        """Remove one of the small files, durably."""
        self._disk.remove(path)
        self._disk.sync([self.root])

    @contextmanager
    def locked(self) -> Iterator[int | None]:
        """Keep other updates out; yields the lock, which children hold, or None when it is held."""
        with (self.root / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            yield file.fileno()


def this_place() -> Place:
    """Return the place that this program runs from."""
    return Place(Path(sys.prefix).parent)


def run_current(place: Place) -> None:
    """Go on as the current version, where this process is another one."""
    name = place.current()
    if Path(sys.prefix).name != name:
        program = str(place.program(name))
        os.execv(program, [program, *sys.argv[1:]])  # noqa: S606 - our own program
