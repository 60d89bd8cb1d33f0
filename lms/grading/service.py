"""Use cases of grading: record what a run found, look at runs, grade again."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from lms.catalogue.models import OfferedAssignment, Offering
from lms.exchange.events import SubmissionReceived
from lms.exchange.models import Submission
from lms.exchange.service import get_submission
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import ForbiddenError, NotFoundError
from lms.foundation.events import publish
from lms.grading.cache import Recipe, remember
from lms.grading.events import RunFinished
from lms.grading.models import CellScore, NotebookRun, Run
from lms.grading.queue import Claim, enqueue, hold
from lms.grading.rules import gravest, hold_reason, total, weakest
from lms.grading.runs import latest_run, load_results, queue_position, runs_of
from lms.grading.values import Finding, detail_json, sentence_json
from lms.identity.scopes import Actor
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import Sentence, sentence

__all__ = [
    "Finding",
    "check_shown",
    "enqueue_received",
    "fail",
    "find_feedback",
    "finish",
    "latest_run",
    "load_results",
    "queue_position",
    "regrade",
    "runs_of",
]


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
    recipe: Recipe | None = None,
) -> bool:
    """Store a run's results, all or none; False when the claim has been superseded.

    What nobody could verify is held for a person. With the `recipe` that they follow from, the
    results are kept for whoever hands in the same bytes.
    """
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
    run.recipe = None if recipe is None else recipe.to_json()
    why = hold_reason(results, practice=_is_practice(session, run))
    run.held, run.hold_reason = why is not None, sentence_json(why)
    rows = [_notebook_run(run.id, finding) for finding in findings]
    session.add_all(rows)
    session.flush()
    # They are all there is: nobody has to ask the database for them again.
    set_committed_value(run, "notebooks", rows)
    if recipe is not None:
        remember(session, recipe, run, findings, now=now)
    publish(session, RunFinished(run_id=run.id, submission_id=run.submission_id))
    return True


def _is_practice(session: Session, run: Run) -> bool:
    practice = session.scalar(
        select(Offering.practice)
        .join(OfferedAssignment, OfferedAssignment.offering_id == Offering.id)
        .join(Submission, Submission.task_id == OfferedAssignment.id)
        .where(Submission.id == run.submission_id)
    )
    return bool(practice)


def fail(session: Session, claim: Claim, reason: Sentence, *, now: datetime) -> bool:
    """End a run that could not be graded at all, with the reason; False when superseded."""
    run = hold(session, claim)
    if run is None:
        return False
    run.status, run.reason = RunStatus.CRASHED, reason.to_json()
    run.finished_at, run.lease_expires_at = now, None
    publish(session, RunFinished(run_id=run.id, submission_id=run.submission_id))
    return True


def regrade(
    session: Session, submission_id: int, *, actor: Actor, now: datetime, fresh: bool = False
) -> Run:
    """Queue one more run of a submission; a run still under way is returned instead.

    It is graded against the release of the run that counts. `fresh` runs it even if the result of
    the same bytes is known.
    """
    submission, task = get_submission(session, submission_id, actor=actor)
    actor.require("submission:regrade", task.offering_id)
    current = latest_run(session, submission.id)
    if current is not None and current.status in {RunStatus.QUEUED, RunStatus.RUNNING}:
        return current
    run = enqueue(session, submission.id, now=now)
    run.release_id = None if current is None else current.release_id
    run.fresh = fresh
    session.flush()
    return run


def check_shown(run: Run | None) -> None:
    """Raise ForbiddenError while a run is held: its student sees neither score nor feedback."""
    if run is not None and run.held:
        raise ForbiddenError(
            sentence("A person looks at this submission first; its feedback is here after that.")
        )


def find_feedback(
    session: Session, blobs: BlobStore, run: Run, notebook: str, *, for_staff: bool = False
) -> bytes:
    """Return the feedback page of one notebook of a run; raises NotFoundError.

    While a run is held only staff may read it: raises ForbiddenError for its student.
    """
    if not for_staff:
        check_shown(run)
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
        reason=sentence_json(result.reason),
        integrity_reason=sentence_json(result.integrity_reason),
        detail=detail_json(result.detail),
        autograded=finding.autograded,
        feedback=finding.feedback,
        cells=[
            CellScore(
                grade_id=cell.grade_id,
                auto_score=cell.auto_score,
                max_score=cell.max_score,
                needs_manual=cell.needs_manual,
                comment=cell.comment,
                integrity=cell.integrity,
                integrity_reason=sentence_json(cell.integrity_reason),
            )
            for cell in result.cells
        ],
    )
