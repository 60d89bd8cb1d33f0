"""Every way a run can end says what happened."""

import pytest

from lms.outposts.broker.launcher import Usage, Verdict
from lms.outposts.runner import endings
from lms.protocol.grading import Detail, Limits, RunStatus

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
    assert ending.status is status
    assert words in str(ending.sentence)


def test_stopped_cells_are_named() -> None:
    slow, loud = endings.cell_too_slow("q1", 4), endings.cell_too_loud("q1", LIMITS)
    assert "cell q1 took longer than 4" in str(slow.sentence)
    assert slow.detail == Detail(cell="q1", limit="cell_seconds")
    assert "cell q1 printed more than 3 MB" in str(loud.sentence)
    assert loud.detail == Detail(cell="q1", limit="output_bytes")
    assert endings.cell_unstoppable().status is RunStatus.TIMED_OUT
    assert endings.unreadable().status is RunStatus.CRASHED


def test_the_instructor_is_told_where_and_what_was_printed_last() -> None:
    died = endings.kernel_ended(Usage(oom_killed=True), LIMITS).at("q2", "epoch 7")
    assert died.detail == Detail(cell="q2", limit="memory_bytes", last_output="epoch 7")
    own = endings.kernel_ended(Usage(output_tail="Segmentation fault"), LIMITS).at("q2", "epoch 7")
    assert own.detail.last_output == "Segmentation fault"


@pytest.mark.parametrize(
    ("usage", "limit"),
    [
        (Usage(oom_killed=True), "memory_bytes"),
        (Usage(verdict=Verdict.TIMED_OUT), "wall_seconds"),
        (Usage(output_exceeded=True), "output_bytes"),
        (Usage(verdict=Verdict.DISK_EXCEEDED), "disk_bytes"),
        (Usage(verdict=Verdict.EXITED), ""),
    ],
)
def test_the_limit_that_was_reached_is_named(usage: Usage, limit: str) -> None:
    assert endings.kernel_ended(usage, LIMITS).detail.limit == limit
    assert limit == "" or hasattr(LIMITS, limit)
