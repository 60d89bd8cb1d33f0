"""Our gradebook against nbgrader's own, which adds up in SQL."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbgrader.api import Gradebook, InvalidEntry, MissingEntry

from lms.outposts.runner.gradebook import ReleaseGradebook, SubmissionGradebook

CELLS = (("g1", 3.1, "grade"), ("g2", 0.7, "grade"), ("t1", 2.2, "task"), ("g3", 0.1, "grade"))
SCORES = st.one_of(
    st.none(), st.integers(0, 5), st.floats(0, 100).map(lambda score: round(score, 3))
)


def record(gradebook: Any) -> None:  # noqa: ANN401 (both kinds)
    """Write the same cells into ours or nbgrader's."""
    gradebook.add_notebook("n", "a", kernelspec="{}")
    for name, points, kind in CELLS:
        cell_type = "markdown" if kind == "task" else "code"
        add = getattr(gradebook, f"update_or_create_{kind}_cell")
        add(name, "n", "a", max_score=points, cell_type=cell_type)
    gradebook.update_or_create_solution_cell("s1", "n", "a")
    gradebook.update_or_create_source_cell(
        "s1", "n", "a", cell_type="code", locked=False, source="x", checksum="c"
    )


def ours() -> SubmissionGradebook:
    release = ReleaseGradebook()
    record(release)
    return SubmissionGradebook(release)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gradebook]:
    path: Path = tmp_path_factory.mktemp("gradebook") / "gradebook.db"
    with sqlite3.connect(path) as database:
        # A Gradebook that finds no table at all starts a program to ask alembic for a version.
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    database.close()
    with Gradebook(f"sqlite:///{path}") as gradebook:
        gradebook.add_assignment("a")
        record(gradebook)
        gradebook.add_student("student")
        with gradebook.db.no_autoflush:
            gradebook.add_submission("a", "student")
        yield gradebook


@settings(max_examples=15, deadline=None)
@given(scores=st.lists(SCORES, min_size=4, max_size=4))
def test_scores_add_up_as_nbgraders(theirs: Gradebook, scores: list[float | None]) -> None:
    mine = ours()
    for gradebook in (mine, theirs):
        for (name, *_), score in zip(CELLS, scores, strict=True):
            gradebook.find_grade(name, "n", "a", "student").auto_score = score
        gradebook.db.commit()
    found = mine.find_submission_notebook("n")
    expected = theirs.find_submission_notebook("n", "a", "student")
    assert (found.score, found.max_score) == (expected.score, expected.max_score)
    for name, *_ in CELLS:
        grade, other = (book.find_grade(name, "n", "a", "student") for book in (mine, theirs))
        assert (grade.score, grade.max_score) == (other.score, other.max_score)


def test_a_submission_starts_as_in_nbgrader(theirs: Gradebook) -> None:
    with theirs.db.no_autoflush:
        theirs.add_student("other")
        theirs.add_submission("a", "other")
    mine, other = (
        ours().find_submission_notebook("n"),
        theirs.find_submission_notebook("n", "a", "other"),
    )
    assert [grade.name for grade in mine.grades.values()] == [g.name for g in other.grades]
    assert list(mine.comments) == [comment.name for comment in other.comments]
    for name, grade in mine.grades.items():
        expected = theirs.find_grade(name, "n", "a", "other")
        assert grade.auto_score is expected.auto_score is None
        assert grade.manual_score is expected.manual_score is None
        assert grade.needs_manual_grade is expected.needs_manual_grade is True
    assert all(comment.comment is None for comment in mine.comments.values())
    assert mine.late_submission_penalty is None


def test_submissions_share_a_release_and_no_score() -> None:
    release = ReleaseGradebook()
    record(release)
    first, second = SubmissionGradebook(release), SubmissionGradebook(release)
    first.find_grade("g1", "n", "a", "student").auto_score = 3
    first.find_comment("s1", "n", "a", "student").auto_comment = "No response."
    assert second.find_grade("g1", "n", "a", "student").auto_score is None
    assert second.find_comment("s1", "n", "a", "student").comment is None


@pytest.mark.parametrize(
    "find",
    ["find_grade", "find_comment", "find_source_cell", "find_graded_cell"],
)
def test_what_is_not_there_is_missing_in_nbgraders_words(find: str) -> None:
    places = (
        ("x", "n", "a", "student") if find in {"find_grade", "find_comment"} else ("x", "n", "a")
    )
    with pytest.raises(MissingEntry):
        getattr(ours(), find)(*places)
    with pytest.raises(MissingEntry):
        ours().find_submission_notebook("other")
    with pytest.raises(MissingEntry):
        ReleaseGradebook().find_grade_cell("x", "n", "a")


def test_a_cell_of_a_type_without_points_is_refused() -> None:
    release = ReleaseGradebook()
    release.add_notebook("n", "a")
    facts = NotebookNode(max_score=1.0, cell_type="raw")
    with pytest.raises(InvalidEntry, match="raw"):
        release.update_or_create_grade_cell("g", "n", "a", **facts)
