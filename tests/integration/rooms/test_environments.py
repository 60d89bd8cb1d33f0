"""A course's environment from its files into releases, recipes and receipts."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.environments import used_requirements
from lms.catalogue.errors import CourseFileError
from lms.catalogue.loading import import_tree
from lms.catalogue.models import Course, Release
from lms.catalogue.service import read_release
from lms.cli.main import cli
from lms.exchange.service import submit
from lms.foundation.blobs import BlobStore
from lms.grading.jobs import read_job
from lms.grading.queue import enqueue
from lms.identity.scopes import SYSTEM, Role
from lms.outposts.environments.identity import kernel_name
from lms.outposts.environments.requirements import parse
from lms.outposts.runner.version import environment_digest
from tests.factories import actor_of, make_person
from tests.factories.wheels import make_course, make_wheel, pin


def requirements(tmp_path: Path, version: str) -> str:
    return pin(make_wheel(tmp_path / "wheels", "tiny", version))


def load(session: Session, blobs: BlobStore, folder: Path, now: datetime) -> Release:
    loaded = import_tree(session, blobs, folder, actor=SYSTEM, now=now)
    return loaded.releases[f"{folder.name}/ps1"]


def test_a_release_names_the_requirements_it_was_made_with(
    session: Session, blobs: BlobStore, now: datetime, tmp_path: Path
) -> None:
    folder = make_course(tmp_path / "tiny-course", requirements(tmp_path, "1"))
    first = load(session, blobs, folder, now)
    assert load(session, blobs, folder, now) is first
    make_course(folder, requirements(tmp_path, "2"))
    second = load(session, blobs, folder, now)

    assert (first.number, second.number) == (1, 2)
    for release, version in ((first, "1"), (second, "2")):
        asked = parse(requirements(tmp_path, version).encode())
        manifest: dict[str, Any] = json.loads(blobs.get(release.digest))
        assert manifest["environment"] == {"requirements": asked.digest}
        assert release.environment == asked.digest
        assert parse(blobs.get(release.environment)).digest == asked.digest
        student = json.loads(read_release(blobs, release, "student")["ps1.ipynb"])
        assert student["metadata"]["kernelspec"]["name"] == kernel_name(asked.digest)
    # The old one is in nobody's hands any more: its offering gives the new one.
    assert used_requirements(session) == {
        second.environment: ["tiny-course", "tiny-course-2026 (2)"]
    }
    assert session.scalar(select(Course.environment)) == second.environment


def test_a_course_without_one_is_as_it_was(
    session: Session, blobs: BlobStore, now: datetime, tmp_path: Path
) -> None:
    release = load(session, blobs, make_course(tmp_path / "plain", ""), now)
    assert release.environment == ""
    assert "environment" not in json.loads(blobs.get(release.digest))
    student = json.loads(read_release(blobs, release, "student")["ps1.ipynb"])
    assert student["metadata"]["kernelspec"]["name"] == "python3"


def test_a_load_stops_at_requirements_that_cannot_be_used(
    session: Session, blobs: BlobStore, now: datetime, tmp_path: Path
) -> None:
    folder = make_course(tmp_path / "loose", "tiny>=2\n")
    with pytest.raises(
        CourseFileError, match=r"loose/requirements\.txt: Line 1: tiny has no exact"
    ):
        load(session, blobs, folder, now)
    (folder / "requirements.txt").unlink()
    with pytest.raises(CourseFileError, match=r"requirements\.txt cannot be read"):
        load(session, blobs, folder, now)


def test_a_run_follows_from_its_own_releases_environment(
    session: Session, blobs: BlobStore, now: datetime, tmp_path: Path
) -> None:
    folder = make_course(tmp_path / "tiny-course", requirements(tmp_path, "1"))
    release = load(session, blobs, folder, now)
    task = release.assignment.course.offerings[0].tasks[0]
    student = make_person(session, "kim")
    actor = actor_of(student, **{f"o{task.offering_id}": Role.STUDENT})
    files = {"ps1.ipynb": read_release(blobs, release, "student")["ps1.ipynb"]}
    receipt = submit(session, blobs, task, files, actor=actor, now=now, via="page")
    run = enqueue(session, receipt.submission_id, now=now)
    job = read_job(session, blobs, run.id)
    assert job.requirements == release.environment
    assert job.recipe.environment == environment_digest(release.environment)
    make_course(folder, requirements(tmp_path, "2"))
    newer = load(session, blobs, folder, now)
    assert newer.environment != release.environment
    assert read_job(session, blobs, run.id).recipe == job.recipe


def test_the_check_tells_every_line_that_is_wrong(tmp_path: Path) -> None:
    make_course(tmp_path / "loose", "tiny>=2\nother==1\nipython==1.0 --hash=sha256:" + "0" * 64)
    ran = CliRunner().invoke(cli, ["course", "check", "--json", str(tmp_path / "loose")])
    assert ran.exit_code == 1
    report = json.loads(ran.stdout)
    assert not report["ok"]
    said = [problem["message"] for problem in report["problems"]]
    assert [problem["where"] for problem in report["problems"]] == ["loose/requirements.txt"] * 2
    assert "tiny has no exact version" in said[0]
    assert "other has no hash" in said[1]
    ran = CliRunner().invoke(cli, ["course", "check", str(tmp_path / "loose" / "source" / "ps1")])
    assert (ran.exit_code, ran.stdout.count("error: loose/requirements.txt")) == (1, 2)
