"""Every way a run can end says what happened."""

import pytest

from lms.outposts.broker.launcher import Usage, Verdict
from lms.outposts.runner import endings
from lms.protocol.grading import Limits, RunStatus

LIMITS = Limits(wall_seconds=7, memory_bytes=5 << 20, output_bytes=3 << 20, disk_bytes=2 << 20)


@pytest.mark.parametrize(
    ("usage", "status", "words"),
    [
        (Usage(oom_killed=True), RunStatus.OUT_OF_MEMORY, "5 MB"),
        (Usage(verdict=Verdict.OUT_OF_MEMORY), RunStatus.OUT_OF_MEMORY, "5 MB"),
        (Usage(verdict=Verdict.TIMED_OUT), RunStatus.TIMED_OUT, "7 seconds in all"),
        (Usage(output_exceeded=True), RunStatus.CRASHED, "3 MB"),
        (Usage(verdict=Verdict.DISK_EXCEEDED), RunStatus.CRASHED, "2 MB of files"),
        (Usage(verdict=Verdict.EXITED), RunStatus.CRASHED, "kernel died"),
    ],
)
def test_a_dead_kernel_is_explained(usage: Usage, status: RunStatus, words: str) -> None:
    ending = endings.kernel_ended(usage, LIMITS)
    assert ending[0] is status
    assert words in str(ending[1])


def test_stopped_cells_are_named() -> None:
    assert "cell q1 took longer than 4" in str(endings.cell_too_slow("q1", 4)[1])
    assert "cell q1 printed more than 3 MB" in str(endings.cell_too_loud("q1", LIMITS)[1])
    assert endings.cell_unstoppable()[0] is RunStatus.TIMED_OUT
    assert endings.unreadable()[0] is RunStatus.CRASHED
