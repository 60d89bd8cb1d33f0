"""How far central believes a centre: a sample graded again, and what happens to a revoked one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from lms.centre.batch import chunks
from lms.centre.models import Centre, CentreOrigin, CentreRecord, CentreResult
from lms.centre.results import hold
from lms.centre.rules import CentreState, RecordState, ResultState, is_sampled
from lms.foundation.signing import Signer
from lms.grading.events import RunFinished
from lms.grading.models import CellScore, NotebookRun, Run
from lms.grading.queue import enqueue_opinions
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import sentence

#: Ends that say something about this machine rather than about the work.
_OURS = frozenset({RunStatus.CRASHED, RunStatus.OUT_OF_MEMORY, RunStatus.TIMED_OUT})


@dataclass(frozen=True, slots=True)
class Seeds:
    """Makes a sample's seed of a checkpoint's signature.

    It is itself a signature: the centre cannot know it before it has signed, and with central's
    public key anybody can see afterwards that it was not chosen.
    """

    signer: Signer

    def __call__(self, checkpoint: str) -> str:
        """Return the seed."""
        return self.signer.sign({"format": "seodang-sample/1", "checkpoint": checkpoint})


def sample(
    session: Session, results: Mapping[int, str], seed: str, rate: float, *, now: datetime
) -> None:
    """Have central grade again what the sample holds of results, records' names by their runs."""
    drawn = [run for run, record in results.items() if is_sampled(seed, record, rate)]
    check(session, drawn, now=now)


def check(session: Session, runs: Iterable[int], *, now: datetime) -> None:
    """Queue central's own runs of results; nobody's score, only second opinions."""
    for some in chunks(runs):
        found = session.execute(
            select(CentreResult, Run.submission_id, Run.release_id)
            .join(Run, Run.id == CentreResult.run_id)
            .where(CentreResult.run_id.in_(some))
            .order_by(CentreResult.run_id)
        ).all()
        wanted = [(submission, release) for _result, submission, release in found]
        for (result, *_), again in zip(
            found, enqueue_opinions(session, wanted, now=now), strict=True
        ):
            result.audit_run_id, result.state = again, ResultState.SAMPLED
    session.flush()


def check_all(session: Session, centre: Centre, offering_id: int, *, now: datetime) -> int:
    """Grade again all that a centre graded in an offering and nobody has yet; returns how many.

    For what a certificate hangs on, a sample is not enough.
    """
    runs = session.scalars(
        select(CentreResult.run_id)
        .join(Run, Run.id == CentreResult.run_id)
        .where(
            CentreResult.centre == centre.id,
            CentreResult.state == ResultState.PROVISIONAL,
            Run.offering_id == offering_id,
        )
    ).all()
    check(session, runs, now=now)
    return len(runs)


def on_run(session: Session, event: RunFinished) -> None:
    """Compare central's run with the centre's, in the transaction that ends it.

    Where they differ both are kept, and the centre's score waits for a person.
    """
    result = session.scalar(select(CentreResult).where(CentreResult.audit_run_id == event.run_id))
    if result is None:
        return
    ours = session.get_one(Run, event.run_id)
    theirs = session.get_one(Run, result.run_id)
    result.checked_at = ours.finished_at
    if ours.status in _OURS and theirs.status != ours.status:
        result.state = ResultState.PROVISIONAL
        return
    if _outcome(session, ours) == _outcome(session, theirs):
        result.state = ResultState.CONFIRMED
        return
    result.state = ResultState.DISPUTED
    theirs.hold_reason = sentence(
        "Central graded the same files again and came to %(ours)s points, the centre to "
        "%(theirs)s. Both runs are kept; decide which one is right.",
        ours=f"{ours.score or 0:g}",
        theirs=f"{theirs.score or 0:g}",
    ).to_json()
    hold(session, theirs, now=ours.finished_at or theirs.queued_at)


def _outcome(session: Session, run: Run) -> tuple[object, ...]:
    cells = session.execute(
        select(NotebookRun.notebook, CellScore.grade_id, CellScore.auto_score, CellScore.max_score)
        .join(CellScore, CellScore.notebook_run_id == NotebookRun.id)
        .where(NotebookRun.run_id == run.id)
        .order_by(NotebookRun.notebook, CellScore.grade_id)
    )
    return (run.status, run.score, *(tuple(cell) for cell in cells))


def revoke(session: Session, centre: Centre, reason: str, *, now: datetime) -> int:
    """Trust a centre no longer; returns how many submissions are marked as its.

    What has come and was not applied yet is kept apart, and so is all that comes later.
    """
    if centre.state != CentreState.REVOKED:
        centre.state, centre.revoked_at = CentreState.REVOKED, now
        centre.revoked_reason, centre.secret_hash = reason.strip(), None
    session.execute(
        update(CentreRecord)
        .where(
            CentreRecord.centre == centre.id,
            CentreRecord.state.in_([RecordState.NEW, RecordState.WAITING]),
        )
        .values(state=RecordState.QUARANTINED)
    )
    marked = session.scalars(
        update(CentreOrigin)
        .where(CentreOrigin.centre == centre.id, CentreOrigin.marked_at.is_(None))
        .values(marked_at=now)
        .returning(CentreOrigin.submission_id)
        .execution_options(synchronize_session=False)
    ).all()
    session.flush()
    return len(marked)
