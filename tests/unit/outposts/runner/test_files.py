"""Reading folders and finding submissions in them."""

import os
import unicodedata
from pathlib import Path

import pytest

from lms.outposts.runner.errors import ReleaseError, RunnerError
from lms.outposts.runner.files import read_assignment, read_submission
from lms.outposts.runner.notebooks import NOTEBOOK_BYTES
from lms.outposts.runner.submissions import FoundSubmission, find_submissions


def test_an_assignment_is_read_with_nbgraders_rules(tmp_path: Path) -> None:
    folder = tmp_path / "source" / "ps1"
    for name in (
        "n.ipynb",
        "data/x.csv",
        ".ipynb_checkpoints/n.ipynb",
        "__pycache__/a.pyc",
        "b.pyc",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert sorted(read_assignment(folder)) == ["data/x.csv", "n.ipynb"]


def test_a_link_within_the_course_is_followed_and_one_out_of_it_refused(tmp_path: Path) -> None:
    course = tmp_path / "course"
    folder = course / "source" / "ps1"
    folder.mkdir(parents=True)
    (course / "shared.csv").write_bytes(b"1")
    (folder / "data.csv").symlink_to(course / "shared.csv")
    assert read_assignment(folder) == {"data.csv": b"1"}
    (tmp_path / "secret").write_bytes(b"2")
    (folder / "other").symlink_to(tmp_path / "secret")
    with pytest.raises(ReleaseError, match="leads out of the course"):
        read_assignment(folder)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="There is no folder"):
        read_assignment(tmp_path / "nowhere")


def test_of_a_submission_only_regular_notebooks_are_read(tmp_path: Path) -> None:
    (tmp_path / "good.ipynb").write_bytes(b"1")
    (tmp_path / "link.ipynb").symlink_to(tmp_path / "good.ipynb")
    (tmp_path / "folder.ipynb").mkdir()
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "numpy.py").write_bytes(b"")
    with (tmp_path / "large.ipynb").open("wb") as file:
        file.truncate(NOTEBOOK_BYTES + 1)
    files = read_submission(tmp_path)
    assert files.notebooks == {"good": b"1"}
    assert sorted(files.refused) == ["folder", "large", "link", "pipe"]
    assert files.modules == ("numpy.py",)


def test_bytes_and_folders_are_read_alike(tmp_path: Path) -> None:
    content = {"a.ipynb": b"1", "sub/b.ipynb": b"2", "c.ipynb": b" " * (NOTEBOOK_BYTES + 1)}
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    from_bytes, from_folder = read_submission(content), read_submission(tmp_path)
    assert from_bytes == from_folder
    assert dict(from_bytes.notebooks) == {"a": b"1"}
    assert "larger than 50 MB" in str(from_bytes.refused["c"])


def test_a_decomposed_korean_name_is_the_same_name() -> None:
    name = unicodedata.normalize("NFD", "문제")
    assert read_submission({f"{name}.ipynb": b"1"}).notebooks == {"문제": b"1"}


def test_an_unreadable_folder_holds_nothing(tmp_path: Path) -> None:
    assert read_submission(tmp_path / "nowhere").notebooks == {}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for student in ("ann", "bob"):
        folder = tmp_path / "course" / "submitted" / student / "ps1"
        folder.mkdir(parents=True)
        (folder / "n.ipynb").write_bytes(b"1")
    (tmp_path / "course" / "submitted" / "bob" / "ps2").mkdir()
    return tmp_path / "course"


def test_a_tree_of_submissions_is_found_from_root_and_submitted(tree: Path) -> None:
    expected = ["ann", "bob"]
    assert [found.student for found in find_submissions(tree, "ps1")] == expected
    assert [found.student for found in find_submissions(tree / "submitted", "ps1")] == expected


def test_one_submission_is_found_from_its_folders_and_its_notebook(tree: Path) -> None:
    student = tree / "submitted" / "ann"
    assert find_submissions(student / "ps1", "ps1") == [
        FoundSubmission(student="ann", content=student / "ps1")
    ]
    assert find_submissions(student, "ps1") == [
        FoundSubmission(student="ann", content=student / "ps1")
    ]
    assert find_submissions(student / "ps1" / "n.ipynb", "ps1") == [
        FoundSubmission(student="n", content={"n.ipynb": b"1"})
    ]


def test_an_empty_folder_is_an_empty_submission(tmp_path: Path) -> None:
    empty = tmp_path / "cem"
    empty.mkdir()
    assert find_submissions(empty, "ps1") == [FoundSubmission(student="cem", content=empty)]


def test_a_linked_student_has_handed_in_nothing(tree: Path) -> None:
    (tree / "submitted" / "eve").symlink_to(tree / "submitted" / "ann")
    found = {one.student: one.content for one in find_submissions(tree, "ps1")}
    assert found["eve"] == {}


def test_a_tree_without_the_assignment_and_a_missing_folder_are_said(tree: Path) -> None:
    with pytest.raises(RunnerError, match="No submission of ps9 was found"):
        find_submissions(tree, "ps9")
    with pytest.raises(RunnerError, match="There is no folder"):
        find_submissions(tree / "nowhere", "ps1")
