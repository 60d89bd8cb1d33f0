"""The queue in the database: claim by compare-and-set, lease, fencing, hand back."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select, text, tuple_, update
from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment
from lms.exchange.models import Submission
from lms.foundation.events import publish
from lms.grading.events import RunFinished
from lms.grading.models import Run
from lms.grading.order import next_runs
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import sentence

#: How long a worker may be silent before its run is taken up again.
LEASE = timedelta(seconds=60)
#: A submission that has cost this many workers their life is set aside for a person.
MAX_INTERRUPTIONS = 3
#: Run.priority; within one, see lms.grading.order.
EXAM, ORDINARY, PREVIEW = 10, 0, -10
#: Run.resource of runs that no worker can do as long as their environment is not built.
PARKED = "parked"
#: Begins Run.environment of parked runs whose hidden tests are still sealed; their release's digest
#: ends it.
SEALED = "sealed:"
#: Any number, the same in every worker: PostgreSQL lets one of them claim at a time.
_CLAIM_LOCK = 0x5E0D_0001
#: Run and submission.
_Ended = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's right to a run until the lease expires; `number` is the fence."""

    run_id: int
    submission_id: int
    number: int
    worker: str


def enqueue(
    session: Session,
    submission_id: int,
    *,
    now: datetime,
    preview: bool = False,
    release_id: int | None = None,
    fresh: bool = False,
) -> Run:
    """Queue a new run of the submission, in the place its offering and assignment give it."""
    last = session.scalar(select(func.max(Run.number)).where(Run.submission_id == submission_id))
    place = session.execute(
        select(OfferedAssignment.offering_id, OfferedAssignment.exam, Assignment.resource)
        .join(Submission, Submission.task_id == OfferedAssignment.id)
        .join(Assignment, Assignment.id == OfferedAssignment.assignment_id)
        .where(Submission.id == submission_id)
    ).one()
    urgent = EXAM if place.exam else ORDINARY
    run = Run(
        submission_id=submission_id,
        number=(last or 0) + 1,
        status=RunStatus.QUEUED,
        queued_at=now,
        claim=0,
        interruptions=0,
        unsafe=False,
        offering_id=place.offering_id,
        priority=PREVIEW if preview else urgent,
        resource=place.resource,
        release_id=release_id,
        preview=preview,
        fresh=fresh,
    )
    session.add(run)
    session.flush()
    return run


def enqueue_opinions(
    session: Session, wanted: Sequence[tuple[int, int | None]], *, now: datetime
) -> list[int]:
    """Queue second opinions on many submissions, each against a release (None: its own).

    They run anew and are nobody's score. Returns the runs' ids, in that order.
    """
    places = _places(session, [submission for submission, _release in wanted])
    before = Counter[int]()
    runs = []
    for submission, release in wanted:
        before[submission] += 1
        runs.append(
            Run(
                submission_id=submission,
                number=places[submission].last + before[submission],
                status=RunStatus.QUEUED,
                queued_at=now,
                offering_id=places[submission].offering_id,
                priority=PREVIEW,
                resource=places[submission].resource,
                release_id=release,
                preview=True,
                fresh=True,
            )
        )
    session.add_all(runs)
    session.flush()
    return [run.id for run in runs]


def _places(session: Session, submissions: Collection[int]) -> dict[int, Any]:
    """Return each submission's offering, resource and last run's number."""
    rows = session.execute(
        select(
            Submission.id,
            OfferedAssignment.offering_id,
            Assignment.resource,
            func.coalesce(func.max(Run.number), 0).label("last"),
        )
        .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
        .join(Assignment, Assignment.id == OfferedAssignment.assignment_id)
        .outerjoin(Run, Run.submission_id == Submission.id)
        .where(Submission.id.in_(submissions))
        .group_by(Submission.id, OfferedAssignment.offering_id, Assignment.resource)
    )
    return {row.id: row for row in rows}


