"""Kill -9 at any moment of pulling and installing a course: it stands whole, in one version."""

import os
import random
import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from lms.catalogue.models import Course, Release, Unit
from lms.migrations.run import upgrade
from tests.fakes.dying import wait_or_kill
from tests.integration.centre.test_sealed_course import COURSE, COURSES, Stage

#: The longest that a pull lives before it is killed, in seconds.
LIFE = 0.2


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Central with a course, and a box that has joined and has nothing yet."""
    stage = Stage(tmp_path, monkeypatch)
    for name in ("central", "gimje"):
        system = stage.system(name)
        upgrade(system.engine)
        system.engine.dispose()
    shutil.copytree(COURSES / COURSE, tmp_path / COURSE)
    _write_version(stage, 0)
    ticket, reply = str(tmp_path / "gimje.ticket"), str(tmp_path / "gimje.reply")
    repository = str(tmp_path / "repository")
    stage.lms("central", "centre", "invite", "gimje", "--bundles", repository, "--out", ticket)
    stage.lms("gimje", "centre", "join", ticket, "--reply", reply)
    stage.lms("central", "centre", "approve", reply)
    return stage


def _write_version(stage: Stage, number: int) -> None:
    """Publish a version that says its number in course and units, and changes each test."""
    toml = stage.folder / COURSE / "course.toml"
    text = (COURSES / COURSE / "course.toml").read_text("utf-8")
    text = re.sub(
        r"(?m)^summary = .*$", f'summary = {{ ko = "v{number}", en = "v{number}" }}', text
    )
    toml.write_text(text, "utf-8")
    for path in (stage.folder / COURSE / "source").rglob("*.ipynb"):
        origin = COURSES / path.relative_to(stage.folder)
        path.write_text(
            origin.read_text("utf-8").replace(
                "### BEGIN HIDDEN TESTS\\n", f"### BEGIN HIDDEN TESTS\\nassert {number} >= 0\\n"
            ),
            "utf-8",
        )
    stage.publish()


def _pull_and_die(stage: Stage, seconds: float) -> bool:
    """Pull in a process that is killed after so long; says whether it was killed in time."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            stage.pull("gimje")
            code = 0
        finally:
            os._exit(code)
    return wait_or_kill(child, seconds)


def _look(stage: Stage) -> str:
    """Return the version that stands; everything of it must be of that version."""
    system = stage.system("gimje")
    try:
        with system.sessions() as session:
            course = session.scalars(select(Course)).first()
            if course is None:
                assert session.scalars(select(Unit)).all() == []
                return ""
            said = {course.summary.en, *(unit.summary.en for unit in course.units)}
            assert len(said) == 1, said
            releases = session.scalars(select(Release)).all()
            assert len({one.digest for one in releases}) == len(releases)
            assert all(one.digest in system.blobs for one in releases)
            # Every version has changed both assignments.
            numbers = sorted(one.number for one in releases)
            assert numbers == sorted([*range(1, len(numbers) // 2 + 1)] * 2)
            return str(said.pop())
    finally:
        system.engine.dispose()


def _storm(stage: Stage, kills: int, seed: int) -> int:
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    done = version = 0
    for number in range(kills):
        # Some versions are pulled after more than one kill.
        if number % 4 != 3:
            version += 1
            _write_version(stage, version)
        before = _look(stage)
        done += _pull_and_die(stage, chance.uniform(0.005, LIFE))
        assert _look(stage) in {before, f"v{version}"}
    stage.pull("gimje")
    assert _look(stage) == f"v{version}"
    assert not any((stage.folder / "gimje/bundles/laid").iterdir())
    return done


def test_some_kills_leave_a_whole_course(stage: Stage) -> None:
    assert _storm(stage, 8, 3) >= 1


@pytest.mark.slow
def test_hundreds_of_kills_leave_a_whole_course(stage: Stage) -> None:
    assert _storm(stage, 250, 6) >= 80
