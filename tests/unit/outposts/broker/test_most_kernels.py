"""How many kernels one person can have, those that are on their way included."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.server_kernels import MOST_KERNELS, KernelRefusedError, ServerKernels
from lms.protocol.broker import ServerKernelRequest

_WISH = ServerKernelRequest(connection_file="/k", cwd="/")
_UID = 240_001


@pytest.fixture
def first() -> Iterator[int]:
    """A process that stands for a sandbox's first; this one stands for the keeper."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


def _write(path: Path, *, first: int, server: int = 0) -> None:
    keeper = ProcessName.of(os.getpid())
    assert keeper is not None
    about: dict[str, object] = {
        "pid": keeper.pid,
        "started": keeper.started,
        "first": first,
        "uid": _UID,
    }
    about |= {"user": "a", "home": "/", "processes": 9, "output": "/log", "lease": ""}
    about |= {"server": server, "started_at": 0.0, "first_started": 0, "mounts": []}
    path.write_text(json.dumps(about))


def test_kernels_on_their_way_count(tmp_path: Path, first: int) -> None:
    kernels = ServerKernels(tmp_path)
    _write(tmp_path / "a~.json", first=first)
    specs = [kernels.plan(_WISH, uid=_UID, pid=first) for _ in range(MOST_KERNELS)]
    with pytest.raises(KernelRefusedError, match="you have 32 kernels already"):
        kernels.plan(_WISH, uid=_UID, pid=first)
    # One that has said that it runs counts once, as before.
    _write(Path(specs[0]["state_path"]), first=first, server=os.getpid())
    with pytest.raises(KernelRefusedError, match="you have 32 kernels already"):
        kernels.plan(_WISH, uid=_UID, pid=first)


def test_a_person_with_many_servers_has_no_more_kernels(tmp_path: Path, first: int) -> None:
    kernels = ServerKernels(tmp_path)
    _write(tmp_path / "a~.json", first=first)
    (tmp_path / "kernels").mkdir(exist_ok=True)
    for number in range(MOST_KERNELS):
        _write(tmp_path / "kernels" / f"{number}.json", first=first, server=1_000_000 + number)
    with pytest.raises(KernelRefusedError, match="you have 32 kernels already"):
        kernels.plan(_WISH, uid=_UID, pid=first)


def test_kernels_that_never_came_are_forgotten(
    tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = ServerKernels(tmp_path)
    _write(tmp_path / "a~.json", first=first)
    for _ in range(MOST_KERNELS):
        kernels.plan(_WISH, uid=_UID, pid=first)
    monkeypatch.setattr("time.monotonic", lambda: 1e12)
    assert kernels.plan(_WISH, uid=_UID, pid=first)["joins"] == first
