"""Use cases of grading: record what a run found, look at runs, grade again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from lms.exchange.events import SubmissionReceived
from lms.exchange.service import get_submission
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import NotFoundError
from lms.foundation.events import publish
from lms.grading.events import RunFinished
from lms.grading.models import CellScore, NotebookRun, Run
from lms.grading.queue import Claim, enqueue, hold
from lms.grading.rules import gravest, total, weakest
from lms.identity.scopes import Actor
from lms.protocol.grading import NotebookResult, RunStatus
from lms.protocol.sentences import Sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One notebook's result and the digests of what the run left behind."""

    result: NotebookResult
    autograded: str | None = None
    feedback: str | None = None


def enqueue_received(session: Session, event: SubmissionReceived) -> None:
    """Queue the first run of a new submission, in the transaction that stores it."""
    enqueue(session, event.submission_id, now=event.at)


def finish(
    session: Session,
    claim: Claim,
    findings: Sequence[Finding],
    *,
    now: datetime,
    unsafe: bool = False,
) -> bool:
    """Store a run's results, all or none; False when the claim has been superseded."""
    run = hold(session, claim)
    if run is None:
        return False
    results = [finding.result for finding in findings]
    worst = gravest(results)
    run.status = worst.status
    run.score, run.max_score = total(results)
    run.integrity = weakest(results)
    run.reason = None if worst.reason is None else worst.reason.to_json()
    run.finished_at, run.lease_expires_at, run.unsafe = now, None, unsafe
    for finding in findings:
        session.add(_notebook_run(run.id, finding))
    session.flush()
    publish(session, RunFinished(run_id=run.id, submission_id=run.submission_id))
    return True


def fail(session: Session, claim: Claim, reason: Sentence, *, now: datetime) -> bool:
    """End a run that could not be graded at all, with the reason; False when superseded."""
    run = hold(session, claim)
    if run is None:
        return False
    run.status, run.reason = RunStatus.CRASHED, reason.to_json()
    run.finished_at, run.lease_expires_at = now, None
    publish(session, RunFinished(run_id=run.id, submission_id=run.submission_id))
    return True


def latest_run(session: Session, submission_id: int) -> Run | None:
    """Return the newest run of the submission."""
    return runs_of(session, [submission_id]).get(submission_id)


def runs_of(session: Session, submission_ids: Iterable[int]) -> dict[int, Run]:
    """Return the newest run of each submission, by submission."""
    wanted = list(submission_ids)
    if not wanted:
        return {}
    newest = (
        select(Run.submission_id, func.max(Run.number).label("number"))
        .where(Run.submission_id.in_(wanted))
        .group_by(Run.submission_id)
        .subquery()
    )
    runs = session.scalars(
        select(Run).join(
            newest,
            (newest.c.submission_id == Run.submission_id) & (newest.c.number == Run.number),
        )
    )
    return {run.submission_id: run for run in runs}


def load_results(session: Session, run: Run) -> None:
    """Load a run's notebooks and their cells at once, for a page that shows all of them."""
    session.execute(
        select(Run)
        .where(Run.id == run.id)
        .options(selectinload(Run.notebooks).selectinload(NotebookRun.cells))
        .execution_options(populate_existing=True)
    ).scalars().all()


def queue_position(session: Session, run: Run) -> int:
    """Return how many runs are ahead of a queued one; 0 means it is next."""
    ahead = session.scalar(
        select(func.count())
        .select_from(Run)
        .where(
            Run.status == RunStatus.QUEUED,
            (Run.queued_at < run.queued_at)
            | ((Run.queued_at == run.queued_at) & (Run.id < run.id)),
        )
    )
    return ahead or 0


def regrade(session: Session, submission_id: int, *, actor: Actor, now: datetime) -> Run:
    """Queue one more run of a submission; a run still under way is returned instead."""
    submission, task = get_submission(session, submission_id, actor=actor)
    actor.require("submission:regrade", task.offering_id)
    current = latest_run(session, submission.id)
    if current is not None and current.status in {RunStatus.QUEUED, RunStatus.RUNNING}:
        return current
    return enqueue(session, submission.id, now=now)


def find_feedback(session: Session, blobs: BlobStore, run: Run, notebook: str) -> bytes:
    """Return the feedback page of one notebook of a run; raises NotFoundError."""
    digest = session.scalar(
        select(NotebookRun.feedback).where(
            NotebookRun.run_id == run.id, NotebookRun.notebook == notebook
        )
    )
    if digest is None:
        raise NotFoundError(
            sentence("There is no feedback for this notebook; its status says why.")
        )
    return blobs.get(digest)


def _notebook_run(run_id: int, finding: Finding) -> NotebookRun:
    result = finding.result
    return NotebookRun(
        run_id=run_id,
        notebook=result.notebook,
        status=result.status,
        integrity=result.integrity,
        score=result.score,
        max_score=result.max_score,
        reason=None if result.reason is None else result.reason.to_json(),
        autograded=finding.autograded,
        feedback=finding.feedback,
        cells=[
            CellScore(
                grade_id=cell.grade_id,
                auto_score=cell.auto_score,
                max_score=cell.max_score,
                needs_manual=cell.needs_manual,
                comment=cell.comment,
            )
            for cell in result.cells
        ],
    )
