"""What a keeper leaves in files for whoever comes later: that it lives, and how it ended.

Imported by every keeper, so it imports little itself; processes.ProcessName reads what is here.
"""

import contextlib
import fcntl
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lms.outposts.broker.spec import Spec

_START_FIELD = 19


class RefusedError(Exception):
    """The sandbox cannot be started; the text says why."""


class State:
    """A file that says which keeper, and which first process, a sandbox has; ours while we live."""

    def __init__(self, path: str) -> None:
        self._folder = os.open(os.path.dirname(path), os.O_DIRECTORY)
        self._name = os.path.basename(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock = os.open(f"{self._name}.lock", flags, 0o600, dir_fd=self._folder)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("such a sandbox runs already") from None
        # While the machine's own /proc is in sight.
        self._started = started_ticks("self")

    def write(
        self, spec: "Spec", first: int, *, started: int = 0, mounts: "Iterable[int]" = ()
    ) -> None:
        """Say who we are, and what a later kernel of this sandbox must know of it.

        `started` is when the first process did, and `mounts` are those of its own namespace.
        """
        about = {
            "pid": os.getpid(),
            "started": self._started,
            "first": first,
            "uid": spec["uid"],
            "user": spec["user"],
            "home": spec["home"],
            "processes": spec["processes"],
            "output": spec["output"],
            "lease": spec["lease"],
            "server": spec["joins_keeper"],
            "started_at": time.time(),
            "first_started": started,
            "mounts": sorted(mounts),
        }
        write_record((self._folder, self._name), about)

    def write_end(self, lease: str, verdict: str) -> None:
        """Say how the last kernel of a lease has ended."""
        write_record((self._folder, f"{lease}.ended"), {"verdict": verdict})

    def remove(self) -> None:
        """Leave nothing behind."""
        for name in (self._name, f"{self._name}.lock"):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder)


def started_ticks(pid: int | str) -> int:
    """Return when a process started, as processes.ProcessName counts; raises OSError."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[_START_FIELD])


def write_record(place: tuple[int, str], record: "Mapping[str, object]") -> None:
    """Put a file of JSON into a folder, whole or not at all."""
    folder, name = place
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    descriptor = os.open(f".{name}", flags, 0o600, dir_fd=folder)
    os.write(descriptor, json.dumps(record).encode())
    os.close(descriptor)
    os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
