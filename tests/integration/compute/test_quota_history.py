"""Quotas have a history that can be taken back, and instructors ask for more of them."""

from datetime import datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute import changes, hours_requests, ledger, quotas, seats
from lms.compute.changes import Mark
from lms.compute.errors import (
    ChangeNotLastError,
    NoSuchChangeError,
    RequestAnsweredError,
    RequestNotFoundError,
    RequestOpenError,
)
from lms.compute.models import GpuQuotaChange
from lms.compute.seats import Promise
from lms.foundation.errors import ForbiddenError, InvalidError
from lms.identity.scopes import SYSTEM, Actor, Role
from tests.factories import actor_of, make_offering, make_person
from tests.factories.compute import TERMS


@pytest.fixture
def offering(session: Session) -> Offering:
    return make_offering(session)


@pytest.fixture
def teacher(session: Session, offering: Offering) -> Actor:
    return actor_of(make_person(session, "jihoon"), **{f"o{offering.id}": Role.INSTRUCTOR})


@pytest.fixture
def keeper(session: Session) -> Actor:
    return actor_of(make_person(session, "mary", is_admin=True))


def hours(session: Session, offering: Offering, person_id: int = 0) -> float:
    return ledger.allowance(session, TERMS, person_id, offering.id)


def history(session: Session) -> list[tuple[object, ...]]:
    found = changes.list_changes(session, limit=9)
    return [(one.row.before, one.row.after, one.row.why, one.by, one.is_last) for one in found]


def test_each_change_says_who_from_what_to_what_and_why(
    session: Session, offering: Offering, keeper: Actor, now: datetime
) -> None:
    usual = hours(session, offering)
    for value, mark, actor in ((6, Mark(why=" exam "), keeper), (20, changes.UNSAID, SYSTEM)):
        quotas.set_quota(session, offering.id, value, actor=actor, now=now, mark=mark)
    quotas.set_quota(session, offering.id, 20, actor=keeper, now=now)
    assert history(session) == [
        ({"hours_a_week": 6}, {"hours_a_week": 20}, "", "", True),
        (None, {"hours_a_week": 6}, "exam", "mary", False),
    ], "the same hours once more are no change"
    assert hours(session, offering) == 20 != usual


def test_the_last_change_is_taken_back_step_by_step_and_brought_back(
    session: Session, offering: Offering, keeper: Actor, now: datetime
) -> None:
    usual = hours(session, offering)
    quotas.set_quota(session, offering.id, 6, actor=keeper, now=now)
    only = changes.list_changes(session, limit=1)[0].row
    quotas.undo(session, only.id, actor=keeper, now=now)
    assert hours(session, offering) == usual
    undoing, undone = changes.list_changes(session, limit=2)
    assert (undoing.row.undoes, undoing.is_last, undone.was_undone) == (only.id, True, True)
    with pytest.raises(ChangeNotLastError):
        quotas.undo(session, only.id, actor=keeper, now=now)
    quotas.undo(session, undoing.row.id, actor=keeper, now=now)
    assert hours(session, offering) == 6
    with pytest.raises(NoSuchChangeError):
        quotas.undo(session, 999, actor=keeper, now=now)


def test_one_persons_hours_and_seats_have_lines_of_their_own(
    session: Session, offering: Offering, keeper: Actor, now: datetime
) -> None:
    person = make_person(session, "sora")
    quotas.set_quota(session, offering.id, 9, actor=keeper, now=now)
    quotas.set_quota(session, offering.id, 30, person_id=person.id, actor=keeper, now=now)
    promise = Promise(seats_at_once=3, seat_hours_a_week=12)
    seats.set_promise(session, offering.id, promise, actor=keeper, now=now)
    found = changes.list_changes(session, limit=9)
    assert [(one.row.kind, one.person, one.is_last) for one in found] == [
        ("seats", "", True), ("hours", "sora", True), ("hours", "", True),
    ]  # fmt: skip
    for one in found:
        quotas.undo(session, one.row.id, actor=keeper, now=now)
    assert hours(session, offering, person.id) == TERMS.hours_a_week
    assert seats.promise_of(session, offering.id, []) == seats.promise_of(session, 0, [])
    again = changes.list_changes(session, limit=1)[0].row
    quotas.undo(session, again.id, actor=keeper, now=now)
    assert hours(session, offering) == 9