def has_work(session: Session, *, resource: str = "cpu", now: datetime) -> bool:
    """Say whether a claim would find anything; it only reads, so idle workers disturb nobody."""
    queued = select(Run.id).where(Run.status == RunStatus.QUEUED, Run.resource == resource)
    silent = select(Run.id).where(Run.status == RunStatus.RUNNING, Run.lease_expires_at < now)
    return bool(session.scalar(select(queued.exists() | silent.exists())))


def claim_next(
    session: Session, worker: str, *, now: datetime, count: int = 1, resource: str = "cpu"
) -> list[Claim]:
    """Claim the next `count` queued runs, in the queue's order; fewer when there are fewer.

    What a worker that fell silent had held is queued again first.
    """
    _one_at_a_time(session)
    set_aside = _take_back_silent(session, now=now)
    ids = next_runs(session, resource=resource, count=count)
    won = session.execute(
        update(Run)
        .where(Run.id.in_(ids), Run.status == RunStatus.QUEUED)
        .values(
            status=RunStatus.RUNNING,
            claim=Run.claim + 1,
            claimed_by=worker,
            started_at=now,
            lease_expires_at=now + LEASE,
        )
        .returning(Run.id, Run.submission_id, Run.claim)
        .execution_options(synchronize_session=False)
    ).all()
    _announce(session, set_aside)
    claims = [
        Claim(run_id=row.id, submission_id=row.submission_id, number=row.claim, worker=worker)
        for row in won
    ]
    return sorted(claims, key=lambda claim: ids.index(claim.run_id))


