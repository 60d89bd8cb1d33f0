"""Which run stands as a person's result for a task: the newest attempt that was graded.

An attempt that could not be graded (rejected, crashed, timed out), that is held for a person or
that a person set aside never replaces one that counts; if none counts, the newest attempt stands
with whatever status it has, and without a score.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment
from lms.exchange.models import Submission
from lms.exchange.service import list_submissions
from lms.grading.models import Run
from lms.grading.rules import Verdict
from lms.grading.service import runs_of
from lms.protocol.grading import RunStatus

_GRADED = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL})
#: Submission.via of what was handed in elsewhere; its time is not our clock's.
_FROM_CENTRE = "centre"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The attempt that counts, and its run; `score` is None until it is graded."""

    submission: Submission
    run: Run | None

    @property
    def status(self) -> RunStatus:
        """The run's status; a submission without a run waits for one."""
        return RunStatus.QUEUED if self.run is None else RunStatus(self.run.status)

    @property
    def held(self) -> bool:
        """Whether the score waits for a person's look."""
        return self.run is not None and self.run.held

    @property
    def score(self) -> float | None:
        """Points so far, without those that a person has yet to give; None while held."""
        return None if self.run is None else score_of(self.run)

    @property
    def max_score(self) -> float | None:
        """Points that could be had."""
        return None if self.run is None else self.run.max_score


def standing(session: Session, task_id: int, person_id: int) -> Standing | None:
    """Return the person's standing result for a task; None before the first submission."""
    submissions = list_submissions(session, task_id, person_id)
    runs = runs_of(session, [submission.id for submission in submissions])
    return choose(submissions, runs)


def standings(session: Session, person_id: int, offering_ids: Iterable[int]) -> dict[int, Standing]:
    """Return the person's standing results in the offerings, by task."""
    submissions = session.scalars(
        select(Submission)
        .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
        .where(
            Submission.person_id == person_id,
            OfferedAssignment.offering_id.in_(list(offering_ids)),
        )
        .order_by(Submission.task_id, Submission.attempt.desc())
    ).all()
    runs = runs_of(session, [submission.id for submission in submissions])
    by_task: dict[int, list[Submission]] = {}
    for submission in submissions:
        by_task.setdefault(submission.task_id, []).append(submission)
    chosen = {task_id: choose(attempts, runs) for task_id, attempts in by_task.items()}
    return {task_id: one for task_id, one in chosen.items() if one is not None}


def counts(run: Run) -> bool:
    """Say whether a run's score is shown and counted."""
    return run.status in _GRADED and not run.held and run.verdict != Verdict.SET_ASIDE


def score_of(run: Run) -> float | None:
    """Return the points a run gives its student as of now; None when it gives none."""
    if not counts(run):
        return None
    return 0.0 if run.verdict == Verdict.ZERO else run.score


def _in_time(attempts: Sequence[Submission]) -> Iterator[tuple[datetime, int, Submission]]:
    """Yield attempts with when each was handed in; our own clock may have been set back between."""
    latest: datetime | None = None
    for one in sorted(attempts, key=lambda one: one.attempt):
        at = one.submitted_at
        if one.via != _FROM_CENTRE:
            at = latest = at if latest is None else max(at, latest)
        yield at, one.attempt, one


def _when(one: tuple[datetime, int, Submission]) -> tuple[datetime, int]:
    return one[0], one[1]


def choose(attempts: Sequence[Submission], runs: Mapping[int, Run]) -> Standing | None:
    """Return which of a person's attempts at one task stands: the one handed in last that counts.

    Attempts are numbered as they come in; one from a centre may have been handed in long before.
    """
    if not attempts:
        return None
    newest = [one for _at, _attempt, one in sorted(_in_time(attempts), key=_when, reverse=True)]
    counted = next((one for one in newest if one.id in runs and counts(runs[one.id])), newest[0])
    return Standing(submission=counted, run=runs.get(counted.id))
