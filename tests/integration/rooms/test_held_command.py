"""`lms course held` and `lms course practice`, as an operator types them."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from lms.bootstrap import System, build
from lms.catalogue.models import OfferedAssignment
from lms.cli.main import cli
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError
from lms.foundation.settings import load_settings
from lms.grading.models import Run
from lms.grading.service import finish, latest_run
from lms.migrations.run import upgrade
from lms.protocol.grading import Integrity
from tests.factories import make_offering, make_person, make_submission, make_task
from tests.factories.grading import claimed, finding


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["course", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    monkeypatch.setenv("LMS_DATA", str(tmp_path))
    system = build(load_settings())
    upgrade(system.engine)
    return system


@pytest.fixture
def held(system: System, now: datetime) -> list[int]:
    """Three held runs of one offering, by different people."""
    with transaction(system.sessions) as session:
        offering = make_offering(session, key="ml-2026")
        task = make_task(session, offering)
        session.refresh(task, ["assignment"])
        runs = []
        for name in ("minseo", "jiwoo", "sua"):
            submission = make_submission(session, task, make_person(session, name))
            claim = claimed(session, submission, now)
            assert finish(session, claim, [finding(Integrity.UNVERIFIED)], now=now)
            runs.append(claim.run_id)
        return runs


def test_held_runs_are_listed_and_decided(system: System, held: list[int]) -> None:
    first, second, third = held
    (one, _, _) = json.loads(run("held", "list", "ml-2026", "--json"))["held"]
    assert (one["run"], one["student"], one["score"]) == (first, "minseo", 2.0)
    assert "own interpreter" in one["reason"]
    run("held", "release", first)
    run("held", "reject", second, "--reason", "A copy.", "--set-aside")
    assert "is queued" in run("held", "regrade", third)
    assert run("held", "list", "ml-2026").strip() == "0 waiting"
    with system.sessions() as session:
        verdicts = [session.get_one(Run, one).verdict for one in held]
        assert verdicts == ["released", "set_aside", "regraded"]
        newest = latest_run(session, session.get_one(Run, third).submission_id)
        assert newest is not None
        assert newest.fresh
    with pytest.raises(ConflictError):
        run("held", "release", first)


def test_practice_is_switched_for_one_offering_alone(system: System, now: datetime) -> None:
    def is_held(key: str) -> bool:
        with transaction(system.sessions) as session:
            task = session.get_one(OfferedAssignment, tasks[key])
            session.refresh(task, ["assignment"])
            claim = claimed(session, make_submission(session, task, make_person(session)), now)
            assert finish(session, claim, [finding(Integrity.UNVERIFIED)], now=now)
            return session.get_one(Run, claim.run_id).held

    with transaction(system.sessions) as session:
        tasks = {
            key: make_task(session, make_offering(session, key=key)).id for key in ("one", "two")
        }
    run("practice", "one", "on")
    assert (is_held("one"), is_held("two")) == (False, True)
    run("practice", "one", "off")
    assert is_held("one")
