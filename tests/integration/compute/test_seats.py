"""Seats for classes: how many a course may keep, and what becomes of those that nobody takes."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.models import Offering
from lms.compute import bookings, reconcile, seats, service
from lms.compute.bookings import Slot
from lms.compute.errors import PromiseExceededError, TooManyBookingsError
from lms.compute.models import Lease, Reservation
from lms.compute.rules import Cause, Need, week_start
from lms.foundation.errors import ForbiddenError
from lms.identity.scopes import SYSTEM, Actor, Role
from lms.worker.leases import LeaseKeeper
from tests.factories import actor_of, make_offering, make_person
from tests.factories.compute import ask, make_student, simulated, started
from tests.fakes.broker_leases import FakeGpuBroker
from tests.fakes.clock import Clock

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def monday() -> datetime:
    return week_start(datetime(2026, 11, 23).date()) + 9 * HOUR  # noqa: DTZ001 - a day


@pytest.fixture
def offering(session: Session, monday: datetime) -> Offering:
    """A course at a machine with two GPUs of four slices."""
    reconcile.take_stock(session, simulated(2, 4), now=monday)
    return make_offering(session)


def teacher_of(session: Session, offering: Offering) -> Actor:
    return actor_of(make_person(session), **{f"o{offering.id}": Role.INSTRUCTOR})


def lesson(at: datetime, *, count: int = 4, hours: int = 2, need: Need = Need.SLICE) -> Slot:
    return Slot(need=need, seats=count, starts_at=at, ends_at=at + hours * HOUR)


def test_an_instructor_keeps_half_of_the_machine_at_once_and_no_more(
    session: Session, monday: datetime, offering: Offering
) -> None:
    teacher = teacher_of(session, offering)
    at = monday + HOUR
    with pytest.raises(PromiseExceededError, match="4 seats at once and 32"):
        bookings.reserve(
            session, lesson(at, count=5), offering_id=offering.id, actor=teacher, now=monday
        )
    with pytest.raises(PromiseExceededError):
        bookings.reserve(
            session, lesson(at, count=2, need=Need.WHOLE),
            offering_id=offering.id, actor=teacher, now=monday,
        )  # fmt: skip
    bookings.reserve(session, lesson(at), offering_id=offering.id, actor=teacher, now=monday)
    with pytest.raises(PromiseExceededError):
        bookings.reserve(
            session, lesson(at + HOUR, count=1), offering_id=offering.id, actor=teacher, now=monday
        )
    other = make_offering(session)
    with pytest.raises(ForbiddenError):
        bookings.reserve(session, lesson(at), offering_id=other.id, actor=teacher, now=monday)


def test_a_weeks_seat_hours_run_out_and_an_operator_allows_more(
    session: Session, monday: datetime, offering: Offering
) -> None:
    teacher = teacher_of(session, offering)

    def keep(day: int) -> Reservation:
        slot = lesson(monday + day * 24 * HOUR + HOUR, hours=4)
        return bookings.reserve(session, slot, offering_id=offering.id, actor=teacher, now=monday)

    keep(0)
    last = keep(1)
    with pytest.raises(PromiseExceededError, match="of which 32"):
        keep(2)
    keep(7)
    bookings.cancel(session, last.id, actor=teacher, now=monday)
    keep(2)
    more = seats.Promise(seats_at_once=4, seat_hours_a_week=48)
    with pytest.raises(ForbiddenError):
        seats.set_promise(session, offering.id, more, actor=teacher, now=monday)
    seats.set_promise(session, offering.id, more, actor=SYSTEM, now=monday)
    keep(3)


def test_seats_that_nobody_takes_fall_back_after_a_quarter_of_an_hour_and_count(
    session: Session, monday: datetime, offering: Offering
) -> None:
    teacher = teacher_of(session, offering)
    at = monday + HOUR
    made = bookings.reserve(session, lesson(at), offering_id=offering.id, actor=teacher, now=monday)
    mine = ask(session, make_student(session, offering)[1], offering, now=at, profile="gpu-slice")
    started(session, mine, now=at)
    service.end(session, mine.id, Cause.PERSON, now=at + 10 * MINUTE)
    assert seats.turn(session, now=at + 14 * MINUTE) == []
    assert seats.turn(session, now=at + 15 * MINUTE) == [made.id]
    assert (made.seats, made.asked_seats) == (1, 4), "who came can come back"
    assert seats.kept_hours(session, offering.id, at, []) == 8


def test_a_class_that_does_not_come_ends(
    session: Session, monday: datetime, offering: Offering
) -> None:
    at = monday + HOUR
    made = bookings.reserve(session, lesson(at), offering_id=offering.id, actor=SYSTEM, now=monday)
    seats.turn(session, now=at + 15 * MINUTE)
    assert (made.seats, made.ends_at) == (0, at + 15 * MINUTE)
    assert bookings.list_upcoming(session, None, now=at + 16 * MINUTE) == []
    assert seats.kept_hours(session, offering.id, at, []) == 8


def test_nobody_keeps_a_place_for_ever_by_booking_it_again_and_again(
    session: Session, monday: datetime, offering: Offering
) -> None:
    _, me = make_student(session, offering)

    def book(at: datetime) -> Reservation:
        slot = bookings.find_slot(session, Need.SLICE, now=at)
        assert slot is not None
        return bookings.book(session, slot, actor=me, now=at)

    for round_ in range(2):
        booked = book(monday + round_ * 3 * HOUR)
        seats.turn(session, now=booked.starts_at + seats.GRACE)
    later = monday + 6 * HOUR
    with pytest.raises(TooManyBookingsError):
        book(later)
    book(later + 7 * 24 * HOUR)


def test_changing_a_booking_counts_too(
    session: Session, monday: datetime, offering: Offering
) -> None:
    _, me = make_student(session, offering)
    for minutes in range(bookings.BOOKINGS + 1):
        slot = bookings.find_slot(session, Need.SLICE, now=monday + minutes * MINUTE)
        assert slot is not None
        if minutes == bookings.BOOKINGS:
            with pytest.raises(TooManyBookingsError):
                bookings.book(session, slot, actor=me, now=monday)
        else:
            made = bookings.book(session, slot, actor=me, now=monday)
            bookings.cancel(session, made.id, actor=me, now=monday)


def test_the_keeper_grants_when_a_class_begins_and_when_it_does_not_come(
    sessions: sessionmaker[Session], monday: datetime
) -> None:
    clock = Clock(monday)
    keeper = LeaseKeeper(sessions=sessions, broker=FakeGpuBroker("1"), now=clock)
    keeper.step()
    at = monday + 5 * MINUTE
    with sessions.begin() as session:
        course, other = make_offering(session), make_offering(session)
        slot = lesson(at, count=1, need=Need.WHOLE)
        bookings.reserve(session, slot, offering_id=course.id, actor=SYSTEM, now=monday)
        theirs = ask(session, make_student(session, other)[1], other, now=monday).id
        mine = ask(session, make_student(session, course)[1], course, now=monday).id
    assert state(sessions, keeper, mine) == "waiting", "ten minutes are not worth giving"
    clock.at = at
    for wish in (mine, theirs):
        touch(sessions, wish, at)
    assert state(sessions, keeper, mine) == "granted"
    with sessions.begin() as session:
        service.end(session, mine, Cause.UNUSED, now=at)
    clock.at = at + 14 * MINUTE
    touch(sessions, theirs, clock.at)
    assert state(sessions, keeper, theirs) == "waiting"
    clock.at = at + 15 * MINUTE
    assert state(sessions, keeper, theirs) == "granted"


def state(sessions: sessionmaker[Session], keeper: LeaseKeeper, lease_id: str) -> str:
    keeper.step()
    with sessions() as session:
        return session.get_one(Lease, lease_id).state


def touch(sessions: sessionmaker[Session], lease_id: str, now: datetime) -> None:
    with sessions.begin() as session:
        service.touch(session.get_one(Lease, lease_id), now=now)
