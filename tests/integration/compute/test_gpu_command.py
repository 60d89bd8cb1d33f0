"""`lms gpu` and /metrics over one database."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.cli.main import cli
from lms.compute import reconcile, service
from lms.compute.models import GpuPromise, GpuQuota, Lease
from lms.compute.rules import Cause
from lms.foundation import clock
from lms.foundation.db import make_engine, make_sessions
from lms.foundation.errors import LmsError
from lms.foundation.events import EventBus
from lms.migrations.tables import metadata
from lms.protocol.devices import Inventory
from lms.protocol.sentences import sentence
from tests.factories import make_offering
from tests.factories.compute import ask, make_student, simulated, started

Run = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A database with four simulated slices, a course, one lease and one wish."""
    monkeypatch.setenv("LMS_DATA", str(tmp_path))
    monkeypatch.delenv("LMS_DATABASE_URL", raising=False)
    engine = make_engine(f"sqlite:///{tmp_path}/db/lms.sqlite")
    metadata.create_all(engine)
    session = make_sessions(engine, EventBus())()
    now = clock.now() - timedelta(hours=2)
    reconcile.take_stock(session, simulated(2, 2), now=now)
    offering = make_offering(session, key="ml-2026")
    for minute, name in enumerate(("minsu", "jiwoo", "sua")):
        _, actor = make_student(session, offering, name)
        lease = ask(session, actor, offering, now=now + timedelta(minutes=minute))
        if lease.state == "granted":
            started(session, lease, now=now)
    session.commit()
    return session


@pytest.fixture
def run(database: Session) -> Run:
    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["gpu", *words])

    return run


def _lease(database: Session, state: str) -> Lease:
    database.rollback()
    return database.scalars(select(Lease).where(Lease.state == state)).all()[0]


def test_status_tells_devices_leases_queue_and_that_they_are_simulated(
    run: Run, database: Session
) -> None:
    found = json.loads(run("status", "--json").output)
    assert found["simulated"] is True
    assert [(one["slots"], one["held"]) for one in found["devices"]] == [(2, 2), (2, 2)]
    assert [(one["state"], one["person"]) for one in found["leases"]] == [
        ("granted", "minsu"), ("granted", "jiwoo"), ("waiting", "sua"),
    ]  # fmt: skip
    text = run("status").output
    assert "simulated" in text
    assert "SIM-0: Simulated GPU, 2 of 2 held" in text


def test_status_without_gpus_says_why(run: Run, database: Session) -> None:
    reconcile.take_stock(database, Inventory(reason=sentence("No GPU here.")), now=clock.now())
    database.commit()
    assert run("status").output.startswith("No GPU here.")
    assert json.loads(run("status", "--json").output)["reason"] == "No GPU here."


def test_seats_are_reserved_for_weeks_all_or_none(run: Run) -> None:
    words = ("reserve", "ml-2026", "--seats", "4", "--from", "2036-11-27T14:00",
             "--to", "2036-11-27T16:00")  # fmt: skip
    made = json.loads(run(*words, "--weeks", "2", "--json").output)["reservations"]
    assert [one["starts_at"] for one in made] == [
        "2036-11-27T05:00:00+00:00",
        "2036-12-04T05:00:00+00:00",
    ]
    earlier = ("reserve", "ml-2026", "--seats", "1", "--from", "2036-11-20T14:00",
               "--to", "2036-11-20T16:00", "--weeks", "2")  # fmt: skip
    assert isinstance(run(*earlier).exception, LmsError), "the second week is taken"
    found = json.loads(run("status", "--json").output)["reservations"]
    assert [(one["id"], one["offering"], one["seats"]) for one in found] == [
        (made[0]["id"], "ml-2026", 4), (made[1]["id"], "ml-2026", 4),
    ]  # fmt: skip
    assert run("cancel", str(made[0]["id"])).exit_code == 0
    assert run(*earlier).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("reserve", "ml-2026", "--seats", "1", "--from", "noon", "--to", "2036-11-27T16:00"),
        ("reserve", "ml-2026", "--seats", "1", "--from", "2036-11-27T16:00", "--to",
         "2036-11-27T14:00"),
        ("reserve", "none", "--seats", "1", "--from", "2036-11-27T14:00", "--to",
         "2036-11-27T16:00"),
        ("reserve", "ml-2026", "--seats", "1", "--profile", "none", "--from", "2036-11-27T14:00",
         "--to", "2036-11-27T16:00"),
        ("cancel", "77"),
        ("end", "nothing"),
        ("refund", "nothing", "--reason", "x"),
        ("quota", "ml-2026", "5", "--person", "nobody"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(run: Run, words: tuple[str, ...]) -> None:
    error = run(*words).exception
    assert isinstance(error, LmsError)
    assert str(error.sentence).count("\n") == 0


def test_an_operator_ends_a_lease_and_gives_its_hours_back(run: Run, database: Session) -> None:
    lease = _lease(database, "granted")
    assert run("end", lease.id).exit_code == 0
    ended = _lease(database, "ended")
    assert ended.cause == Cause.OPERATOR
    assert len([1 for one in database.scalars(select(Lease)) if one.state == "granted"]) == 2
    assert "GPU-hours are given back" in run("refund", lease.id, "--reason", "A fire drill.").output
    assert "0.00 GPU-hours are" in run("refund", lease.id, "--reason", "A fire drill.").output


def test_quotas_are_set_and_set_again(run: Run, database: Session) -> None:
    for hours in ("5", "7.5"):
        assert run("quota", "ml-2026", hours).exit_code == 0
    assert run("quota", "ml-2026", "20", "--person", "minsu").exit_code == 0
    rows = database.execute(select(GpuQuota.person_id, GpuQuota.hours_a_week)).all()
    assert [row[1] for row in rows] == [7.5, 20.0]
    assert service.list_due(database, now=clock.now())


def test_an_operator_allows_a_course_more_seats(run: Run, database: Session) -> None:
    assert run("promise", "ml-2026", "60", "240").output == (
        "ml-2026: 60 seats at once, 240 seat-hours a week.\n"
    )
    run("promise", "ml-2026", "2", "8")
    database.rollback()
    made = database.scalars(select(GpuPromise)).one()
    assert (made.seats_at_once, made.seat_hours_a_week) == (2, 8)
    assert run("promise", "ml-2026", "many", "8").exit_code == 2
