"""Contract: our exchange classes do what nbgrader's tools expect, over real HTTP."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nbgrader.auth import Authenticator
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeError
from traitlets.config import Config

from lms.exchange.models import Submission
from lms.outposts.notebook import instructor, listing, student
from lms.outposts.notebook.assignment_list import LmsAssignmentList
from tests.factories import notebook
from tests.fakes.exchange_lms import Lms, graded


def run(verb: type, config: Config, **traits: object) -> Any:  # noqa: ANN401
    """Run an exchange class as nbgrader's applications do."""
    exchange = verb(
        coursedir=CourseDirectory(config=config),
        authenticator=Authenticator(config=config),
        config=config,
    )
    for name, value in traits.items():
        setattr(exchange, name, value)
    return exchange.start()


# --- a student's way through nbgrader's own shapes ---


def test_an_assignment_goes_from_released_to_fetched_to_submitted_with_feedback(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    config = as_person("minsu")
    folder = tmp_path / "homes/minsu/courses/py-2026/ps1"
    assert [a["status"] for a in run(listing.ExchangeList, config)] == ["released"]

    run(student.ExchangeFetchAssignment, config)
    assert (folder / "data/점수.csv").read_bytes() == b"1,2\n"
    (fetched,) = run(listing.ExchangeList, config)
    assert fetched["status"] == "fetched"
    assert fetched["notebooks"] == [{"notebook_id": "ps1", "path": str(folder / "ps1.ipynb")}]

    (folder / "ps1.ipynb").write_bytes(notebook("answer = 42"))
    run(student.ExchangeSubmit, config)
    receipt = json.loads((tmp_path / "homes/minsu/receipts/py-2026/ps1-1.json").read_text())
    assert receipt["student"] == "minsu"
    assert receipt["digest"].startswith("sha256:")

    (listed,) = run(listing.ExchangeList, config, cached=True)
    (submission,) = listed["submissions"]
    assert submission["has_exchange_feedback"] is False

    graded(lms)
    (listed,) = run(listing.ExchangeList, config, cached=True)
    assert listed["submissions"][0]["has_exchange_feedback"] is True
    run(student.ExchangeFetchFeedback, config)
    (listed,) = run(listing.ExchangeList, config, cached=True)
    submission = listed["submissions"][0]
    assert submission["has_local_feedback"] is True
    assert submission["feedback_updated"] is False
    page = Path(submission["local_feedback_path"]) / "ps1.html"
    assert page.read_bytes() == b"<p>well done</p>"


def test_fetching_again_adds_what_is_missing_and_overwrites_nothing(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    config = as_person("minsu")
    folder = tmp_path / "homes/minsu/courses/py-2026/ps1"
    run(student.ExchangeFetchAssignment, config)
    (folder / "ps1.ipynb").write_text("my work")
    (folder / "data/점수.csv").unlink()
    with pytest.raises(ExchangeError, match="already have a copy"):
        run(student.ExchangeFetchAssignment, config)
    run(student.ExchangeFetchAssignment, config, replace_missing_files=True)
    assert (folder / "ps1.ipynb").read_text() == "my work"
    assert (folder / "data/점수.csv").exists()


def test_the_same_bytes_submitted_twice_are_one_attempt(
    lms: Lms, as_person: Callable[[str], Config]
) -> None:
    api = lms.api("minsu")
    first = api.submit("py-2026", "ps1", {"ps1.ipynb": notebook("a")})
    again = api.submit("py-2026", "ps1", {"ps1.ipynb": notebook("a")})
    other = api.submit("py-2026", "ps1", {"ps1.ipynb": notebook("b")})
    assert (first["attempt"], again["attempt"], other["attempt"]) == (1, 1, 2)
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert first["url"] == f"http://lms/submissions/{first['submission']}"


def test_feedback_and_checkpoints_are_not_handed_in(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    config = as_person("minsu")
    run(student.ExchangeFetchAssignment, config)
    folder = tmp_path / "homes/minsu/courses/py-2026/ps1"
    for extra in ("feedback/old/ps1.html", ".ipynb_checkpoints/ps1-checkpoint.ipynb"):
        (folder / extra).parent.mkdir(parents=True)
        (folder / extra).write_text("{}")
    (folder / "secret").symlink_to("/etc/passwd")
    run(student.ExchangeSubmit, config)
    with lms.sessions()() as session:
        files = session.query(Submission).one().files
    assert [file["path"] for file in files] == ["data/점수.csv", "ps1.ipynb"]


def test_a_strict_submission_without_a_notebook_is_not_sent(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    config = as_person("minsu")
    run(student.ExchangeFetchAssignment, config)
    (tmp_path / "homes/minsu/courses/py-2026/ps1/ps1.ipynb").unlink()
    with pytest.raises(ExchangeError, match=r"ps1\.ipynb is missing"):
        run(student.ExchangeSubmit, config, strict=True)
    with pytest.raises(ExchangeError, match="none of the files has that name"):
        run(student.ExchangeSubmit, config)


# --- Assignment List's back ---


def assignment_list(tmp_path: Path, name: str, config: Config) -> LmsAssignmentList:
    """Return the back of Assignment List as the server extension makes it."""
    config.ExchangeFactory.list = listing.ExchangeList
    config.ExchangeFactory.fetch_assignment = student.ExchangeFetchAssignment
    config.ExchangeFactory.submit = student.ExchangeSubmit
    config.ExchangeFactory.fetch_feedback = student.ExchangeFetchFeedback

    class Configured(LmsAssignmentList):
        def load_config(self) -> Config:
            return config

    manager = Configured()
    manager.root_dir = str(tmp_path / "homes" / name)
    return manager


def test_assignment_list_walks_from_course_to_submission(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    manager = assignment_list(tmp_path, "minsu", as_person("minsu"))
    assert manager.list_courses() == {"success": True, "value": ["py-2026"]}
    assert manager.fetch_assignment("py-2026", "ps1")["success"]
    (fetched,) = manager.list_assignments("py-2026")["value"]
    assert fetched["path"] == "courses/py-2026/ps1"
    assert manager.submit_assignment("py-2026", "ps1")["success"]
    answer = manager.list_assignments("py-2026")
    assert [item["status"] for item in answer["value"]] == ["fetched", "submitted"]
    json.dumps(answer)


def test_assignment_list_says_one_sentence_when_something_fails(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    manager = assignment_list(tmp_path, "sua", as_person("sua"))
    assert manager.list_courses() == {"success": True, "value": []}
    assert manager.submit_assignment("py-2026", "ps1")["value"].startswith("There is no folder")
    manager.fetch_assignment("py-2026", "ps1")
    answer = manager.list_assignments("py-2026")
    assert answer["success"] is False
    # sua reads Korean.
    assert "계정" in answer["value"]
    assert "Traceback" not in answer["value"]


# --- instructors ---


def test_an_instructor_collects_each_students_newest_attempt(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": notebook("first")})
    lms.api("minsu").submit("py-2026", "ps1", {"ps1.ipynb": notebook("second")})
    lms.api("jiwoo").submit("py-2026", "ps1", {"ps1.ipynb": notebook("mine")})
    config = as_person("suji")
    run(instructor.ExchangeCollect, config)
    collected = tmp_path / "homes/suji/teaching/submitted"
    assert (collected / "minsu/ps1/ps1.ipynb").read_bytes() == notebook("second")
    assert (collected / "jiwoo/ps1/ps1.ipynb").read_bytes() == notebook("mine")
    assert CourseDirectory(config=config).get_existing_timestamp(str(collected / "minsu/ps1"))


def test_an_instructor_releases_from_source(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    config = as_person("suji")
    source = tmp_path / "homes/suji/teaching/source/ps1"
    source.mkdir(parents=True)
    (source / "ps1.ipynb").write_bytes(notebook("print('new')"))
    run(instructor.ExchangeReleaseAssignment, config)
    assert b"new" in lms.api("minsu").fetch_release("py-2026", "ps1").files["ps1.ipynb"]
