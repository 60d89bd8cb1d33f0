"""What a revoked centre sent afterwards: kept apart until a person lets it in or refuses it."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import func, select

from lms.bootstrap import System
from lms.centre.applying import apply_all, retry_refused
from lms.centre.models import CentreOrigin, CentreRecord, CentreResult
from lms.centre.quarantine import list_apart, refuse, release
from lms.centre.receiving import take_in
from lms.centre.rules import RecordState
from lms.centre.trust import revoke
from lms.cli import centre_quarantine
from lms.cli.main import cli
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError, NotFoundError
from lms.grading.audit import Act
from lms.grading.models import AuditEntry, Run
from lms.protocol.sentences import Sentence
from tests.conftest import engine  # noqa: F401 - central on both kinds of database
from tests.factories.centres import AppLine, Box, find_centre, place_of, set_rate

Late = Callable[[], str]


@pytest.fixture
def centre(central: System, box: Box, line: AppLine) -> str:
    """A centre that was revoked with work under way; its blobs are at central. Returns its id."""
    set_rate(central, 0.0)
    student = box.student("haneul")
    box.work(student)
    box.push(line)
    with transaction(central.sessions) as session:
        revoke(session, find_centre(session), "stolen", now=clock.now())
    box.work(student, "x = 2")
    for path in box.system.blobs.root.rglob("*"):
        if path.is_file():
            central.blobs.put(path.read_bytes())
    with transaction(central.sessions) as session:
        take_in(session, central.blobs, box.parcel(), now=clock.now())
        return find_centre(session).id


def _states(central: System) -> dict[str, int]:
    with central.sessions() as session:
        rows = session.execute(
            select(CentreRecord.state, func.count()).group_by(CentreRecord.state)
        )
        return {state: count for state, count in rows}  # noqa: C416


def test_it_can_be_looked_at(central: System, centre: str) -> None:
    with central.sessions() as session:
        found = list_apart(session, find_centre(session))
    assert [(one.place, one.kind, one.person) for one in found] == [
        ((1, 4), "submission", "Haneul"),
        ((1, 5), "result", "Haneul"),
    ]
    assert json.loads(found[0].details or "")["assignment"] == "ps1"
    assert found[0].claimed_at == clock.now()
    assert centre


def test_what_is_let_in_is_marked_and_graded_again(central: System, centre: str) -> None:
    with transaction(central.sessions) as session:
        assert release(session, find_centre(session), "found again", [], now=clock.now()) == 2
    done = apply_all(place_of(central), centre, now=clock.now())
    assert done == {RecordState.APPLIED: 2}
    with central.sessions() as session:
        assert session.scalar(select(func.count(Submission.id))) == 2
        assert None not in session.scalars(select(CentreOrigin.marked_at)).all()
        # The one from before at the rate of then, the one let in whatever the rate is.
        states = session.scalars(select(CentreResult.state).order_by(CentreResult.run_id)).all()
        assert states == ["provisional", "sampled"]
        assert session.scalar(select(func.count(Run.id)).where(Run.preview)) == 1
        entry = session.scalars(
            select(AuditEntry).where(AuditEntry.kind == Act.APART_RELEASED)
        ).one()
        assert "found again" not in entry.body
        reasons = session.scalars(select(CentreRecord.reason).where(CentreRecord.seq == 4)).one()
        assert "found again" in str(Sentence.from_json(reasons))
    assert list_ids(central) == []


def test_what_is_refused_stays_refused(central: System, centre: str) -> None:
    with transaction(central.sessions) as session:
        count = refuse(session, find_centre(session), "made up", [(1, 5)], now=clock.now())
        assert count == 1
    assert _states(central) == {"applied": 3, "quarantined": 1, "declined": 1}
    with transaction(central.sessions) as session:
        # Looking again at refusals is for what may have become possible since.
        assert retry_refused(session, centre) == 0
        release(session, find_centre(session), "honest", [], now=clock.now())
    apply_all(place_of(central), centre, now=clock.now())
    assert _states(central) == {"applied": 4, "declined": 1}
    with central.sessions() as session:
        assert session.scalar(select(func.count(Run.id))) == 1
        assert (
            session.scalar(
                select(func.count(AuditEntry.sequence)).where(AuditEntry.kind == Act.APART_REFUSED)
            )
            == 1
        )


def list_ids(central: System) -> list[tuple[int, int]]:
    with central.sessions() as session:
        return [one.place for one in list_apart(session, find_centre(session))]


def test_nothing_is_decided_by_half(central: System, centre: str) -> None:
    with central.sessions() as session:
        found = find_centre(session)
        with pytest.raises(InvalidError, match="Give a reason"):
            release(session, found, "  ", [], now=clock.now())
        with pytest.raises(NotFoundError, match=r"not kept apart: 1\.1, 9\.9"):
            refuse(session, found, "why", [(1, 4), (1, 1), (9, 9)], now=clock.now())
    assert _states(central) == {"applied": 3, "quarantined": 2}
    assert centre


def test_the_commands_list_refuse_and_release(
    central: System, centre: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Connections of its own would outlive the test's database.
    monkeypatch.setattr(centre_quarantine, "build", lambda _settings: central)

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["centre", "quarantine", *words])

    listed = json.loads(run("list", "Jeju", "--json").output)["records"]
    assert [row["record"] for row in listed] == ["1.4", "1.5"]
    assert "1.4  submission  Haneul" in run("list", "Jeju").output
    assert isinstance(run("refuse", "Jeju", "five", "--reason", "x").exception, InvalidError)
    assert run("refuse", "Jeju").exit_code == 2
    assert run("refuse", "Jeju", "1.5", "--reason", "made up").exit_code == 0
    assert "1 records are let in: 1 applied." in run("release", "Jeju", "--reason", "ok").output
    assert run("list", "Jeju").output == "0 kept apart\n"
    assert centre
