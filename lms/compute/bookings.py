"""Reservations: seats for a class at a time, and slots that people book for themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.compute.errors import (
    CannotReserveError,
    ReservationNotFoundError,
    TooManyBookingsError,
)
from lms.compute.models import Lease, Reservation
from lms.compute.queue import advance, list_reservations, one_at_a_time, read_pool
from lms.compute.rules import LeaseState, Need, Pool, Seats
from lms.compute.seats import count_bookings, require_promise
from lms.foundation.errors import ConflictError, InvalidError
from lms.identity.scopes import Actor
from lms.protocol.sentences import Sentence, sentence

#: A class or a booking is no longer than this.
LONGEST = timedelta(hours=12)
#: How far ahead one can book for oneself, and how long, and where bookings may begin.
AHEAD, LENGTH, GRID = timedelta(hours=24), timedelta(hours=1), timedelta(minutes=30)
#: Hours one person can book in a week, and after how many unused ones no more.
BOOKINGS, UNUSED_BOOKINGS = 7, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What is to be kept, and when."""

    need: Need
    seats: int
    starts_at: datetime
    ends_at: datetime


def reserve(
    session: Session, slot: Slot, *, offering_id: int, actor: Actor, now: datetime
) -> Reservation:
    """Keep seats for an offering's people; raises CannotReserveError when there are not so many.

    A lease that would run into the reservation's time and stand in its way ends when it begins.
    Raises PromiseExceededError when an instructor keeps more than the class may.
    """
    actor.require("compute:reserve", offering_id)
    return _reserve(session, slot, offering_id, None, actor, now)


def book(session: Session, slot: Slot, *, actor: Actor, now: datetime) -> Reservation:
    """Keep one place for the actor in the next hours, in place of the one booked before."""
    if slot.starts_at - now > AHEAD or slot.ends_at - slot.starts_at > LENGTH or slot.seats != 1:
        raise InvalidError(
            sentence("One can book one place, for an hour at most, within the next 24 hours.")
        )
    one_at_a_time(session)
    if not may_book(session, actor.person_id, now=now):
        raise TooManyBookingsError(BOOKINGS, UNUSED_BOOKINGS)
    for old in list_reservations(session, now=now):
        if old.person_id == actor.person_id:
            _drop(session, old, now)
    return _reserve(session, slot, None, actor.person_id, actor, now)


def may_book(session: Session, person_id: int, *, now: datetime) -> bool:
    """Say whether the week's bookings of the person are not used up, nor left unused."""
    made, unused = count_bookings(session, person_id, now=now)
    return made < BOOKINGS and unused < UNUSED_BOOKINGS


def cancel(session: Session, reservation_id: int, *, actor: Actor, now: datetime) -> None:
    """Give the seats back to everybody; raises ReservationNotFoundError."""
    one_at_a_time(session)
    found = session.get(Reservation, reservation_id)
    if found is None or found.ends_at <= now or found.cancelled_at is not None:
        raise ReservationNotFoundError
    if found.person_id != actor.person_id:
        actor.require("compute:reserve", found.offering_id)
    _drop(session, found, now)
    advance(session, now=now)


def find_slot(session: Session, need: Need, *, now: datetime) -> Slot | None:
    """Return the next hour that can be booked; None when there is none within a day."""
    pool = read_pool(session, now=now)
    start = now + GRID - timedelta(seconds=now.timestamp() % GRID.total_seconds())
    while start - now <= AHEAD:
        slot = Slot(need=need, seats=1, starts_at=start, ends_at=start + LENGTH)
        if can_keep(pool, slot):
            return slot
        start += GRID
    return None


def can_keep(pool: Pool, slot: Slot, *, against_leases: bool = True) -> bool:
    """Say whether the seats can be kept beside all other reservations, and beside the leases."""
    seats = Seats(
        id=0, need=slot.need, count=slot.seats, starts_at=slot.starts_at, ends_at=slot.ends_at
    )
    holds = pool.holds if against_leases else ()
    tried = replace(pool, holds=holds, seats=[*pool.seats, seats])
    others = [one.starts_at for one in pool.seats if slot.starts_at < one.starts_at < slot.ends_at]
    return all(tried.keeps_promises(at) for at in (slot.starts_at, *others))


def _reserve(
    session: Session,
    slot: Slot,
    offering_id: int | None,
    person_id: int | None,
    actor: Actor,
    now: datetime,
) -> Reservation:
    one_at_a_time(session)
    made = Reservation(
        offering_id=offering_id,
        person_id=person_id,
        need=slot.need,
        seats=slot.seats,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
        asked_seats=slot.seats,
        asked_until=slot.ends_at,
        made_at=now,
        made_by=actor.person_id or None,
    )
    _require_room(session, made, actor, now)
    session.add(made)
    session.flush()
    _make_way(session, made, now)
    return made


def _require_room(session: Session, wanted: Reservation, actor: Actor, now: datetime) -> None:
    slot = Slot(
        need=Need(wanted.need),
        seats=wanted.seats,
        starts_at=wanted.starts_at,
        ends_at=wanted.ends_at,
    )
    _check(slot, now)
    pool = read_pool(session, now=now)
    if not can_keep(pool, slot, against_leases=False):
        raise CannotReserveError(slot.seats)
    offering_id = wanted.offering_id
    if offering_id is not None and not actor.may("compute:manage", offering_id):
        require_promise(session, offering_id, wanted, pool.sizes)


def problem_with(
    session: Session, slot: Slot, *, offering_id: int, actor: Actor, now: datetime
) -> Sentence | None:
    """Return why `reserve` would refuse the slot, None when it would not; it only reads."""
    wanted = Reservation(
        offering_id=offering_id,
        need=slot.need,
        seats=slot.seats,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
    )
    try:
        _require_room(session, wanted, actor, now)
    except (InvalidError, ConflictError) as error:
        return error.sentence
    return None


def _check(slot: Slot, now: datetime) -> None:
    if slot.seats < 1 or not now < slot.ends_at or slot.ends_at <= slot.starts_at:
        raise InvalidError(
            sentence("A reservation needs a seat or more, and an end that is to come.")
        )
    if slot.ends_at - slot.starts_at > LONGEST:
        raise InvalidError(
            sentence("A reservation lasts %(hours)s hours at most.", hours=_hours(LONGEST))
        )


def _hours(span: timedelta) -> float:
    return span.total_seconds() / 3600


def _make_way(session: Session, made: Reservation, now: datetime) -> None:
    """Let leases that stand in the way end when the reservation begins, the newest first."""
    at = max(made.starts_at, now)
    running = session.scalars(
        select(Lease)
        .where(Lease.state == LeaseState.GRANTED, Lease.until > at)
        .order_by(Lease.granted_at.desc(), Lease.id)
    ).all()
    for lease in running:
        if read_pool(session, now=now).keeps_promises(at):
            return
        if lease.reservation_id is None:
            # With a moment to be warned even when the class begins at once.
            lease.until = max(at, now + timedelta(minutes=5))
            session.flush()


def _drop(session: Session, found: Reservation, now: datetime) -> None:
    # The row stays: leases name it, and what was kept and not used counts.
    found.cancelled_at = now
    if found.starts_at <= now:
        found.ends_at = now
    session.flush()


def list_upcoming(
    session: Session, offering_ids: Sequence[int] | None, *, now: datetime
) -> list[Reservation]:
    """Return the reservations still to end, of some offerings or of all."""
    return [
        one
        for one in list_reservations(session, now=now)
        if offering_ids is None or one.offering_id in offering_ids
    ]
