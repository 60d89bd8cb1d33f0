"""The queue in the database: claim by compare-and-set, lease, fencing, hand back."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from lms.grading.models import Run
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import sentence

#: How long a worker may be silent before its run is taken up again.
LEASE = timedelta(seconds=60)
#: A submission that has cost this many workers their life is set aside for a person.
MAX_INTERRUPTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's right to a run until the lease expires; `number` is the fence."""

    run_id: int
    submission_id: int
    number: int
    worker: str


def enqueue(session: Session, submission_id: int, *, now: datetime) -> Run:
    """Queue a new run of the submission."""
    last = session.scalar(select(func.max(Run.number)).where(Run.submission_id == submission_id))
    run = Run(
        submission_id=submission_id,
        number=(last or 0) + 1,
        status=RunStatus.QUEUED,
        queued_at=now,
        claim=0,
        interruptions=0,
        unsafe=False,
    )
    session.add(run)
    session.flush()
    return run


def claim_next(session: Session, worker: str, *, now: datetime) -> Claim | None:
    """Claim the oldest queued run, or one whose worker fell silent; None when there is none."""
    _set_aside_deadly(session, now=now)
    run = session.scalar(
        select(Run)
        .where(
            or_(
                Run.status == RunStatus.QUEUED,
                (Run.status == RunStatus.RUNNING) & (Run.lease_expires_at < now),
            )
        )
        .order_by(Run.queued_at, Run.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if run is None:
        return None
    taken_over = run.status == RunStatus.RUNNING
    won = session.scalar(
        update(Run)
        .where(Run.id == run.id, Run.claim == run.claim, Run.status == run.status)
        .values(
            status=RunStatus.RUNNING,
            claim=run.claim + 1,
            claimed_by=worker,
            started_at=now,
            lease_expires_at=now + LEASE,
            interruptions=run.interruptions + (1 if taken_over else 0),
        )
        .returning(Run.claim)
        .execution_options(synchronize_session=False)
    )
    if won is None:
        return None
    return Claim(run_id=run.id, submission_id=run.submission_id, number=won, worker=worker)


def renew(session: Session, claim: Claim, *, now: datetime) -> bool:
    """Extend the lease; False when the run has gone to another worker."""
    return _update_held(session, claim, lease_expires_at=now + LEASE)


def hand_back(session: Session, claim: Claim, *, interrupted: bool) -> bool:
    """Return a run unfinished, for our own reasons: it is queued again in its old place.

    `interrupted` counts it against MAX_INTERRUPTIONS: grading itself broke, rather than a stop or a
    missing sandbox. False when the claim has been superseded.
    """
    return _update_held(
        session,
        claim,
        status=RunStatus.QUEUED,
        claimed_by=None,
        started_at=None,
        lease_expires_at=None,
        interruptions=Run.interruptions + (1 if interrupted else 0),
    )


def release_own(session: Session, worker: str) -> int:
    """Queue again what a worker of this name held when it was killed; returns how many.

    A worker calls it at its start: no other of its name can be at work, and were there one, the
    fence would refuse its results.
    """
    held = session.scalars(
        update(Run)
        .where(Run.status == RunStatus.RUNNING, Run.claimed_by == worker)
        .values(
            status=RunStatus.QUEUED,
            claim=Run.claim + 1,
            claimed_by=None,
            started_at=None,
            lease_expires_at=None,
            interruptions=Run.interruptions + 1,
        )
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return len(held.all())


def hold(session: Session, claim: Claim) -> Run | None:
    """Return the claimed run, locked, or None when the claim is no longer the newest."""
    return session.scalar(
        select(Run)
        .where(Run.id == claim.run_id, Run.claim == claim.number, Run.status == RunStatus.RUNNING)
        .with_for_update()
    )


def _update_held(session: Session, claim: Claim, **values: object) -> bool:
    held = session.scalar(
        update(Run)
        .where(Run.id == claim.run_id, Run.claim == claim.number, Run.status == RunStatus.RUNNING)
        .values(**values)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return held is not None


def _set_aside_deadly(session: Session, *, now: datetime) -> None:
    # Without this, one notebook that takes its worker down with it would stop the queue for ever.
    reason = sentence(
        "Grading stopped %(count)s times while running this notebook. This one is on us: "
        "the submission is kept and a person will look at it.",
        count=MAX_INTERRUPTIONS,
    )
    silent = (
        (Run.status == RunStatus.RUNNING)
        & (Run.lease_expires_at < now)
        & (Run.interruptions >= MAX_INTERRUPTIONS - 1)
    )
    handed_back = (Run.status == RunStatus.QUEUED) & (Run.interruptions >= MAX_INTERRUPTIONS)
    session.execute(
        update(Run)
        .where(or_(silent, handed_back))
        .values(
            status=RunStatus.CRASHED,
            claim=Run.claim + 1,
            finished_at=now,
            lease_expires_at=None,
            reason=reason.to_json(),
        )
        .execution_options(synchronize_session=False)
    )
