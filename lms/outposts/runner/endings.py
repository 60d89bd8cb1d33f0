"""Every way a run can end early, as a status and a sentence."""

from lms.outposts.broker.launcher import Usage, Verdict
from lms.protocol.grading import Limits, RunStatus
from lms.protocol.sentences import Sentence, sentence

Ending = tuple[RunStatus, Sentence]


def cell_too_slow(cell: str, seconds: int) -> Ending:
    """Say that a cell ran into its own limit and was interrupted; the run goes on."""
    return RunStatus.TIMED_OUT, sentence(
        "The cell %(cell)s took longer than %(seconds)s seconds and was stopped.",
        cell=cell,
        seconds=seconds,
    )


def cell_too_loud(cell: str, limits: Limits) -> Ending:
    """Say that a cell printed without end and was interrupted; the run goes on."""
    return RunStatus.CRASHED, sentence(
        "The cell %(cell)s printed more than %(size)s MB and was stopped.",
        cell=cell,
        size=limits.output_bytes >> 20,
    )


def cell_unstoppable() -> Ending:
    """Say that a cell took no interrupt."""
    return RunStatus.TIMED_OUT, sentence(
        "A cell could not be stopped, so the notebook was ended.",
    )


def unreadable() -> Ending:
    """Say that the kernel lives but does not keep to the protocol."""
    return RunStatus.CRASHED, sentence(
        "The kernel sent something that cannot be read, so the notebook was ended.",
    )


def kernel_ended(usage: Usage, limits: Limits) -> Ending:
    """Say why the kernel is gone, as far as the sandbox knows."""
    if usage.oom_killed or usage.verdict is Verdict.OUT_OF_MEMORY:
        return RunStatus.OUT_OF_MEMORY, sentence(
            "The notebook used more than %(size)s MB of memory and was stopped.",
            size=limits.memory_bytes >> 20,
        )
    if usage.verdict is Verdict.TIMED_OUT:
        return notebook_too_slow(limits)
    if usage.output_exceeded:
        return notebook_too_loud(limits)
    if usage.verdict is Verdict.DISK_EXCEEDED:
        return RunStatus.CRASHED, sentence(
            "The notebook wrote more than %(size)s MB of files and was stopped.",
            size=limits.disk_bytes >> 20,
        )
    return RunStatus.CRASHED, sentence("The kernel died while the notebook ran.")


def notebook_too_slow(limits: Limits) -> Ending:
    """Say that all cells together ran into the limit."""
    return RunStatus.TIMED_OUT, sentence(
        "The notebook took longer than %(seconds)s seconds in all and was stopped.",
        seconds=limits.wall_seconds,
    )


def notebook_too_loud(limits: Limits) -> Ending:
    """Say that the kernel sent far more than anybody reads, and no interrupt helped."""
    return RunStatus.CRASHED, sentence(
        "The notebook printed far more than %(size)s MB and was stopped.",
        size=limits.output_bytes >> 20,
    )
