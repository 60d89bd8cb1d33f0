"""A box's clock at 1970, in 2040 and going backwards: nothing is lost, the order is kept."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from lms.bootstrap import System
from lms.catalogue.service import get_task
from lms.centre.models import CentreConflict, CentreOrigin, CentreRecord
from lms.centre.rules import NOTHING, ConflictKind, RecordState, chain
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.gradebook.service import standing
from tests.conftest import engine  # noqa: F401 - central on both kinds of database
from tests.factories.centres import OFFERING, TASK, AppLine, Box
from tests.factories.grading import finding
from tests.fakes.clock import Clock


def _set_due(central: System, after: timedelta) -> None:
    with transaction(central.sessions) as session:
        get_task(session, OFFERING, TASK).due_at = clock.now() + after


def _scores(system: System) -> list[float | None]:
    """Return what stands for each person who has handed in, by person."""
    with system.sessions() as session:
        people = session.scalars(
            select(Submission.person_id).distinct().order_by(Submission.person_id)
        ).all()
        task = get_task(session, OFFERING, TASK).id
        found = [standing(session, task, person) for person in people]
        return [None if one is None else one.score for one in found]


def _is_whole(box: Box) -> bool:
    head = NOTHING
    for row in box.records():
        head = chain(head, row.body)
        if head != row.hash:
            return False
    return True


def _states(central: System) -> set[str]:
    with central.sessions() as session:
        return set(session.scalars(select(CentreRecord.state)))


def test_a_clock_in_2040_is_taken_back_to_when_it_came(
    central: System, box: Box, line: AppLine, ticking: Clock
) -> None:
    student = box.student("haneul")
    real = clock.now()
    _set_due(central, timedelta(hours=1))
    ticking.at = real.replace(year=2040)
    box.work(student)
    ticking.at = real + timedelta(hours=2)
    box.push(line)
    with central.sessions() as session:
        submission = session.scalars(select(Submission)).one()
        origin = session.scalars(select(CentreOrigin)).one()
        assert submission.submitted_at == real + timedelta(hours=2)
        assert (origin.claimed_at.year, origin.clock_ok) == (2040, False)
        # Nobody knows whether it was in time, so it is, and that is written down.
        assert not submission.late
        assert session.scalars(select(CentreConflict.kind)).all() == [ConflictKind.CLOCK]
    assert _states(central) == {RecordState.APPLIED}


@pytest.mark.parametrize("wrong", ["2040", "an hour ahead"])
def test_what_came_after_a_clock_was_set_back_is_the_later_attempt(
    central: System, box: Box, line: AppLine, ticking: Clock, wrong: str
) -> None:
    student = box.student("haneul")
    real = clock.now()
    ticking.at = real.replace(year=2040) if wrong == "2040" else real + timedelta(hours=1)
    box.work(student, "first = 1", finding(score=1.0))
    ticking.at = real + timedelta(minutes=5)
    box.work(student, "second = 2", finding(score=2.0))
    ticking.at = real + timedelta(hours=3)
    box.push(line)
    assert _is_whole(box)
    assert _states(central) == {RecordState.APPLIED}
    assert _scores(central) == _scores(box.system) == [2.0]


def test_a_clock_that_goes_backwards_within_one_sync_and_the_next(
    central: System, box: Box, line: AppLine, ticking: Clock
) -> None:
    student = box.student("haneul")
    real = clock.now()
    for number, minutes in enumerate((60, 40, 20)):
        ticking.at = real + timedelta(minutes=minutes)
        box.work(student, f"x = {number}", finding(score=number / 2))
        box.push(line)
    assert _is_whole(box)
    assert _scores(central) == _scores(box.system) == [1.0]
    with central.sessions() as session:
        rows = session.scalars(select(Submission).order_by(Submission.attempt)).all()
        times = [row.submitted_at for row in rows]
        assert times == sorted(times)


def test_a_clock_at_1970_and_then_right_keeps_the_order(
    central: System, box: Box, line: AppLine, ticking: Clock
) -> None:
    student = box.student("haneul")
    real = clock.now()
    ticking.at = real.replace(year=1970)
    box.work(student, "first = 1", finding(score=1.0))
    box.work(student, "second = 2", finding(score=2.0))
    ticking.at = real + timedelta(minutes=5)
    box.push(line)
    assert _scores(central) == [2.0]
    assert [row.state for row in _rows(central)] == [RecordState.APPLIED] * 5


def _rows(central: System) -> list[CentreRecord]:
    with central.sessions() as session:
        return list(session.scalars(select(CentreRecord).order_by(CentreRecord.seq)))
