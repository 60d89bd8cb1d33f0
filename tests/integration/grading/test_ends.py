"""How a run ends when it is not the student's code that ends it."""

import contextlib
import socket
from dataclasses import replace

import pytest

from lms.outposts.broker.launcher import KernelProcess, KernelRequest, Usage, Verdict
from lms.outposts.runner.errors import KernelStartError
from lms.outposts.runner.grade import grade_submission
from lms.protocol.grading import Limits, RunStatus
from tests.fakes.launcher import PlainLauncher, PlainProcess
from tests.integration.grading import hostile

pytestmark = pytest.mark.kernel


class BrokenLauncher(PlainLauncher):
    """Starts something that is no kernel."""

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        return super().launch(replace(request, program="", argv=("/bin/false",)), channel)


class AbandonedProcess(PlainProcess):
    """A kernel whose sandbox is said to have gone with the broker."""

    def usage(self) -> Usage:
        return Usage(verdict=Verdict.ABANDONED)


class AbandoningLauncher(PlainLauncher):
    """Loses every kernel that ends."""

    def launch(self, request: KernelRequest, channel: socket.socket | None = None) -> KernelProcess:
        with channel or contextlib.nullcontext():
            return AbandonedProcess(request, channel)


def test_the_whole_notebook_has_a_limit_too() -> None:
    (outcome,) = grade_submission(
        hostile.SOURCE,
        hostile.code("import time\nfor _ in range(60):\n    time.sleep(1)"),
        limits=Limits(cell_seconds=60, wall_seconds=3),
        launcher=PlainLauncher(),
    )
    assert outcome.result.status is RunStatus.TIMED_OUT
    assert "3 seconds in all" in str(outcome.result.reason)
    assert [cell.auto_score for cell in outcome.result.cells] == [None, None]


def test_a_kernel_that_does_not_start_is_our_fault() -> None:
    with pytest.raises(KernelStartError, match="ended before it was ready"):
        grade_submission(
            hostile.SOURCE,
            hostile.code(hostile.RIGHT),
            limits=Limits(),
            launcher=BrokenLauncher(),
        )


def test_a_sandbox_that_was_taken_away_is_our_fault() -> None:
    with pytest.raises(KernelStartError, match="taken away"):
        grade_submission(
            hostile.SOURCE,
            hostile.code("import os\nos._exit(0)"),
            limits=Limits(),
            launcher=AbandoningLauncher(),
        )
