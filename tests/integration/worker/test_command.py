"""`lms worker` as a program: stopped, it is gone at once and has left nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lms.bootstrap import System, build
from lms.foundation.settings import Settings
from lms.grading.models import WorkerBeat
from lms.migrations.tables import metadata

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_stop_is_gone_and_leaves_no_process(
    tmp_path: Path, signal_number: signal.Signals
) -> None:
    system = build(Settings(data_dir=tmp_path))
    metadata.create_all(system.engine)
    code = "import tests.fakes.light; from lms.cli.main import cli; cli()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "worker", "--name", "box"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LMS_DATA": str(tmp_path), "LMS_UNSAFE_GRADING": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as worker:
        end = time.monotonic() + 60
        while not _has_beaten(system):
            assert worker.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        start = time.monotonic()
        worker.send_signal(signal_number)
        assert worker.wait(30) == 0
    assert time.monotonic() - start < 15
    system.engine.dispose()
    end = time.monotonic() + 10
    while left := [path for path in Path("/proc").glob("[0-9]*") if _has(path, str(tmp_path))]:
        assert time.monotonic() < end, left
        time.sleep(0.1)


def _has_beaten(system: System) -> bool:
    with system.sessions() as session:
        return session.get(WorkerBeat, "box") is not None


def _has(process: Path, folder: str) -> bool:
    """Say whether a process was started with our data folder."""
    try:
        return folder.encode() in (process / "environ").read_bytes()
    except OSError:
        return False
