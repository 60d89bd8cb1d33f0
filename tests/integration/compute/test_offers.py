"""What somebody who waits is offered can be had: each offer is tried."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute import bookings, reconcile, service
from lms.compute.models import Lease
from lms.compute.rules import LeaseState, Need
from lms.compute.waiting import Standing, standing
from lms.identity.scopes import Actor
from tests.factories import make_offering
from tests.factories.compute import TERMS, ask, make_student, simulated

HOUR = timedelta(hours=1)


@pytest.fixture
def offering(session: Session, now: datetime) -> Offering:
    """A course at a machine with two GPUs of two slices."""
    reconcile.take_stock(session, simulated(2, 2), now=now - 2 * HOUR)
    return make_offering(session)


def person(session: Session, offering: Offering) -> Actor:
    return make_student(session, offering)[1]


def told(session: Session, lease: Lease, now: datetime) -> Standing:
    assert lease.state == LeaseState.WAITING
    return standing(session, lease, terms=TERMS, now=now)


def kinds(found: Standing) -> set[str]:
    return {offer.kind for offer in found.offers}


def switch(session: Session, actor: Actor, wish: Lease, offering: Offering, now: datetime) -> str:
    """Take the smaller profile instead, as the notebook's panel does; return its state."""
    service.give_up(session, wish.id, actor=actor, now=now)
    return ask(session, actor, offering, now=now, profile="gpu-slice", kernel=wish.kernel_id).state


@pytest.mark.parametrize("others", [0, 1])
def test_a_smaller_slice_is_offered_when_it_can_be_had_and_not_when_others_wait_for_its_gpu(
    session: Session, offering: Offering, now: datetime, others: int
) -> None:
    ask(session, person(session, offering), offering, now=now - HOUR / 2)
    # This one ends first: who waits for a whole GPU gets its device, which is left to empty.
    early = now - HOUR
    ask(session, person(session, offering), offering, now=early, profile="gpu-slice")
    for _ in range(others):
        ask(session, person(session, offering), offering, now=now - HOUR / 60)
    mine = person(session, offering)
    wish = ask(session, mine, offering, now=now)
    offered = "slice" in kinds(told(session, wish, now))
    assert offered is (others == 0)
    got = switch(session, mine, wish, offering, now)
    assert (got == LeaseState.GRANTED) is offered


def test_who_holds_a_gpu_is_offered_no_slice_and_no_time(
    session: Session, offering: Offering, now: datetime
) -> None:
    mine = person(session, offering)
    ask(session, mine, offering, now=now, kernel="first")
    wish = ask(session, mine, offering, now=now, kernel="second")
    found = told(session, wish, now)
    assert "hold a GPU already" in str(found.reason)
    assert found.expected_wait_seconds is None, "it is theirs to say"
    assert "slice" not in kinds(found)


def test_an_hour_is_offered_to_those_alone_who_may_book_one(
    session: Session, offering: Offering, now: datetime
) -> None:
    for _ in range(2):
        ask(session, person(session, offering), offering, now=now)
    mine = person(session, offering)
    wish = ask(session, mine, offering, now=now)
    for _ in range(bookings.BOOKINGS):
        assert "booking" in kinds(told(session, wish, now))
        slot = bookings.find_slot(session, Need.WHOLE, now=now)
        assert slot is not None
        bookings.book(session, slot, actor=mine, now=now)
    assert "booking" not in kinds(told(session, wish, now))
