"""What every course in `courses/` promises: both languages, clean notebooks, nothing given away."""

import ast
import itertools
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

from lms.catalogue.course_file import read_course, read_programmes
from lms.outposts.runner.release import build_release
from tests.courses.notebooks import ASSIGNMENTS, COURSES, UNITS, label, load, nbgrader_of, read

TODAY = date(2026, 11, 24)
FOLDERS = sorted(path.parent for path in COURSES.glob("*/course.toml"))
HANGUL = re.compile("[가-힣]")


@pytest.mark.parametrize("path", UNITS + ASSIGNMENTS, ids=label)
def test_a_notebook_is_kept_clean(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    for cell in notebook.cells:
        assert not cell.get("attachments")
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", UNITS + ASSIGNMENTS, ids=label)
def test_every_korean_text_is_followed_by_its_english(path: Path) -> None:
    cells = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    languages = [cell.metadata.get("lang") for cell in cells]
    spoken = [language for language in languages if language]
    assert spoken == ["ko", "en"] * (len(spoken) // 2)
    for cell, following in itertools.pairwise(cells):
        if cell.metadata.get("lang") == "ko":
            assert following.metadata.get("lang") == "en"
            assert HANGUL.search(cell.source)
            assert "니다" in cell.source
            # The same formulas in both languages.
            assert cell.source.count("$$") == following.source.count("$$")


@pytest.mark.parametrize("path", UNITS, ids=label)
def test_a_unit_explains_shows_and_cites(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert "$" in text
    assert "## 연습 · Exercise" in text
    assert "References" in text
    assert "그림 설명" in text
    assert "Reading the picture" in text


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.parent.name)
def test_an_assignment_has_four_functions_and_a_written_question_with_a_mark_scheme(
    path: Path,
) -> None:
    assignment = load(path)
    assert list(assignment.tests) == ["Q1", "Q2", "Q3", "Q4"]
    assert set(assignment.points) == {"Q1", "Q2", "Q3", "Q4", "W"}
    assert sum(assignment.points.values()) == 20
    written = next(c for c in read(path).cells if nbgrader_of(c).get("grade_id") == "W")
    assert written.cell_type == "markdown"
    assert "### BEGIN MARK SCHEME" in written.source
    assert written.source.count("Borderline") == 2
    metadata = [nbgrader_of(cell) for cell in read(path).cells if nbgrader_of(cell)]
    assert {facts["schema_version"] for facts in metadata} == {3}


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.parent.name)
def test_a_test_cell_hides_something_and_ends_with_no_expression(path: Path) -> None:
    for source in load(path).tests.values():
        assert "### BEGIN HIDDEN TESTS" in source
        # nbgrader reads a value on the last line as a mark.
        assert not isinstance(ast.parse(source).body[-1], ast.Expr)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assert):
                assert node.msg is not None
                said = ast.literal_eval(node.msg)
                korean, english = said.split(" | ")
                assert HANGUL.search(korean)
                assert not HANGUL.search(english)


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.parent.name)
def test_the_release_gives_nothing_away(path: Path) -> None:
    files = build_release(path.parent).student_files
    shown = files[path.name].decode()
    for word in ("SOLUTION", "HIDDEN", "MARK SCHEME", "Model answer", "Borderline"):
        assert word not in shown
    assert shown.count("NotImplementedError") >= 4
    assert set(files) == {file.name for file in path.parent.iterdir() if file.is_file()}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_course_toml_names_what_is_there(folder: Path) -> None:
    course = read_course(folder, today=TODAY)
    assert course.key == folder.name
    files = {path.relative_to(folder).as_posix() for path in (folder / "units").iterdir()}
    assert {unit.file for unit in course.units} == files
    assert len(course.units) >= 4
    assert {a.key for a in course.assignments} == {p.name for p in (folder / "source").iterdir()}
    assert {a.unit for a in course.assignments} <= {unit.key for unit in course.units}
    for offering in course.offerings:
        assert set(offering.due) == {assignment.key for assignment in course.assignments}
        for due in offering.due.values():
            assert offering.starts_on < due.date() <= offering.ends_on


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_outcome_is_tested_and_every_question_serves_an_outcome(folder: Path) -> None:
    course = read_course(folder, today=TODAY)
    questions = {
        f"{path.parent.name}.{question}"
        for path in ASSIGNMENTS
        if folder in path.parents
        for question in load(path).points
    }
    tested = [name for outcome in course.outcomes for name in outcome["tested_by"]]
    assert all(outcome["tested_by"] for outcome in course.outcomes)
    assert sorted(tested) == sorted(questions)


def test_programmes_promise_only_courses_that_exist() -> None:
    courses = {folder.name: read_course(folder, today=TODAY) for folder in FOLDERS}
    for programme in read_programmes(COURSES / "programmes.toml"):
        assert set(programme.required) <= set(courses)
        assert sorted(itertools.chain(*programme.path)) == sorted(programme.required)
        assert programme.credits == sum(courses[key].credits for key in programme.required)
        taken: set[str] = set()
        for term in programme.path:
            assert all(set(courses[key].prerequisites) <= taken for key in term)
            taken |= set(term)


def test_all_three_ways_to_enrol_are_there() -> None:
    offerings = [o for folder in FOLDERS for o in read_course(folder, today=TODAY).offerings]
    assert {offering.enrolment for offering in offerings} == {"open", "code", "approval"}
    keys = [offering.key for offering in offerings]
    assert len(keys) == len(set(keys))


def test_course_toml_is_plain_toml() -> None:
    for folder in FOLDERS:
        assert tomllib.loads((folder / "course.toml").read_text("utf-8"))["course"]["key"]
