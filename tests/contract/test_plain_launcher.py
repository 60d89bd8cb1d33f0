"""What grading relies on, kept by the launcher's fake as by the two real ones."""

import json
import sys
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import (
    BrokerLauncher,
    DirectLauncher,
    KernelLauncher,
    KernelRequest,
)
from lms.outposts.runner.grade import grade_submission
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits, RunStatus
from tests.factories.notebooks import answered, checked, notebook, solution, to_bytes
from tests.fakes.launcher import PlainLauncher
from tests.integration.broker.conftest import broker

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]
__all__ = ["broker"]

SOURCE = AssignmentSource(
    name="p",
    files={
        "n.ipynb": to_bytes(
            notebook(
                solution("a", "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"),
                checked("t", 1, "assert open('data/x.txt').read() == str(x)"),
            )
        ),
        "data/x.txt": b"1",
    },
)


@pytest.fixture(params=["plain", "direct", "broker"])
def launcher(request: pytest.FixtureRequest) -> KernelLauncher:
    if request.param == "broker":
        return BrokerLauncher(request.getfixturevalue("broker").socket)
    return PlainLauncher() if request.param == "plain" else DirectLauncher()


@pytest.mark.parametrize(
    ("answer", "status", "score"),
    [
        ("x = 1", RunStatus.GRADED, 1.0),
        ("x = 2", RunStatus.GRADED, 0.0),
        ("x = 1\nwhile True:\n    pass", RunStatus.TIMED_OUT, 1.0),
        ("import os\nos._exit(3)", RunStatus.CRASHED, 0.0),
    ],
)
def test_a_notebook_is_graded_interrupted_and_survived(
    launcher: KernelLauncher, answer: str, status: RunStatus, score: float
) -> None:
    released = build(SOURCE).student_files["n.ipynb"]
    (outcome,) = grade_submission(
        SOURCE,
        {"n.ipynb": answered(released, {"a": answer})},
        limits=Limits(cell_seconds=3),
        launcher=launcher,
    )
    assert (outcome.result.status, outcome.result.score) == (status, score)
    assert outcome.autograded is not None
    assert json.loads(outcome.autograded)["nbformat"] == 4


def test_a_process_tells_its_end(launcher: KernelLauncher, tmp_path: Path) -> None:
    folder = tmp_path / "k"
    folder.mkdir()
    request = KernelRequest(
        argv=(sys.executable, "-c", "raise SystemExit(5)"), connection_dir=str(folder)
    )
    process = launcher.launch(request)
    assert process.wait(20) == 5
    assert process.poll() == 5
    process.kill()
    sleeper = launcher.launch(
        KernelRequest(
            argv=(sys.executable, "-c", "import time; time.sleep(60)"), connection_dir=str(folder)
        )
    )
    assert sleeper.poll() is None
    with pytest.raises(TimeoutError):
        sleeper.wait(0.1)
    sleeper.kill()
    assert sleeper.wait(20) == -9
