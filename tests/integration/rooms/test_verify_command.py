"""A whole way: publish, hand in, grade, look at the log, check the receipt here and anywhere."""

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from lms.bootstrap import System, build
from lms.catalogue.service import get_task
from lms.cli.main import cli
from lms.enrolment.service import actor_for, assign_role
from lms.exchange.service import submit
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError
from lms.foundation.settings import load_settings
from lms.grading.jobs import read_job
from lms.grading.models import GradeReceipt, Run
from lms.grading.service import finish, latest_run
from lms.grading.values import Finding
from lms.identity.scopes import SYSTEM, Role
from lms.identity.service import add_person
from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.grade import grade_submission
from lms.outposts.runner.release import build_release
from tests.factories.grading import claim_of
from tests.factories.notebooks import answered, checked, notebook, solution

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

TEST = "assert f() == 1\n### BEGIN HIDDEN TESTS\nassert f() < {}\n### END HIDDEN TESTS"


@dataclass(frozen=True)
class Site:
    """A site of one course, with one graded submission and its receipt in a file."""

    system: System
    course: Path
    submission: Path
    receipt: Path
    keys: Path

    def grade(self, run: Run) -> None:
        grade(self.system, run.id)


def write_source(course: Path, below: int) -> None:
    """Write the assignment; its hidden test wants less than `below`."""
    node = notebook(
        solution("f", "def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION"),
        checked("t", 2, TEST.format(below)),
    )
    folder = course / "source" / "ps1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "n.ipynb").write_text(json.dumps(node))


def grade(system: System, run_id: int) -> None:
    """Grade one run as a worker does."""
    with transaction(system.sessions) as session:
        now = clock.now()
        claim = claim_of(session, session.get_one(Run, run_id), now)
    with system.sessions() as session:
        job = read_job(session, system.blobs, run_id)
    outcomes = grade_submission(
        job.source, job.files, limits=job.limits, launcher=DirectLauncher(), seed=job.seed
    )
    with transaction(system.sessions) as session:
        found = [Finding(result=outcome.result) for outcome in outcomes]
        assert finish(session, claim, found, now=clock.now(), recipe=job.recipe)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "data"))
    course = tmp_path / "ml"
    write_source(course, 1)
    assert run("course", "import", course)[0] == 0
    files = build_release(course / "source" / "ps1").student_files
    work = {"n.ipynb": answered(files["n.ipynb"], {"f": "def f():\n    return 1"})}
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "n.ipynb").write_bytes(work["n.ipynb"])
    system = build(load_settings())
    with transaction(system.sessions) as session:
        now = clock.now()
        person, _ = add_person(
            session, "minseo", "김민서", actor=SYSTEM, now=now, uids=system.settings.uids
        )
        task = get_task(session, "ml", "ps1")
        assign_role(session, person.id, task.offering_id, Role.STUDENT, actor=SYSTEM, now=now)
        actor = actor_for(session, person)
        submit(session, system.blobs, task, work, actor=actor, now=now, via="page")
        first = session.scalars(select(Run)).one()
    grade(system, first.id)
    receipt = tmp_path / "receipt.json"
    with system.sessions() as session:
        receipt.write_text(session.scalars(select(GradeReceipt.document)).one())
    keys = tmp_path / "keys.json"
    keys.write_text(run("audit", "keys")[1])
    return Site(system=system, course=course, submission=folder, receipt=receipt, keys=keys)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout


def test_a_receipt_holds_here_and_anywhere_and_nothing_else_does(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, printed = run("grade", "--verify", site.receipt)
    assert (code, printed.splitlines()[-1]) == (0, "The receipt holds.")
    code, printed = run("audit", "verify", "--json")
    report = json.loads(printed)
    assert (code, report["ok"], report["receipts"]) == (0, True, 1)

    # Somewhere else: no data folder, only the files and the site's public keys.
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "elsewhere"))
    given = ("--source", site.course / "source" / "ps1", "--submission", site.submission)
    trust = ("--key", site.keys)
    code, printed = run("grade", "--verify", site.receipt, *given, *trust, "--json")
    assert (code, json.loads(printed)["problems"]) == (0, [])
    code, printed = run("grade", "--verify", site.receipt, *trust)
    assert (code, "name the source with --source" in printed) == (1, True)

    changed = tmp_path / "changed.json"
    changed.write_text(site.receipt.read_text().replace('"auto_score": 0.0', '"auto_score": 2.0'))
    code, printed = run("grade", "--verify", changed, *given, *trust)
    assert (code, "changed after it was signed" in printed) == (1, True)

    (site.submission / "n.ipynb").write_text("{}")
    code, printed = run("grade", "--verify", site.receipt, *given, *trust)
    assert (code, "The submission given is not the one" in printed) == (1, True)
    write_source(site.course, 2)
    code, printed = run("grade", "--verify", site.receipt, *given, *trust)
    assert (code, "The source given is not the one" in printed) == (1, True)
    assert "Its tests or points differ" in printed


def test_a_wrong_hidden_test_is_mended_with_a_preview_first(site: Site) -> None:
    write_source(site.course, 2)
    code, printed = run("course", "regrade", "preview", site.course, "ps1", "--json")
    plan = json.loads(printed)
    assert (code, plan["touched"], plan["waiting"]) == (0, 1, 1)
    assert plan["changes"] == [{"kind": "test", "notebook": "n", "name": "t"}]
    with pytest.raises(ConflictError):
        run("course", "regrade", "apply", plan["plan"])
    with site.system.sessions() as session:
        preview = session.scalars(select(Run).where(Run.preview.is_(True))).one()
    site.grade(preview)
    code, printed = run("course", "regrade", "show", plan["plan"])
    assert "1 gain, 0 lose" in printed
    assert "minseo: +2 (n:t 0 → 2)" in printed
    assert run("course", "regrade", "apply", plan["plan"])[0] == 0
    with site.system.sessions() as session:
        newest = latest_run(session, preview.submission_id)
        assert newest is not None
        assert (newest.id, newest.score, newest.number) == (preview.id, 2.0, 3)
        assert (newest.integrity, newest.held) == ("verified", False)
        site.receipt.write_text(session.get_one(GradeReceipt, newest.id).document)
    assert run("audit", "verify")[0] == 0
    assert run("grade", "--verify", site.receipt)[0] == 0


def test_the_key_can_change_and_the_log_shows_a_change_of_a_score(site: Site) -> None:
    assert run("audit", "rotate-key")[0] == 0
    assert run("grade", "--verify", site.receipt)[0] == 0
    with transaction(site.system.sessions) as session:
        changed = session.scalars(select(Run)).one()
        changed.score = 2.0
        changed.finished_at = clock.now() + timedelta(hours=1)
    code, printed = run("audit", "verify")
    assert (code, "differs from its receipt" in printed) == (1, True)
