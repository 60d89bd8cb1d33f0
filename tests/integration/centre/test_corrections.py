"""A correction that central applied is followed at a centre; one that it only published is not."""

import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from lms.bootstrap import System
from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.service import load_task, read_release
from lms.centre.corrections import FILE, follow_corrections
from lms.exchange.service import submit
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.grading.models import Run
from lms.identity.scopes import SYSTEM, Actor
from lms.identity.service import add_person
from lms.migrations.run import upgrade
from lms.protocol.grading import RunStatus
from tests.factories.centres import grade
from tests.factories.grading import finding
from tests.integration.centre.test_sealed_course import BEFORE, COURSE, COURSES, TASK, Stage


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Central and a box with one course; nothing is sealed."""
    stage = Stage(tmp_path, monkeypatch)
    for name in ("central", "gimje"):
        system = stage.system(name)
        upgrade(system.engine)
        system.engine.dispose()
    shutil.copytree(COURSES / COURSE, tmp_path / COURSE)
    stage.publish()
    ticket, reply = str(tmp_path / "gimje.ticket"), str(tmp_path / "gimje.reply")
    repository = str(tmp_path / "repository")
    stage.lms("central", "centre", "invite", "gimje", "--bundles", repository, "--out", ticket)
    stage.lms("gimje", "centre", "join", ticket, "--reply", reply)
    stage.lms("central", "centre", "approve", reply)
    stage.pull("gimje")
    return stage


def _hand_in(system: System, name: str) -> int:
    """Hand in the released notebooks as they are; returns the submission."""
    with transaction(system.sessions) as session:
        person, _ = add_person(
            session, name, name.title(), actor=SYSTEM, now=BEFORE, uids=system.settings.uids
        )
        found = session.scalars(
            select(OfferedAssignment).join(Assignment).where(Assignment.key == TASK)
        ).one()
        task = load_task(session, found.id)
        assert task.release is not None
        files = read_release(system.blobs, task.release, "student")
        actor = Actor(person_id=person.id, username=name, is_admin=True)
        made = submit(session, system.blobs, task, files, actor=actor, now=BEFORE, via="page")
        return made.submission_id


def _mend(stage: Stage) -> None:
    """Change a hidden test of the assignment in central's folder."""
    [path] = (stage.folder / COURSE / "source" / TASK).glob("*.ipynb")
    text = path.read_text("utf-8")
    assert "### BEGIN HIDDEN TESTS" in text
    path.write_text(
        text.replace("### BEGIN HIDDEN TESTS\\n", "### BEGIN HIDDEN TESTS\\nassert 1 + 1 == 2\\n"),
        "utf-8",
    )


def _runs(system: System) -> dict[int, list[tuple[RunStatus, int | None]]]:
    found: dict[int, list[tuple[RunStatus, int | None]]] = {}
    with system.sessions() as session:
        for run in session.scalars(select(Run).order_by(Run.number)):
            release = session.get(Release, run.release_id) if run.release_id else None
            found.setdefault(run.submission_id, []).append(
                (RunStatus(run.status), release.number if release else None)
            )
    return found


def test_an_applied_correction_is_graded_at_the_centre(stage: Stage) -> None:
    system = stage.system("gimje")
    graded, queued = _hand_in(system, "haru"), _hand_in(system, "nabi")
    grade(system, graded, (finding(),))
    _mend(stage)
    said = stage.lms(
        "central", "course", "regrade", "preview", str(stage.folder / COURSE), TASK, "--json"
    )
    stage.lms("central", "course", "regrade", "apply", str(json.loads(said)["plan"]))
    stage.publish()
    stage.pull("gimje")
    assert _runs(system) == {
        graded: [(RunStatus.GRADED, None), (RunStatus.QUEUED, 2)],
        queued: [(RunStatus.QUEUED, 2)],
    }
    assert stage.releases("gimje") == stage.releases("central")
    # The same version again, and a later one that corrects nothing more.
    grade(system, graded, (finding(),))
    toml = stage.folder / COURSE / "course.toml"
    toml.write_text(toml.read_text("utf-8") + "\n# later\n", "utf-8")
    stage.publish()
    stage.pull("gimje")
    assert [status for status, _ in _runs(system)[graded]] == [RunStatus.GRADED, RunStatus.GRADED]
    system.engine.dispose()


def test_what_was_only_published_changes_no_grade(stage: Stage) -> None:
    system = stage.system("gimje")
    graded = _hand_in(system, "haru")
    grade(system, graded, (finding(),))
    _mend(stage)
    stage.publish()
    stage.pull("gimje")
    assert stage.releases("gimje") == stage.releases("central")
    assert len(stage.releases("gimje")) == 3
    assert _runs(system) == {graded: [(RunStatus.GRADED, None)]}
    system.engine.dispose()


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"format": 1}', '{"releases": 3}'])
def test_what_cannot_be_understood_is_said(stage: Stage, tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    system = stage.system("gimje")
    with transaction(system.sessions) as session, pytest.raises(InvalidError, match="understood"):
        follow_corrections(session, system.blobs, tmp_path, now=clock.now())
    system.engine.dispose()
