"""One environment in notebooks and in grading alike, each release with its own, for good."""

import json
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.bootstrap import System, build
from lms.catalogue.models import Release
from lms.catalogue.service import get_task, read_release
from lms.cli.main import cli
from lms.enrolment.service import actor_for, assign_role
from lms.exchange.service import submit
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import load_settings
from lms.grading.environments import look_at_parked
from lms.grading.models import GradeReceipt, Run
from lms.grading.queue import PARKED, claim_next
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM, Role
from lms.identity.service import add_person
from lms.outposts.broker.zygotes import shared_zygotes
from lms.outposts.environments.build import build as build_environment
from lms.outposts.environments.folder import Built, Environments
from lms.outposts.environments.requirements import parse
from lms.outposts.executors.job import Graded, GradingJob, run_job
from lms.protocol.grading import RunStatus
from lms.worker.executors import place_of
from lms.worker.grading import Grader
from tests.factories.notebooks import answered
from tests.factories.wheels import make_course, make_wheel, pin

pytestmark = [pytest.mark.sandbox, pytest.mark.kernel]

ANSWER = "import tiny\n\ndef version():\n    return tiny.VERSION"


@dataclass(frozen=True)
class Site:
    """A site with one course whose environment has tiny, first at 1, then at 2."""

    system: System
    course: Path
    wheels: Path

    @property
    def environments(self) -> Environments:
        return Environments(self.system.settings.environments_dir)

    def publish(self, version: str) -> Release:
        """Let the course teach with this version, and its test want it; return the release."""
        requirements = pin(make_wheel(self.wheels, "tiny", version))
        make_course(self.course, requirements, version=version)
        assert run("course", "import", self.course)[0] == 0
        with self.system.sessions() as session:
            return session.scalars(select(Release).order_by(Release.number.desc())).all()[0]

    def build(self, version: str) -> Built:
        asked = parse(pin(make_wheel(self.wheels, "tiny", version)).encode())
        return build_environment(self.environments, asked, wheels=self.wheels, trial=lambda _: None)

    def hand_in(self, username: str) -> int:
        """Hand in the right answer to the release in force; return the run's id."""
        with transaction(self.system.sessions) as session:
            task = get_task(session, "tiny-course-2026", "ps1")
            assert task.release is not None
            files = read_release(self.system.blobs, task.release, "student")
            work = {"ps1.ipynb": answered(files["ps1.ipynb"], {"version": ANSWER})}
            person = self._person(session, username, task.offering_id)
            actor = actor_for(session, person)
            now = clock.now()
            submit(session, self.system.blobs, task, work, actor=actor, now=now, via="page")
            return session.scalars(select(Run.id).order_by(Run.id.desc())).all()[0]

    def _person(self, session: Session, username: str, offering_id: int) -> Person:
        uids, now = self.system.settings.uids, clock.now()
        person, _ = add_person(session, username, username, actor=SYSTEM, now=now, uids=uids)
        assign_role(session, person.id, offering_id, Role.STUDENT, actor=SYSTEM, now=now)
        return person

    def grade(self) -> None:
        """Claim and grade what can be graded, as the worker does."""
        grader = Grader(system=self.system, place=place_of(self.system.settings))
        while True:
            with transaction(self.system.sessions) as session:
                claims = claim_next(session, "w", now=clock.now())
            if not claims:
                return
            grader(claims[0], here)

    def run(self, run_id: int) -> Run:
        with self.system.sessions() as session:
            return session.get_one(Run, run_id)


def here(job: GradingJob) -> "Future[Graded]":
    done: Future[Graded] = Future()
    done.set_result(run_job(job))
    return done


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)
    return result.exit_code, result.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "data"))
    course = tmp_path / "tiny-course"
    make_course(course, "")
    assert run("course", "import", course)[0] == 0
    system = build(load_settings())
    yield Site(system=system, course=course, wheels=tmp_path / "wheels")
    system.engine.dispose()
    shared_zygotes.close()


def in_notebook(site: Site, release: Release, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a cell in the kernel that a student's notebook of this release asks for."""
    monkeypatch.setenv("JUPYTER_PATH", str(site.environments.root))
    notebook = json.loads(read_release(site.system.blobs, release, "student")["ps1.ipynb"])
    name = notebook["metadata"]["kernelspec"]["name"]
    manager = KernelManager(kernel_name=name, kernel_spec_manager=KernelSpecManager())
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(60)
        said: list[str] = []
        client.execute_interactive(
            f"{ANSWER}\nprint(version())",
            timeout=60,
            output_hook=lambda message: said.append(str(message["content"].get("text", ""))),
        )
        return "".join(said).strip()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_what_works_in_the_notebook_works_in_grading_and_old_releases_keep_their_own(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = site.publish("1")
    site.build("1")
    early = site.hand_in("minseo")
    new = site.publish("2")
    site.build("2")
    late = site.hand_in("jihun")
    site.grade()

    assert old.environment != new.environment
    assert [in_notebook(site, one, monkeypatch) for one in (old, new)] == ["1", "2"]
    for run_id in (early, late):
        graded = site.run(run_id)
        assert (graded.status, graded.score, graded.integrity) == ("graded", 2.0, "verified")
    recipes = [site.run(run_id).recipe or {} for run_id in (early, late)]
    assert recipes[0]["environment"] != recipes[1]["environment"]

    # The receipt of the first says which requirements, and grading again with them confirms it.
    with site.system.sessions() as session:
        documents = session.scalars(select(GradeReceipt.document)).all()
    receipt = site.course.with_name("receipt.json")
    receipt.write_text(next(one for one in documents if old.digest in one))
    assert old.environment in receipt.read_text()
    code, printed = run("grade", "--verify", receipt)
    assert (code, printed.splitlines()[-1]) == (0, "The receipt holds.")


def test_the_command_grades_in_the_courses_environment(site: Site) -> None:
    site.publish("2")
    source = site.course / "source" / "ps1"
    told = CliRunner().invoke(cli, ["grade", str(source), str(source)])
    assert told.exit_code != 0
    assert "is not built on this machine" in str(told.exception)
    code, printed = run("course", "check", "--json", source)
    assert code == 1
    assert "is not built on this machine" in json.loads(printed)["problems"][0]["message"]
    site.build("2")
    code, printed = run("grade", "--json", source, source)
    assert code == 0
    (result,) = json.loads(printed)["results"]
    assert (result["score"], result["integrity"]) == (2.0, "verified")


def test_a_run_whose_environment_is_not_built_waits_and_costs_nothing(site: Site) -> None:
    release = site.publish("2")
    waiting = site.hand_in("minseo")
    site.grade()
    parked = site.run(waiting)
    assert (parked.status, parked.resource) == (RunStatus.QUEUED, PARKED)
    assert (parked.environment, parked.interruptions) == (release.environment, 0)
    with transaction(site.system.sessions) as session:
        (told,) = look_at_parked(session, site.environments.has)
    assert "Submissions that wait for an environment which is not built here: 1." in str(told)
    assert release.environment in str(told)

    site.build("2")
    with transaction(site.system.sessions) as session:
        assert look_at_parked(session, site.environments.has) == []
    site.grade()
    graded = site.run(waiting)
    assert (graded.status, graded.score, graded.resource) == ("graded", 2.0, "cpu")
    assert graded.environment == ""
