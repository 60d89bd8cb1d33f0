"""How much of the machine a class may keep, and what becomes of seats that nobody takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from lms.compute import changes
from lms.compute.changes import UNSAID, Kind, Mark, Values
from lms.compute.errors import PromiseExceededError
from lms.compute.models import GpuPromise, Lease, Reservation
from lms.compute.queue import advance, one_at_a_time
from lms.compute.rules import Cause, Need, Size, hours_between, week_of, week_start
from lms.identity.scopes import Actor

#: How long after its start seats are kept for those who have not come.
GRACE = timedelta(minutes=15)
#: Without an operator's word: hours a week for which a class may keep its most seats.
USUAL_HOURS = 8.0
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What an offering's instructors may keep; a whole GPU counts as its slices."""

    seats_at_once: int
    seat_hours_a_week: float


def promise_of(session: Session, offering_id: int, sizes: Sequence[Size]) -> Promise:
    """Return what an operator allowed the offering, or half of the machine for eight hours."""
    found = session.get(GpuPromise, offering_id)
    if found is not None:
        return Promise(seats_at_once=found.seats_at_once, seat_hours_a_week=found.seat_hours_a_week)
    half = max(1, sum(size.slots for size in sizes) // 2)
    return Promise(seats_at_once=half, seat_hours_a_week=USUAL_HOURS * half)


def set_promise(
    session: Session,
    offering_id: int,
    promise: Promise | None,
    *,
    actor: Actor,
    now: datetime,
    mark: Mark = UNSAID,
) -> None:
    """Set what the offering's instructors may keep; None: half of the machine, as for others."""
    actor.require("compute:manage", offering_id)
    found = session.get(GpuPromise, offering_id)
    before = None if found is None else _values(found)
    if promise is None:
        if found is not None:
            session.delete(found)
    else:
        found = session.merge(
            GpuPromise(
                offering_id=offering_id,
                seats_at_once=promise.seats_at_once,
                seat_hours_a_week=promise.seat_hours_a_week,
                set_at=now,
                set_by=actor.person_id or None,
            )
        )
    session.flush()
    after = None if promise is None or found is None else _values(found)
    changes.note(
        session, (offering_id, None), Kind.SEATS, (before, after),
        mark=mark, by=actor.person_id, at=now,
    )  # fmt: skip


def _values(one: GpuPromise) -> Values:
    return {
        "seats_at_once": float(one.seats_at_once),
        "seat_hours_a_week": float(one.seat_hours_a_week),
    }


def weight_of(need: str, sizes: Sequence[Size]) -> int:
    """Return as how many seats one of `need` counts."""
    whole = [size.slots for size in sizes if not size.is_part]
    return max(whole, default=1) if need == Need.WHOLE else 1


def kept_hours(session: Session, offering_id: int, at: datetime, sizes: Sequence[Size]) -> float:
    """Return the seat-hours that the offering keeps in the week of `at`.

    What was given back before it began does not count; seats that nobody took do.
    """
    start = week_start(week_of(at))
    rows = session.scalars(
        select(Reservation).where(
            Reservation.offering_id == offering_id,
            Reservation.starts_at >= start,
            Reservation.starts_at < start + _WEEK,
            Reservation.cancelled_at.is_(None) | (Reservation.cancelled_at > Reservation.starts_at),
        )
    )
    return sum(
        weight_of(one.need, sizes) * one.asked_seats * hours_between(one.starts_at, one.asked_until)
        for one in rows
    )


def require_promise(
    session: Session, offering_id: int, wanted: Reservation, sizes: Sequence[Size]
) -> None:
    """Raise PromiseExceededError when the class may not keep `wanted` beside what it keeps."""
    promise = promise_of(session, offering_id, sizes)
    weight = weight_of(wanted.need, sizes) * wanted.seats
    beside = session.scalars(
        select(Reservation).where(
            Reservation.offering_id == offering_id,
            Reservation.cancelled_at.is_(None),
            Reservation.starts_at < wanted.ends_at,
            Reservation.ends_at > wanted.starts_at,
        )
    )
    at_once = weight + sum(weight_of(one.need, sizes) * one.seats for one in beside)
    hours = weight * hours_between(wanted.starts_at, wanted.ends_at)
    kept = kept_hours(session, offering_id, wanted.starts_at, sizes)
    if at_once > promise.seats_at_once or kept + hours > promise.seat_hours_a_week:
        raise PromiseExceededError(promise.seats_at_once, promise.seat_hours_a_week, kept)


# --- seats that nobody takes ---


def is_turning(session: Session, *, since: datetime, now: datetime) -> bool:
    """Say whether a reservation began, ended or came to be reviewed since; it only reads."""
    turned = (
        _between(Reservation.starts_at.expression, since, now)
        | _between(Reservation.ends_at.expression, since, now)
        | _to_review(now)
    )
    return session.scalar(select(Reservation.id).where(turned).limit(1)) is not None


def _between(
    column: "ColumnElement[datetime]", since: datetime, now: datetime
) -> ColumnElement[bool]:
    return (column > since) & (column <= now)


def _to_review(now: datetime) -> ColumnElement[bool]:
    return (
        Reservation.reviewed_at.is_(None)
        & Reservation.cancelled_at.is_(None)
        & (Reservation.starts_at <= now - GRACE)
        & (Reservation.ends_at > now)
    )


def turn(session: Session, *, now: datetime) -> list[int]:
    """Give seats that nobody came for to everybody, and grant what can be granted now.

    Returns the ids of the reservations that lost seats. A person who has taken a seat keeps it.
    """
    one_at_a_time(session)
    fallen = []
    for one in session.scalars(select(Reservation).where(_to_review(now))).all():
        one.reviewed_at = now
        taken = _taken(session, one.id)
        if taken < one.seats:
            fallen.append(one.id)
            one.seats = taken
            one.ends_at = one.ends_at if taken else now
    session.flush()
    advance(session, now=now)
    return fallen


def _taken(session: Session, reservation_id: int) -> int:
    people = session.scalar(
        select(func.count(func.distinct(Lease.person_id))).where(
            Lease.reservation_id == reservation_id, _has_come()
        )
    )
    return int(people or 0)


def _has_come() -> ColumnElement[bool]:
    return Lease.cause.is_(None) | (Lease.cause != Cause.UNUSED)


def count_bookings(session: Session, person_id: int, *, now: datetime) -> tuple[int, int]:
    """Return how many hours the person booked this week, and how many of them nobody used."""
    rows = session.execute(
        select(
            Reservation.starts_at,
            Reservation.ends_at,
            select(Lease.id).where(Lease.reservation_id == Reservation.id, _has_come()).exists(),
        ).where(
            Reservation.person_id == person_id,
            Reservation.made_at >= week_start(week_of(now)),
        )
    ).all()
    unused = [
        starts
        for starts, ends, used in rows
        if not used and starts <= now and (ends <= now or starts + GRACE <= now)
    ]
    return len(rows), len(unused)