def renew(session: Session, claims: Collection[Claim], *, now: datetime) -> set[int]:
    """Extend the leases in one statement; returns the runs that have gone to another worker."""
    kept = session.scalars(
        update(Run)
        .where(_held(claims))
        .values(lease_expires_at=now + LEASE)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    return {claim.run_id for claim in claims} - set(kept)


def hand_back(
    session: Session, claims: Collection[Claim], *, now: datetime, interrupted: bool
) -> int:
    """Return runs unfinished, for our own reasons: they are queued again in their old places.

    `interrupted` counts it against MAX_INTERRUPTIONS: grading itself broke, rather than a stop or a
    missing sandbox. Returns how many; claims that have been superseded are left alone.
    """
    if interrupted:
        returned, set_aside = _interrupt(session, _held(claims), now=now)
        _announce(session, set_aside)
        return returned
    return len(_queue_again(session, _held(claims), interruptions=Run.interruptions))


def park(session: Session, claim: Claim, requirements: str) -> bool:
    """Set a run aside until the environment of the requirements is built; it keeps its place.

    Our fault and not the student's: it counts for nothing. Returns whether the claim still held.
    """
    parked = session.scalars(
        update(Run)
        .where(_held([claim]))
        .values(
            status=RunStatus.QUEUED,
            resource=PARKED,
            environment=requirements,
            claimed_by=None,
            started_at=None,
            lease_expires_at=None,
        )
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    return bool(parked)


def park_sealed(session: Session, claim: Claim, release: str) -> bool:
    """Set a run aside until the hidden tests of its release are open, as `park` does."""
    return park(session, claim, SEALED + release.removeprefix("sha256:"))


def unpark_sealed(session: Session, release: str) -> int:
    """Put back the runs that waited for the hidden tests of a release; returns how many."""
    return unpark(session, SEALED + release.removeprefix("sha256:"))


def parked(session: Session) -> dict[str, int]:
    """Return how many runs wait for which environment, by the digest of its requirements."""
    rows = session.execute(
        select(Run.environment, func.count())
        .where(Run.status == RunStatus.QUEUED, Run.resource == PARKED)
        .group_by(Run.environment)
    )
    return {row[0]: row[1] for row in rows}


def unpark(session: Session, requirements: str) -> int:
    """Put the runs that waited for this environment back into their places; returns how many."""
    kind = (
        select(Assignment.resource)
        .join(OfferedAssignment, OfferedAssignment.assignment_id == Assignment.id)
        .join(Submission, Submission.task_id == OfferedAssignment.id)
        .where(Submission.id == Run.submission_id)
        .scalar_subquery()
    )
    back = session.scalars(
        update(Run)
        .where(
            Run.status == RunStatus.QUEUED,
            Run.resource == PARKED,
            Run.environment == requirements,
        )
        .values(resource=kind, environment="")
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    ).all()
    return len(back)


def release_own(session: Session, worker: str, *, now: datetime) -> int:
    """Queue again what a worker of this name held when it was killed; returns how many.

    A worker calls it at its start: no other of its name can be at work, and were there one, the
    fence would refuse its results.
    """
    own = (Run.status == RunStatus.RUNNING) & (Run.claimed_by == worker)
    returned, set_aside = _interrupt(session, own, now=now)
    _announce(session, set_aside)
    return returned


def hold(session: Session, claim: Claim) -> Run | None:
    """Return the claimed run, locked, or None when the claim is no longer the newest."""
    return session.scalar(
        select(Run)
        .where(Run.id == claim.run_id, Run.claim == claim.number, Run.status == RunStatus.RUNNING)
        .with_for_update()
    )


def _one_at_a_time(session: Session) -> None:
    # Two workers that choose at once would choose the same runs, and neither would see what the
    # other's choice adds to the offerings' shares. SQLite has one writer anyway.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})


def _held(claims: Iterable[Claim]) -> ColumnElement[bool]:
    pairs = [(claim.run_id, claim.number) for claim in claims]
    return (Run.status == RunStatus.RUNNING) & tuple_(Run.id, Run.claim).in_(pairs)


def _take_back_silent(session: Session, *, now: datetime) -> list[_Ended]:
    silent = session.scalars(
        select(Run.id)
        .where(Run.status == RunStatus.RUNNING, Run.lease_expires_at < now)
        .with_for_update(skip_locked=True)
    ).all()
    if not silent:
        return []
    _returned, set_aside = _interrupt(
        session, (Run.status == RunStatus.RUNNING) & Run.id.in_(silent), now=now
    )
    return set_aside


def _interrupt(
    session: Session, which: ColumnElement[bool], *, now: datetime
) -> tuple[int, list[_Ended]]:
    """Queue the runs again, but for those that have cost too many workers their life already.

    Returns how many were returned either way, and the rows that were set aside.
    """
    # Without this, one notebook that takes its worker down with it would stop the queue for ever.
    reason = sentence(
        "Grading stopped %(count)s times while running this notebook. This one is on us: "
        "the submission is kept and a person will look at it.",
        count=MAX_INTERRUPTIONS,
    )
    set_aside = session.execute(
        update(Run)
        .where(which, Run.interruptions >= MAX_INTERRUPTIONS - 1)
        .values(
            status=RunStatus.CRASHED,
            claim=Run.claim + 1,
            interruptions=Run.interruptions + 1,
            finished_at=now,
            lease_expires_at=None,
            reason=reason.to_json(),
        )
        .returning(Run.id, Run.submission_id)
        .execution_options(synchronize_session=False)
    ).all()
    again = _queue_again(session, which, interruptions=Run.interruptions + 1)
    return len(again) + len(set_aside), [(row[0], row[1]) for row in set_aside]


def _queue_again(
    session: Session, which: ColumnElement[bool], *, interruptions: object
) -> list[int]:
    returned = session.scalars(
        update(Run)
        .where(which)
        .values(
            status=RunStatus.QUEUED,
            claim=Run.claim + 1,
            claimed_by=None,
            started_at=None,
            lease_expires_at=None,
            interruptions=interruptions,
        )
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return list(returned.all())


def _announce(session: Session, ended: Iterable[_Ended]) -> None:
    # Last in the transaction: who hears of it takes the audit log's lock.
    for run_id, submission_id in ended:
        publish(session, RunFinished(run_id=run_id, submission_id=submission_id))
