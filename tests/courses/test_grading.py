"""A kernel and nbgrader give right work full marks, wrong and blank work none; and so do we."""

import json
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.release import build_release
from tests.courses.mutants import MUTANTS
from tests.courses.notebooks import ASSIGNMENTS, COURSES, load
from tests.integration.grading.stock import as_graded, grade_stock, outcomes_of

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]


def _with_first_mutants(path: Path) -> bytes:
    """Return the assignment with every question answered by its first wrong answer."""
    wrong = {mutant.cell: mutant.source for mutant in reversed(MUTANTS[path.parent.name])}
    notebook = json.loads(path.read_bytes())
    for cell in notebook["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cell["source"] = wrong.get(grade_id, cell["source"])
    return json.dumps(notebook).encode()


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.parent.name)
def test_right_work_scores_full_marks_and_wrong_or_blank_work_nothing(path: Path) -> None:
    course, name = path.parents[2], path.parent.name
    release = build_release(path.parent)
    submissions = {
        "reference": {path.name: path.read_bytes()},
        "blank": dict(release.student_files),
        "wrong": {path.name: _with_first_mutants(path)},
    }
    theirs = grade_stock(course, name, submissions)
    ours = as_graded(outcomes_of(course, name, submissions, DirectLauncher()))
    assert ours == theirs
    points = load(path).points
    manual = points["W"]
    assert theirs.totals["reference", name] == (sum(points.values()) - manual, sum(points.values()))
    for student in ("blank", "wrong"):
        assert theirs.totals[student, name] == (0, sum(points.values()))
    for key, score in theirs.cells.items():
        if key.student == "reference":
            assert score.auto_score == (None if key.grade_id == "W" else score.max_score)
            assert score.needs_manual == (key.grade_id == "W")
        elif key.student == "blank":
            assert score.auto_score == 0


def test_every_source_folder_is_tested() -> None:
    assert {path.parent for path in ASSIGNMENTS} == set(COURSES.glob("*/source/*"))
