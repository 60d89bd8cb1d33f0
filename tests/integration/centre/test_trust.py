"""Central grades a sample again, and erases people without breaking a chain."""

import json

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.bootstrap import System, sync_signer
from lms.centre import erasure
from lms.centre.joining import claim_codes
from lms.centre.models import (
    CentreCheckpoint,
    CentreOrder,
    CentreRecord,
    CentreResult,
    CentreSelf,
    JournalPerson,
    JournalRecord,
)
from lms.centre.rules import NOTHING, Kind, RecordState, ResultState, chain, is_sampled
from lms.centre.status import central_status, own_status
from lms.centre.trust import check_all
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.gradebook.service import standing
from lms.grading.checking import check_log
from lms.grading.holds import list_held, release
from lms.grading.models import Run
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM
from lms.protocol.grading import Integrity
from tests.conftest import engine  # noqa: F401 - central on both kinds of database
from tests.factories.centres import AppLine, Box, find_centre, grade_run, place_of, set_rate
from tests.factories.grading import finding


def _audit_run(central: System) -> int:
    with central.sessions() as session:
        found = session.scalars(select(CentreResult.audit_run_id)).one()
    assert found is not None
    return found


def _state(central: System) -> str:
    with central.sessions() as session:
        return session.scalars(select(CentreResult.state)).one()


def test_the_sample_is_chosen_after_the_checkpoint_and_shows_a_false_score(
    central: System, box: Box, line: AppLine
) -> None:
    set_rate(central, 1.0)
    box.work(box.student("haneul"), "x = 1", finding(score=2.0))
    box.push(line)
    assert _state(central) == ResultState.SAMPLED
    with central.sessions() as session:
        task_id, person_id = session.execute(select(Submission.task_id, Submission.person_id)).one()
        before = standing(session, task_id, person_id)
        assert before is not None
        assert before.score == 2.0
    grade_run(central, _audit_run(central), [finding(score=0.0)])
    with central.sessions() as session:
        row = central_status(session)["centres"][0]
        result = session.scalars(select(CentreResult)).one()
        assert row["disputes"] == [{"run": result.run_id, "central_run": result.audit_run_id}]
        held = standing(session, task_id, person_id)
        assert held is not None
        assert (held.held, held.score) == (True, None)
        offering_id = session.get_one(Run, result.run_id).offering_id
        (one,) = list_held(session, offering_id, actor=SYSTEM)
        assert "came to 0 points, the centre to 2" in str(one.reason)
    with transaction(central.sessions) as session:
        release(session, result.run_id, actor=SYSTEM, now=clock.now(), reason="the machine was")
    with central.sessions() as session:
        report = check_log(session, {})
        assert [flaw for flaw in report.flaws if "receipt" not in flaw.problem] == []


def test_the_same_score_is_confirmed(central: System, box: Box, line: AppLine) -> None:
    set_rate(central, 1.0)
    box.work(box.student("haneul"))
    box.push(line)
    grade_run(central, _audit_run(central), [finding()])
    assert _state(central) == ResultState.CONFIRMED


def test_nothing_is_sampled_at_rate_zero_and_all_on_demand(
    central: System, box: Box, line: AppLine
) -> None:
    set_rate(central, 0.0)
    box.work(box.student("haneul"))
    box.push(line)
    assert _state(central) == ResultState.PROVISIONAL
    with transaction(central.sessions) as session:
        centre = find_centre(session)
        offering_id = session.scalars(select(Run.offering_id)).one()
        assert check_all(session, centre, offering_id + 1, now=clock.now()) == 0
        assert check_all(session, centre, offering_id, now=clock.now()) == 1
        assert check_all(session, centre, offering_id, now=clock.now()) == 0
    assert _state(central) == ResultState.SAMPLED


def test_what_a_person_at_the_centre_decided_stands_at_central(
    central: System, box: Box, line: AppLine
) -> None:
    set_rate(central, 0.0)
    run = box.work(box.student("haneul"), "x = 1", finding(Integrity.UNVERIFIED))
    box.push(line)
    with central.sessions() as session:
        theirs = session.scalars(select(Run)).one()
        assert (theirs.held, theirs.verdict) == (True, None)
    with transaction(box.system.sessions) as session:
        release(session, run.id, actor=SYSTEM, now=clock.now(), reason="I saw it")
    box.push(line)
    with central.sessions() as session:
        theirs = session.scalars(select(Run)).one()
        assert (theirs.held, theirs.verdict, theirs.verdict_reason) == (
            False, "released", "I saw it",
        )  # fmt: skip
        submission = session.scalars(select(Submission)).one()
        result = standing(session, submission.task_id, submission.person_id)
        assert result is not None
        assert result.score == 2.0
        assert check_log(session, {}).ok


