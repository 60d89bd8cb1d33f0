from datetime import UTC, date, datetime

import pytest
from sqlalchemy.orm import Session

from lms.enrolment.errors import (
    EnrolmentClosedError,
    EnrolmentDeclinedError,
    EnrolmentNotFoundError,
    OfferingFullError,
    WrongCodeError,
)
from lms.enrolment.rules import EnrolmentState
from lms.enrolment.service import (
    actor_for,
    decide,
    enrol,
    list_enrolled,
    list_roster,
    progress,
    visit_unit,
    withdraw,
)
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import ForbiddenError
from lms.identity.scopes import Role
from tests.factories import make_enrolment, make_offering, make_person, make_task, make_unit


def test_open_offering_lets_a_person_in_at_once(session: Session, now: datetime) -> None:
    person, offering = make_person(session), make_offering(session)
    enrolment = enrol(session, offering, actor=actor_for(session, person), now=now)
    assert enrolment.state == EnrolmentState.ACTIVE
    assert actor_for(session, person).may("submission:write", offering.id)


def test_enrolling_twice_changes_nothing(session: Session, now: datetime) -> None:
    person, offering = make_person(session), make_offering(session)
    actor = actor_for(session, person)
    first = enrol(session, offering, actor=actor, now=now)
    assert enrol(session, offering, actor=actor, now=now).id == first.id
    assert len(list_enrolled(session, person.id)) == 1


@pytest.mark.parametrize("code", ["Seodang-ML", " seodang-ml ", "SEO DANG-ML"])
def test_code_is_accepted_whatever_its_case_and_spaces(
    session: Session, now: datetime, code: str
) -> None:
    person = make_person(session)
    offering = make_offering(session, enrolment="code", code="seodang-ml")
    enrolment = enrol(session, offering, actor=actor_for(session, person), now=now, code=code)
    assert enrolment.state == EnrolmentState.ACTIVE


@pytest.mark.parametrize("code", ["", "seodang", "seodang-ml-2"])
def test_wrong_code_lets_nobody_in(session: Session, now: datetime, code: str) -> None:
    person = make_person(session)
    offering = make_offering(session, enrolment="code", code="seodang-ml")
    with pytest.raises(WrongCodeError):
        enrol(session, offering, actor=actor_for(session, person), now=now, code=code)
    assert list_enrolled(session, person.id) == []


def test_approval_waits_for_an_instructor(session: Session, now: datetime) -> None:
    person, teacher = make_person(session), make_person(session)
    offering = make_offering(session, enrolment="approval")
    make_enrolment(session, teacher, offering, Role.INSTRUCTOR)
    enrolment = enrol(session, offering, actor=actor_for(session, person), now=now)
    assert enrolment.state == EnrolmentState.PENDING
    assert not actor_for(session, person).may("course:read", offering.id)
    decide(session, enrolment.id, accept=True, actor=actor_for(session, teacher), now=now)
    assert actor_for(session, person).may("course:read", offering.id)


def test_declined_person_cannot_ask_again_but_can_be_accepted_later(
    session: Session, now: datetime
) -> None:
    person, teacher = make_person(session), make_person(session)
    offering = make_offering(session, enrolment="approval")
    make_enrolment(session, teacher, offering, Role.INSTRUCTOR)
    enrolment = enrol(session, offering, actor=actor_for(session, person), now=now)
    judge = actor_for(session, teacher)
    decide(session, enrolment.id, accept=False, actor=judge, now=now)
    with pytest.raises(EnrolmentDeclinedError):
        enrol(session, offering, actor=actor_for(session, person), now=now)
    decide(session, enrolment.id, accept=True, actor=judge, now=now)
    assert enrolment.state == EnrolmentState.ACTIVE


def test_student_cannot_decide_nor_read_the_roster(session: Session, now: datetime) -> None:
    person, offering = make_person(session), make_offering(session, enrolment="approval")
    enrolment = enrol(session, offering, actor=actor_for(session, person), now=now)
    with pytest.raises(ForbiddenError):
        decide(session, enrolment.id, accept=True, actor=actor_for(session, person), now=now)
    with pytest.raises(ForbiddenError):
        list_roster(session, offering.id, actor=actor_for(session, person))


def test_enrolment_closes_after_the_last_day_in_korea(session: Session) -> None:
    person = make_person(session)
    offering = make_offering(session, ends_on=date(2026, 11, 23))
    actor = actor_for(session, person)
    # 23:30 on the 23rd in Seoul is still open; half an hour later it is the 24th there.
    still_open = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
    with pytest.raises(EnrolmentClosedError):
        enrol(session, offering, actor=actor, now=datetime(2026, 11, 23, 15, 0, tzinfo=UTC))
    assert enrol(session, offering, actor=actor, now=still_open).state == EnrolmentState.ACTIVE


def test_full_offering_takes_nobody_until_somebody_leaves(session: Session, now: datetime) -> None:
    offering = make_offering(session, capacity=1)
    first, second = make_person(session), make_person(session)
    enrol(session, offering, actor=actor_for(session, first), now=now)
    with pytest.raises(OfferingFullError):
        enrol(session, offering, actor=actor_for(session, second), now=now)
    withdraw(session, offering, actor=actor_for(session, first), now=now)
    enrol(session, offering, actor=actor_for(session, second), now=now)
    with pytest.raises(EnrolmentNotFoundError):
        withdraw(session, offering, actor=actor_for(session, first), now=now)


def test_progress_counts_each_unit_once(session: Session, blobs: BlobStore, now: datetime) -> None:
    person, offering = make_person(session), make_offering(session)
    session.refresh(offering, ["course"])
    units = [make_unit(session, offering.course, key, b"# Text", blobs) for key in ("a", "b", "c")]
    make_task(session, offering)
    for _ in range(2):
        visit_unit(session, person.id, offering.id, units[0].id, now=now)
        session.flush()
    found = progress(session, person.id, offering, tasks_submitted=1)
    assert (found.units_read, found.units_total) == (frozenset({units[0].id}), 3)
    assert found.share == pytest.approx(0.5)
