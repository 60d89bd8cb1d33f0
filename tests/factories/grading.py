"""Builders of what grading finds: claims, cells, results."""

from datetime import datetime

from sqlalchemy.orm import Session

from lms.exchange.models import Submission
from lms.grading.models import Run
from lms.grading.queue import LEASE, Claim, enqueue
from lms.grading.values import Finding
from lms.protocol.grading import CellResult, Integrity, NotebookResult, RunStatus
from lms.protocol.sentences import Sentence, sentence


def claim_of(session: Session, run: Run, now: datetime, worker: str = "w") -> Claim:
    """Claim exactly this queued run."""
    run.status, run.claim, run.claimed_by = RunStatus.RUNNING, run.claim + 1, worker
    run.started_at, run.lease_expires_at = now, now + LEASE
    session.flush()
    return Claim(run_id=run.id, submission_id=run.submission_id, number=run.claim, worker=worker)


def claimed(session: Session, submission: Submission, now: datetime) -> Claim:
    """Queue a run of the submission and claim it."""
    return claim_of(session, enqueue(session, submission.id, now=now), now)


def finding(
    integrity: Integrity = Integrity.VERIFIED,
    status: RunStatus = RunStatus.GRADED,
    *,
    score: float = 2.0,
    notebook: str = "ps1",
    why: Sentence | None = None,
    **files: str,
) -> Finding:
    """Return one notebook's finding: `q1` of 2 points is tested, `q2` of 3 waits for a person."""
    doubtful = integrity is not Integrity.VERIFIED
    if doubtful and why is None:
        why = sentence("The test %(cell)s needs the student's own interpreter.", cell="q1")
    tested = CellResult(
        grade_id="q1",
        auto_score=score,
        max_score=2.0,
        needs_manual=False,
        integrity=integrity,
        integrity_reason=why,
    )
    written = CellResult(grade_id="q2", auto_score=None, max_score=3.0, needs_manual=True)
    result = NotebookResult(
        notebook=notebook,
        status=status,
        integrity=integrity,
        score=score,
        max_score=5.0,
        reason=None if status is RunStatus.GRADED else sentence("It went on for ever."),
        cells=(tested, written),
        integrity_reason=why,
    )
    return Finding(result=result, **files)
