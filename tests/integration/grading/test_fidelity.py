"""Ours against stock nbgrader over hundreds of honest submissions, cell by cell.

`pytest -m slow tests/integration/grading/test_fidelity.py -s` compares all of them and prints the
table; what differs on purpose is in test_by_design and docs/explanation/fidelity.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.release import build_release
from lms.protocol.grading import Limits
from tests.integration.grading.fidelity.course import ASSIGNMENTS
from tests.integration.grading.fidelity.figures import Figures, differences
from tests.integration.grading.fidelity.parts import (
    Assignment,
    make_course,
    sample_of,
    submissions_of,
)
from tests.integration.grading.stock import Submissions, as_graded, grade_course, outcomes_of

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

#: What every run of the tests compares: values and partial credit, errors, edited and extra cells,
#: old formats. nbgrader takes two seconds for each, and one batch grades them all.
SAMPLED = {"kinds": 4, "merging": 4, "old": 4}
SUBMISSIONS = 500
LEAST_ASSIGNMENTS = 8


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    kept = Figures(title="assignment")
    yield kept
    if kept.rows:
        kept.save("fidelity")


def _compare(
    course: Path, chosen: dict[str, Submissions], seconds: int, launcher: DirectLauncher
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the differences, and how many cells were compared, by assignment."""
    theirs = grade_course(course, chosen, f"--Execute.timeout={seconds}")
    limits = Limits(cell_seconds=seconds)
    found, cells = {}, {}
    for name, submissions in chosen.items():
        ours = as_graded(outcomes_of(course, name, submissions, launcher, limits))
        graded = {student for student, _ in theirs[name].totals}
        # What nbgrader did not even begin would be compared with nothing.
        assert graded == set(submissions), sorted(set(submissions) - graded)
        found[name] = differences(ours, theirs[name])
        cells[name] = len(theirs[name].cells)
    return found, cells


def _made(root: Path, assignments: Sequence[Assignment]) -> Path:
    make_course(root / "course", assignments)
    return root / "course"


def test_a_sample_scores_as_in_nbgrader(tmp_path: Path, launcher: DirectLauncher) -> None:
    assignments = [ASSIGNMENTS[name] for name in SAMPLED]
    course = _made(tmp_path, assignments)
    chosen: dict[str, Submissions] = {}
    for assignment in assignments:
        released = build_release(course / "source" / assignment.name).student_files
        chosen[assignment.name] = sample_of(assignment, released, SAMPLED[assignment.name])
    found, cells = _compare(course, chosen, 30, launcher)
    assert [line for lines in found.values() for line in lines] == []
    assert all(cells.values())
    assert sum(cells.values()) > 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_every_submission_scores_as_in_nbgrader(
    name: str, tmp_path: Path, launcher: DirectLauncher, figures: Figures
) -> None:
    assignment = ASSIGNMENTS[name]
    course = _made(tmp_path, [assignment])
    released = build_release(course / "source" / name).student_files
    submissions = submissions_of(assignment, released)
    found, cells = _compare(course, {name: submissions}, assignment.cell_seconds, launcher)
    figures.add(name, submissions=len(submissions), cells=cells[name], differences=len(found[name]))
    assert found[name] == []


def test_the_corpus_is_as_large_as_promised_and_the_same_every_time(tmp_path: Path) -> None:
    total = 0
    for name, assignment in ASSIGNMENTS.items():
        course = _made(tmp_path / name, [assignment])
        released = build_release(course / "source" / name).student_files
        submissions = submissions_of(assignment, released)
        assert len(submissions) == assignment.count
        assert submissions == submissions_of(assignment, released)
        total += len(submissions)
    assert total >= SUBMISSIONS
    assert len(ASSIGNMENTS) >= LEAST_ASSIGNMENTS
