"""What time a centre goes by: never earlier than the newest time that central signed.

A box without a battery wakes in 1970; it must not take an old stick for a fresh one. python-tuf has
no public way to say what time it is, so its one private attribute is set here and nowhere else.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

from tuf.ngclient import Updater

from lms.outposts.bundles.disk import Disk

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def set_reference_time(updater: Updater, instant: datetime) -> None:
    """Make an updater judge expiry by `instant`."""
    updater._trusted_set.reference_time = instant  # noqa: SLF001 - a contract test watches it


class Clock:
    """The newest signed time, kept in a file."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk

    def newest(self) -> datetime:
        """Return the newest signed time that was seen."""
        try:
            found = datetime.fromisoformat(json.loads(self._path.read_text("utf-8"))["newest"])
        except (OSError, ValueError, KeyError, TypeError):
            return _EARLIEST
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def reference(self, machine: datetime) -> datetime:
        """Return the time to go by, given what the machine's clock says."""
        return max(machine, self.newest())

    def learn(self, signed: datetime) -> None:
        """Keep a signed time if it is newer; a machine's own time is never kept."""
        if signed > self.newest():
            content = json.dumps({"newest": signed.isoformat()}).encode()
            self._disk.write(self._path, content)
