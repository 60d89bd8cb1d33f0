"""Hidden tests at a centre: the course teaches before they open, and what waits is graded after."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from lms.bootstrap import System, build
from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.service import is_sealed, load_task, read_release
from lms.cli.main import cli
from lms.exchange.service import submit
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.grading.audit import Act
from lms.grading.environments import look_at_parked
from lms.grading.jobs import read_job
from lms.grading.models import AuditEntry, Run
from lms.grading.queue import PARKED, claim_next
from lms.identity.scopes import SYSTEM, Actor
from lms.identity.service import add_person
from lms.migrations.run import upgrade
from lms.outposts.executors.job import Graded, GradingJob, Place
from lms.worker.grading import Grader
from tests.fakes.clock import Clock

COURSE, TASK = "python-for-ai", "letter-detective"
COURSES = Path(__file__).parents[3] / "courses"
OPENS = "2026-12-21T09:00:00+09:00"
BEFORE = datetime(2026, 12, 1, tzinfo=UTC)

Lms = Callable[..., Result]


class Stage:
    """Central and two boxes, with a clock for all."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.clock, self._patch = folder, Clock(BEFORE), patch
        patch.setattr(clock, "now", self.clock)

    def lms(self, machine: str, *words: str) -> str:
        """Run `lms …` on a machine; what it said."""
        done = self.run(machine, *words)
        assert done.exit_code == 0, f"{done.output} {done.exception}"
        return done.output

    def run(self, machine: str, *words: str) -> Result:
        self._patch.setenv("LMS_DATA", str(self.folder / machine))
        self._patch.setenv("LMS_URL", "http://127.0.0.1:9")
        return CliRunner().invoke(cli, list(words))

    def refused(self, machine: str, *words: str) -> str:
        done = self.run(machine, *words)
        assert done.exit_code != 0, done.output
        return f"{done.output} {done.exception}"

    def system(self, machine: str) -> System:
        return build(Settings(data_dir=self.folder / machine))

    def publish(self) -> None:
        """Central imports the course and adds it to its repository."""
        course, repository = str(self.folder / COURSE), str(self.folder / "repository")
        self.lms("central", "course", "import", course)
        self.lms("central", "bundle", "build", course, "--course", COURSE, "--to", repository)

    def pull(self, machine: str) -> None:
        self.lms(machine, "centre", "pull", "--from", str(self.folder / "repository"))

    def code(self, name: str) -> str:
        said = self.lms("central", "bundle", "code", COURSE, "--centre", name, "--json")
        [row] = json.loads(said)
        return str(row["code"])

    def releases(self, machine: str) -> dict[str, str]:
        system = self.system(machine)
        with system.sessions() as session:
            found = session.scalars(select(Release)).all()
            rows = {f"{one.assignment.key} {one.number}": one.digest for one in found}
        system.engine.dispose()
        return rows


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a stage that others are copied from: joined boxes, a sealed course."""
    folder = tmp_path_factory.mktemp("sealed")
    with pytest.MonkeyPatch.context() as patch:
        stage = Stage(folder, patch)
        for name in ("central", "gimje", "namwon"):
            system = stage.system(name)
            upgrade(system.engine)
            system.engine.dispose()
        shutil.copytree(COURSES / COURSE, folder / COURSE)
        toml = folder / COURSE / "course.toml"
        keyed = f'key = "{TASK}"\n'
        text = toml.read_text("utf-8").replace(keyed, f"{keyed}sealed_until = {OPENS}\n", 1)
        toml.write_text(text, "utf-8")
        stage.publish()
        for box in ("gimje", "namwon"):
            ticket, reply = str(folder / f"{box}.ticket"), str(folder / f"{box}.reply")
            bundles = ("--bundles", str(folder / "repository"))
            stage.lms("central", "centre", "invite", box, *bundles, "--out", ticket)
            stage.lms(box, "centre", "join", ticket, "--reply", reply)
            stage.lms("central", "centre", "approve", reply)
            stage.pull(box)
    return folder


@pytest.fixture
def stage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, monkeypatch)


def _hand_in(system: System) -> int:
    """Hand in the released notebooks as they are; returns the run."""
    with transaction(system.sessions) as session:
        person, _ = add_person(
            session, "hana", "Hana", actor=SYSTEM, now=BEFORE, uids=system.settings.uids
        )
        task = session.scalars(
            select(OfferedAssignment)
            .join(Assignment, Assignment.id == OfferedAssignment.assignment_id)
            .where(Assignment.key == TASK)
        ).one()
        task = load_task(session, task.id)
        assert task.release is not None
        files = read_release(system.blobs, task.release, "student")
        actor = Actor(person_id=person.id, username="hana", is_admin=True)
        submit(session, system.blobs, task, files, actor=actor, now=BEFORE, via="web")
        return session.scalars(select(Run.id)).one()


def _grade_next(system: System) -> None:
    with transaction(system.sessions) as session:
        [claim] = claim_next(session, "w", now=BEFORE)
    Grader(system=system, place=Place())(claim, _never)


def _never(_: GradingJob) -> "Future[Graded]":
    raise AssertionError("nothing can be graded before its hidden tests are open")


def test_centre_teaches_and_takes_work_before_the_opening_and_grades_after(stage: Stage) -> None:
    assert stage.releases("gimje") == stage.releases("central")
    system = stage.system("gimje")
    run = _hand_in(system)
    _grade_next(system)
    with system.sessions() as session:
        assert session.get_one(Run, run).resource == PARKED
        [told] = look_at_parked(session, lambda _: True)
        assert "hidden tests which are still sealed: 1" in str(told)
    said = stage.refused("central", "bundle", "code", COURSE, "--centre", "gimje")
    assert "open at 2026-12-21T09:00:00+09:00: there is no code before" in said

    stage.clock.at = datetime.fromisoformat(OPENS)
    said = stage.lms("gimje", "bundle", "open", COURSE, stage.code("gimje"))

    assert "are open" in said
    with system.sessions() as session:
        assert session.get_one(Run, run).resource == "cpu"
        job = read_job(session, system.blobs, run)
        assert f"{TASK}.ipynb" in job.source.files
        central = stage.system("central")
        with central.sessions() as theirs:
            release = theirs.scalars(
                select(Release).join(Assignment).where(Assignment.key == TASK)
            ).one()
            assert job.source.files == read_release(central.blobs, release, "instructor")
        central.engine.dispose()
    system.engine.dispose()
    assert stage.releases("gimje") == stage.releases("central")


def test_nothing_of_the_source_lies_at_the_centre_before(stage: Stage) -> None:
    system = stage.system("gimje")
    central = stage.system("central")
    with central.sessions() as session:
        digest = stage.releases("central")[f"{TASK} 1"]
        release = session.scalars(select(Release).where(Release.digest == digest)).one()
        hidden, shown = (
            read_release(central.blobs, release, side)[f"{TASK}.ipynb"].splitlines()
            for side in ("instructor", "student")
        )
    secrets = [
        line for line in hidden if b"assert" in line and line not in shown and len(line) > 50
    ]
    assert len(secrets) > 3
    assert is_sealed(system.blobs, digest)
    for place in ("gimje", "repository"):
        for path in (stage.folder / place).rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert not any(line in content for line in secrets), path
    central.engine.dispose()
    system.engine.dispose()


def test_code_is_good_for_one_centre_and_given_out_in_writing(stage: Stage) -> None:
    stage.clock.at = datetime.fromisoformat(OPENS)
    code = stage.code("gimje")
    assert code != stage.code("namwon")
    assert code == stage.code("gimje"), "asked again, the same"
    said = stage.refused("namwon", "bundle", "open", COURSE, code)
    assert "another centre: ask central for the one of “namwon”" in said
    assert "another course" not in stage.lms("gimje", "bundle", "open", COURSE, code)
    stage.lms("namwon", "bundle", "open", COURSE, stage.code("namwon"))
    system = stage.system("central")
    with system.sessions() as session:
        acts = session.scalars(select(AuditEntry.kind)).all()
    system.engine.dispose()
    assert acts == [Act.SEAL_CODE_GIVEN] * 2


def test_fix_before_the_opening_serves_both_releases(stage: Stage) -> None:
    system = stage.system("gimje")
    run = _hand_in(system)
    _grade_next(system)
    notebook = stage.folder / COURSE / "source" / TASK / f"{TASK}.ipynb"
    notebook.write_text(notebook.read_text("utf-8").replace("assert ", "assert  "), "utf-8")
    stage.publish()
    stage.pull("gimje")
    assert len(stage.releases("gimje")) == 3

    stage.clock.at = datetime.fromisoformat(OPENS)
    stage.lms("gimje", "bundle", "open", COURSE, stage.code("gimje"))

    assert stage.releases("gimje") == stage.releases("central")
    with system.sessions() as session:
        assert session.get_one(Run, run).resource == "cpu", "what was handed in for the first one"
        for release in session.scalars(select(Release)):
            assert not is_sealed(system.blobs, release.digest)
    system.engine.dispose()


def test_what_cannot_be_given_out_is_said(stage: Stage) -> None:
    stage.clock.at = datetime.fromisoformat(OPENS)
    said = stage.refused("central", "bundle", "code", "other", "--centre", "gimje")
    assert "other has no sealed files" in said
    stage.lms("central", "centre", "invite", "jeju", "--out", str(stage.folder / "jeju.ticket"))
    said = stage.refused("central", "bundle", "code", COURSE, "--centre", "jeju")
    assert "has not joined yet" in said
    stage.lms("central", "centre", "revoke", "namwon", "--reason", "stolen")
    said = stage.refused("central", "bundle", "code", COURSE, "--centre", "namwon")
    assert "revoked" in said
    said = stage.refused("central", "bundle", "open", COURSE, "X")
    assert "has not joined as a centre" in said
