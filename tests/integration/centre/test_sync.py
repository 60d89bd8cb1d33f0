"""A centre's work comes to central exactly once, by line and by stick, whatever happens between."""

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select

from lms.bootstrap import System, sync_signer
from lms.centre.collecting import collect
from lms.centre.models import CentreOrigin, CentreRecord, CentreResult
from lms.centre.rules import RecordState
from lms.centre.stick import TREE, centres_on
from lms.centre.tickets import get_self
from lms.enrolment.models import Enrolment
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.errors import ConflictError
from lms.gradebook.service import standing
from lms.grading.models import CellScore, Run
from lms.identity.models import Person
from tests.conftest import engine  # noqa: F401 - central on both kinds of database
from tests.factories.centres import AppLine, Box, place_of
from tests.fakes.clock import Clock


def _states(central: System) -> dict[str, int]:
    with central.sessions() as session:
        rows = session.execute(
            select(CentreRecord.state, func.count()).group_by(CentreRecord.state)
        )
        return {state: count for state, count in rows}  # noqa: C416


def _work(central: System) -> tuple[int, int]:
    with central.sessions() as session:
        return (
            session.scalar(select(func.count()).select_from(Submission)) or 0,
            session.scalar(select(func.count()).select_from(Run)) or 0,
        )


def _bring(central: System, folder: Path) -> list[str]:
    problems: list[str] = []
    for root in centres_on(folder):
        found = collect(place_of(central), root, sync_signer(central.settings), now=clock.now())
        problems += found.problems
    return problems


def test_work_at_a_centre_stands_at_central_with_its_score(
    central: System, box: Box, line: AppLine
) -> None:
    student = box.student("haneul")
    box.work(student)
    pushed = box.push(line)
    assert (pushed.records, pushed.blobs, pushed.complete) == (3, 2, 3)
    with central.sessions() as session:
        submission = session.scalars(select(Submission)).one()
        person = session.get_one(Person, submission.person_id)
        assert (person.display_name, person.password_hash) == ("Haneul", None)
        assert person.username.startswith("centre-")
        assert session.scalars(select(Enrolment.state)).all() == ["active"]
        result = standing(session, submission.task_id, person.id)
        assert result is not None
        assert (result.score, result.max_score) == (2.0, 5.0)
        assert session.scalars(select(CellScore.grade_id).order_by(CellScore.id)).all() == [
            "q1",
            "q2",
        ]
        assert session.scalars(select(CentreOrigin.clock_ok)).all() == [True]
        assert session.scalars(select(CentreResult.state)).all() in (["provisional"], ["sampled"])


def test_pushing_again_changes_nothing(central: System, box: Box, line: AppLine) -> None:
    box.work(box.student("haneul"))
    box.push(line)
    before = _work(central)
    again = box.push(line)
    assert (again.records, again.blobs) == (0, 0)
    assert _work(central) == before


def test_a_stick_carries_work_there_and_receipts_back(
    central: System, box: Box, tmp_path: Path
) -> None:
    stick = tmp_path / "stick"
    box.work(box.student("haneul"))
    first = box.write(stick)
    assert (first.records, first.complete, first.answered) == (3, 0, False)
    assert _bring(central, stick) == []
    assert _work(central)[0] == 1
    second = box.write(stick)
    assert (second.records, second.complete, second.answered) == (0, 3, True)
    assert list((stick / TREE).glob("*/up/*")) == []


def test_line_and_stick_together_bring_everything_once(
    central: System, box: Box, line: AppLine, tmp_path: Path
) -> None:
    student = box.student("haneul")
    box.work(student)
    box.write(tmp_path)
    box.work(student, "x = 2")
    box.push(line)
    assert _bring(central, tmp_path) == []
    assert _bring(central, tmp_path) == []
    assert _states(central) == {RecordState.APPLIED: 5}
    with central.sessions() as session:
        assert session.scalars(select(Submission.attempt).order_by(Submission.id)).all() == [1, 2]


def test_a_line_cut_at_every_call_loses_and_doubles_nothing(
    central: System, box: Box, app: Flask
) -> None:
    student = box.student("haneul")
    for number in range(3):
        box.work(student, f"x = {number}")
    odd = AppLine(app, lost=frozenset(range(1, 90, 3)), unanswered=frozenset(range(2, 90, 3)))
    pushed = box.push(odd)
    assert pushed.complete == pushed.newest == 7
    assert _states(central) == {RecordState.APPLIED: 7}
    assert _work(central)[0] == 3


def test_a_result_waits_until_its_files_have_come(
    central: System, box: Box, tmp_path: Path
) -> None:
    box.work(box.student("haneul"))
    box.write(tmp_path)
    root = next(centres_on(tmp_path))
    held = tmp_path / "held"
    (root / "blobs").rename(held)
    _bring(central, tmp_path)
    assert _states(central) == {RecordState.APPLIED: 1, RecordState.WAITING: 2}
    # The answer says that only the enrolment may be let go here.
    assert box.write(tmp_path).complete == 1
    assert _bring(central, tmp_path) == []
    assert _states(central) == {RecordState.APPLIED: 3}


def test_a_damaged_file_on_the_stick_is_named_and_the_others_are_taken(
    central: System, box: Box, tmp_path: Path
) -> None:
    box.work(box.student("haneul"))
    box.write(tmp_path)
    root = next(centres_on(tmp_path))
    blob = min(path for path in (root / "blobs").rglob("*") if path.is_file())
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (root / "up" / "000001-9999999999.journal").write_bytes(b"rotten")
    problems = _bring(central, tmp_path)
    assert len(problems) == 1
    assert "not a whole piece of a journal" in problems[0]
    assert _states(central)[RecordState.WAITING] >= 1
    blob.write_bytes(whole)
    _bring(central, tmp_path)
    assert _states(central) == {RecordState.APPLIED: 3}


def test_a_clock_at_1970_is_clamped_by_what_central_has_signed(
    central: System, box: Box, line: AppLine, ticking: Clock
) -> None:
    real = clock.now()
    student = box.student("haneul")
    ticking.at = real.replace(year=1970)
    box.submit(student)
    ticking.at = real.replace(year=2027)
    box.push(line)
    with central.sessions() as session:
        origin = session.scalars(select(CentreOrigin)).one()
        submission = session.scalars(select(Submission)).one()
        assert origin.claimed_at.year == 1970
        assert not origin.clock_ok
        assert submission.submitted_at == real


def test_someone_without_the_centres_key_is_a_stranger(
    central: System, box: Box, line: AppLine
) -> None:
    with box.system.sessions() as session:
        own = get_self(session)
    with pytest.raises(ConflictError, match="does not know this machine"):
        line.call("GET", f"/api/sync/{own.centre}/state?epoch=1", b"", "{}")