def test_the_history_is_only_ever_added_to(
    session: Session, offering: Offering, keeper: Actor, teacher: Actor, now: datetime
) -> None:
    quotas.set_quota(session, offering.id, 6, actor=keeper, now=now)
    line = session.scalars(select(GpuQuotaChange)).one()
    with pytest.raises(ForbiddenError):
        quotas.undo(session, line.id, actor=teacher, now=now)
    line.why = "something else"
    with pytest.raises(TypeError, match="only ever added to"):
        session.flush()


def test_an_instructor_asks_and_an_operator_grants_what_stands_in_the_history(
    session: Session, offering: Offering, teacher: Actor, keeper: Actor, now: datetime
) -> None:
    asked = hours_requests.ask(session, offering.id, 20, " Fine-tuning ", actor=teacher, now=now)
    (shown,) = hours_requests.list_requests(session, is_open=True)
    assert (shown.row.why, shown.asked_by, shown.answered_by) == ("Fine-tuning", "Jihoon", "")
    with pytest.raises(RequestOpenError):
        hours_requests.ask(session, offering.id, 30, "more", actor=teacher, now=now)
    with pytest.raises(ForbiddenError):
        hours_requests.grant(session, asked.id, 20, "", actor=teacher, now=now)
    hours_requests.grant(session, asked.id, 15, "until May", actor=keeper, now=now)
    assert hours(session, offering) == 15
    assert history(session)[0][2:4] == ("Fine-tuning — until May", "mary")
    (told,) = hours_requests.list_requests(session, offering.id)
    assert (told.row.granted_hours, told.row.answer, told.answered_by) == (15, "until May", "Mary")
    with pytest.raises(RequestAnsweredError):
        hours_requests.decline(session, asked.id, "no", actor=keeper, now=now)
    assert hours_requests.list_requests(session, is_open=True) == []


def test_declining_needs_a_reason_and_changes_nothing(
    session: Session, offering: Offering, teacher: Actor, keeper: Actor, now: datetime
) -> None:
    usual = hours(session, offering)
    asked = hours_requests.ask(session, offering.id, 20, "Projects", actor=teacher, now=now)
    with pytest.raises(InvalidError):
        hours_requests.decline(session, asked.id, "  ", actor=keeper, now=now)
    hours_requests.decline(session, asked.id, "All are promised.", actor=keeper, now=now)
    assert hours(session, offering) == usual
    assert history(session) == []
    (told,) = hours_requests.list_requests(session, offering.id)
    assert (told.row.granted_hours, told.row.answer) == (None, "All are promised.")


def test_a_request_is_withdrawn_and_made_anew_by_those_who_may(
    session: Session, offering: Offering, teacher: Actor, keeper: Actor, now: datetime
) -> None:
    asked = hours_requests.ask(session, offering.id, 20, "Projects", actor=teacher, now=now)
    student = actor_of(make_person(session), **{f"o{offering.id}": Role.STUDENT})
    with pytest.raises(ForbiddenError):
        hours_requests.withdraw(session, asked.id, actor=student, now=now)
    hours_requests.withdraw(session, asked.id, actor=teacher, now=now)
    (told,) = hours_requests.list_requests(session, offering.id)
    assert told.was_withdrawn
    with pytest.raises(RequestAnsweredError):
        hours_requests.grant(session, asked.id, 20, "", actor=keeper, now=now)
    hours_requests.ask(session, offering.id, 12, "Fewer", actor=teacher, now=now)
    with pytest.raises(ForbiddenError):
        hours_requests.ask(session, offering.id, 12, "Mine", actor=student, now=now)
    with pytest.raises(RequestNotFoundError):
        hours_requests.withdraw(session, 999, actor=keeper, now=now)
    for wrong, why in ((0, "x"), (float("nan"), "x"), (169, "x"), (5, " ")):
        with pytest.raises(InvalidError):
            hours_requests.ask(session, offering.id, wrong, why, actor=teacher, now=now)