def test_the_seed_follows_from_the_signature_and_centrals_key(central: System, box: Box) -> None:
    seed = place_of(central).seed
    assert seed("abc") == seed("abc") != seed("zzd")
    drawn = [is_sampled(seed("abc"), f"{number:032x}", 0.1) for number in range(2_000)]
    assert 140 < sum(drawn) < 260
    # What the centre signs with gives another one.
    from lms.centre.trust import Seeds

    assert Seeds(box.signer)("abc") != seed("abc")


@pytest.fixture
def erased(central: System, box: Box, line: AppLine) -> str:
    """Somebody whose work has come to central is erased there; gives their claim code."""
    student = box.student("haneul")
    box.work(student, "mine = 'haneul'")
    box.work(box.student("bada"), "other = 1")
    box.push(line)
    with box.system.sessions() as session:
        rows = {row["username"]: row["code"] for row in claim_codes(session)}
    with transaction(central.sessions) as session:
        person = session.scalars(select(Person).where(Person.display_name == "Haneul")).one()
        count, gone = erasure.order(session, person, sync_signer(central.settings), now=clock.now())
    for digest in gone:
        central.blobs.remove(digest)
    assert count == 1
    assert len(gone) == 2
    return rows["haneul"]


def _chain_holds(session: Session, table: type[CentreRecord] | type[JournalRecord]) -> bool:
    head = NOTHING
    for body, kept in session.execute(select(table.body, table.hash).order_by(table.seq)):
        head = chain(head, body)
        if head != kept:
            return False
    return True


def test_erasing_reaches_the_centre_and_every_chain_still_holds(
    central: System, box: Box, line: AppLine, erased: str
) -> None:
    with central.sessions() as session:
        assert central_status(session)["centres"][0]["erasures_open"] == 1
    box.push(line)
    box.push(line)
    with box.system.sessions() as session:
        gone = session.scalars(select(JournalPerson).where(JournalPerson.erased_at.is_not(None)))
        (row,) = gone.all()
        assert (row.person_id, row.salt) == (None, None)
        about = session.scalars(select(JournalRecord).where(JournalRecord.person == row.name)).all()
        assert [one.kind for one in about] == [
            Kind.ENROLMENT, Kind.SUBMISSION, Kind.RESULT, Kind.ERASURE,
        ]  # fmt: skip
        assert all(one.details is None for one in about)
        assert _chain_holds(session, JournalRecord)
        people = session.scalars(select(Person.display_name).order_by(Person.id)).all()
        assert people == ["–", "Bada"]
        assert erased not in [entry["code"] for entry in claim_codes(session)]
        me = session.get_one(CentreSelf, 1)
        assert own_status(session, me, now=clock.now())["waiting"] == 0
    with central.sessions() as session:
        assert _chain_holds(session, CentreRecord)
        assert session.scalars(select(CentreOrder.done_at)).one() is not None
        texts = session.scalars(select(CentreRecord.details)).all()
        assert not any("haneul" in (text or "").lower() for text in texts)
        # Checkpoints, which sign what was erased by its digest alone, still verify.
        assert session.scalar(select(func.count()).select_from(CentreCheckpoint)) == 2


def test_unsynced_work_of_an_erased_person_becomes_nothing(
    central: System, box: Box, line: AppLine, erased: str
) -> None:
    with box.system.sessions() as session:
        student = session.scalars(select(Person).where(Person.username == "haneul")).one()
    box.work(student, "late = 1")
    box.push(line)
    with central.sessions() as session:
        states = session.scalars(select(CentreRecord.state).order_by(CentreRecord.seq)).all()
        assert states[-3:] == [RecordState.ERASED, RecordState.ERASED, RecordState.APPLIED]
        count = select(func.count(Submission.id))
        assert session.scalar(count) == 2
    assert erased


def test_an_order_that_central_did_not_sign_is_not_obeyed(
    central: System, box: Box, line: AppLine
) -> None:
    box.submit(box.student("haneul"))
    with box.system.sessions() as session:
        me = session.get_one(CentreSelf, 1)
        name = session.scalars(select(JournalPerson.name)).one()
        order = {"format": "seodang-erasure/1", "centre": me.centre, "person": name, "time": ""}
        with pytest.raises(InvalidError):
            erasure.obey(session, me, [box.signer.sign(order)], now=clock.now())
        assert json.loads(session.scalars(select(JournalRecord.body)).first() or "")["seq"] == 1
