"""After many forked runs, ended in every way there is, nothing of them is left on the machine."""

import contextlib
import itertools
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from lms.outposts.broker import cgroups
from lms.outposts.broker.zygotes import shared_zygote
from tests.integration.broker.test_leaks import _groups
from tests.integration.broker.test_zygote import Cells, cells

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="counts the uids of runs, which need root"),
]

_MEMORY_BYTES = 150 << 20
_WAIT_SECONDS = 60
_BOMB = "held = []\nwhile True: held.append(bytearray(8 << 20))"
_DAEMON = (
    "import os, time\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    time.sleep(600)\n"
    "for path in ('/tmp/x', '/dev/shm/x'): open(path, 'wb').write(b'x' * 99)"
)


def _exit(running: Cells) -> None:
    _send(running, "import os; os._exit(0)")
    running.process.wait(_WAIT_SECONDS)


def _crash(running: Cells) -> None:
    _send(running, "import os; os.kill(os.getpid(), 11)")
    running.process.wait(_WAIT_SECONDS)


def _hang(running: Cells) -> None:
    _send(running, "while True: pass")
    running.process.kill()


def _daemon(running: Cells) -> None:
    running.run(_DAEMON)


def _bomb(running: Cells) -> None:
    _send(running, _BOMB)
    running.process.wait(_WAIT_SECONDS)


def _keeper_killed(running: Cells) -> None:
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait(_WAIT_SECONDS)


ENDINGS = (_exit, _crash, _hang, _daemon, _bomb, _keeper_killed)


def _send(running: Cells, source: str) -> None:
    running.line.send({"do": "execute", "id": 1, "source": source})


def state() -> dict[str, object]:
    """Return what a run could leave behind."""
    nursery = shared_zygote.pid
    family = [nursery, *map(int, _children(nursery).split())]
    return {
        "processes": sorted(_name(pid) for pid in family if pid),
        "descriptors": [_count(f"/proc/{pid}/fd") for pid in family if pid],
        "own descriptors": _count("/proc/self/fd"),
        "mounts": Path("/proc/self/mounts").read_text().count("\n"),
        "groups": _groups(),
        "temporary files": sorted(
            entry.name for entry in Path(tempfile.gettempdir()).glob("lms-unsafe-*")
        ),
        "leases": _held_leases(),
    }


def _children(pid: int | None) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "gone"


def _count(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _held_leases() -> int:
    """Return how many leases our nursery's family holds; other tests may hold some of their own."""
    nursery = shared_zygote.pid
    family = [nursery, *map(int, _children(nursery).split())]
    held = 0
    for pid in family:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                held += "seodang-leases" in str(entry.readlink())
    return held


@pytest.mark.parametrize("runs", [30, pytest.param(1000, marks=pytest.mark.slow)])
def test_nothing_is_left_after_many_forks(runs: int) -> None:
    with cells():
        pass  # the zygote stands
    _settle()
    cgroups.sweep(cgroups.detect())
    before = state()
    for _, ending in zip(range(runs), itertools.cycle(ENDINGS), strict=False):
        with cells(memory_bytes=_MEMORY_BYTES) as running:
            ending(running)
    _settle()
    end_at = time.monotonic() + 10
    # The programs of killed keepers end a moment after them, and then their groups go.
    while state() != before and time.monotonic() < end_at:
        time.sleep(0.1)
    assert state() == before


def _settle() -> None:
    """Wait for keepers that are still tidying up."""
    end_at = time.monotonic() + 10
    while len(_children(shared_zygote.pid).split()) > 1 and time.monotonic() < end_at:
        time.sleep(0.05)
