"""Every way a run can end early: a status, a sentence for the student, facts for the instructor."""

from dataclasses import dataclass, field, replace
from typing import Self

from lms.outposts.broker.launcher import Usage, Verdict
from lms.protocol.grading import Detail, Limits, RunStatus
from lms.protocol.sentences import Sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a run is not a plain one."""

    status: RunStatus
    sentence: Sentence
    detail: Detail = field(default_factory=Detail)

    def at(self, cell: str, last_output: str) -> Self:
        """Return it with what is known of the place, where it says nothing of its own."""
        detail = replace(
            self.detail,
            cell=self.detail.cell or cell,
            last_output=self.detail.last_output or last_output,
        )
        return replace(self, detail=detail)


def cell_too_slow(cell: str, seconds: int) -> Ending:
    """Say that a cell ran into its own limit and was interrupted; the run goes on."""
    return Ending(
        status=RunStatus.TIMED_OUT,
        sentence=sentence(
            "The cell %(cell)s took longer than %(seconds)s seconds and was stopped.",
            cell=cell,
            seconds=seconds,
        ),
        detail=Detail(cell=cell, limit="cell_seconds"),
    )


def cell_too_loud(cell: str, limits: Limits) -> Ending:
    """Say that a cell printed without end and was interrupted; the run goes on."""
    return Ending(
        status=RunStatus.CRASHED,
        sentence=sentence(
            "The cell %(cell)s printed more than %(size)s MB and was stopped.",
            cell=cell,
            size=limits.output_bytes >> 20,
        ),
        detail=Detail(cell=cell, limit="output_bytes"),
    )


def cell_unstoppable() -> Ending:
    """Say that a cell took no interrupt."""
    return Ending(
        status=RunStatus.TIMED_OUT,
        sentence=sentence("A cell could not be stopped, so the notebook was ended."),
        detail=Detail(limit="cell_seconds"),
    )


def unreadable() -> Ending:
    """Say that the kernel lives but does not keep to the protocol."""
    return Ending(
        status=RunStatus.CRASHED,
        sentence=sentence(
            "The kernel sent something that cannot be read, so the notebook was ended.",
        ),
    )


def kernel_ended(usage: Usage, limits: Limits) -> Ending:
    """Say why the kernel is gone, as far as the sandbox knows."""
    if usage.oom_killed or usage.verdict is Verdict.OUT_OF_MEMORY:
        return Ending(
            status=RunStatus.OUT_OF_MEMORY,
            sentence=sentence(
                "The notebook used more than %(size)s MB of memory and was stopped.",
                size=limits.memory_bytes >> 20,
            ),
            detail=Detail(limit="memory_bytes", last_output=usage.output_tail),
        )
    if usage.verdict is Verdict.TIMED_OUT:
        return notebook_too_slow(limits)
    if usage.output_exceeded:
        return notebook_too_loud(limits)
    if usage.verdict is Verdict.DISK_EXCEEDED:
        return Ending(
            status=RunStatus.CRASHED,
            sentence=sentence(
                "The notebook wrote more than %(size)s MB of files and was stopped.",
                size=limits.disk_bytes >> 20,
            ),
            detail=Detail(limit="disk_bytes", last_output=usage.output_tail),
        )
    return Ending(
        status=RunStatus.CRASHED,
        sentence=sentence("The kernel died while the notebook ran."),
        detail=Detail(last_output=usage.output_tail),
    )


def notebook_too_slow(limits: Limits) -> Ending:
    """Say that all cells together ran into the limit."""
    return Ending(
        status=RunStatus.TIMED_OUT,
        sentence=sentence(
            "The notebook took longer than %(seconds)s seconds in all and was stopped.",
            seconds=limits.wall_seconds,
        ),
        detail=Detail(limit="wall_seconds"),
    )


def notebook_too_loud(limits: Limits) -> Ending:
    """Say that the kernel sent far more than anybody reads, and no interrupt helped."""
    return Ending(
        status=RunStatus.CRASHED,
        sentence=sentence(
            "The notebook printed far more than %(size)s MB and was stopped.",
            size=limits.output_bytes >> 20,
        ),
        detail=Detail(limit="output_bytes"),
    )
