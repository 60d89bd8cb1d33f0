"""Ours against stock nbgrader, cell by cell, for every way an honest submission can go."""

import json
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.release import build_release
from lms.protocol.grading import Limits, RunStatus
from tests.factories.notebooks import answered
from tests.integration.grading import kinds
from tests.integration.grading.stock import (
    as_graded,
    grade_stock,
    nbgrader,
    outcomes_of,
)

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]


def test_every_kind_of_honest_submission_scores_as_in_nbgrader(
    tmp_path: Path, launcher: DirectLauncher
) -> None:
    course = tmp_path / "course"
    kinds.make_course(course)
    released = build_release(course / "source" / "kinds").student_files
    submissions = {
        **{
            name: {"kinds.ipynb": answered(released["kinds.ipynb"], answers)}
            for name, answers in kinds.VARIANTS.items()
        },
        **{
            name: {"kinds.ipynb": answered(released["kinds.ipynb"], kinds.ANSWERS, change)}
            for name, change in kinds.CHANGES.items()
        },
    }
    seconds = kinds.CELL_SECONDS
    theirs = grade_stock(course, "kinds", submissions, f"--Execute.timeout={seconds}")
    outcomes = outcomes_of(course, "kinds", submissions, launcher, Limits(cell_seconds=seconds))
    ours = as_graded(outcomes)
    assert set(theirs.totals) == {(student, "kinds") for student in submissions}
    assert ours.cells == theirs.cells
    assert ours.totals == theirs.totals
    statuses = {student: notebooks[0].result.status for student, notebooks in outcomes.items()}
    assert statuses["right"] is RunStatus.NEEDS_MANUAL
    assert statuses["endless"] is RunStatus.TIMED_OUT


def test_the_quickstart_course_scores_as_in_nbgrader(
    tmp_path: Path, launcher: DirectLauncher
) -> None:
    made = nbgrader(tmp_path, "quickstart", "course")
    assert made.returncode == 0, made.stderr
    course = tmp_path / "course"
    release = build_release(course / "source" / "ps1")
    released = release.student_files
    right = {
        "squares": "def squares(n):\n    if n < 1:\n        raise ValueError(n)\n"
        "    return [i ** 2 for i in range(1, n + 1)]",
        "sum_of_squares": "def sum_of_squares(n):\n    return sum(squares(n))",
        "sum_of_squares_equation": "$n$",
        "sum_of_squares_application": "sum_of_squares(3)",
    }
    wrong = {**right, "squares": "def squares(n):\n    return [i ** 2 for i in range(n)]"}
    erring = {**right, "squares": "def squares(n):\n    return [i ** 2 for i in range(1, n + 1)"}
    second = {"part-a": "It computes Fibonacci numbers."}
    submissions = {
        name: {
            "problem1.ipynb": answered(released["problem1.ipynb"], first),
            "problem2.ipynb": answered(released["problem2.ipynb"], second if first else {}),
        }
        for name, first in {"right": right, "wrong": wrong, "blank": {}, "erring": erring}.items()
    }
    submissions["half"] = {"problem1.ipynb": submissions["right"]["problem1.ipynb"]}
    submissions["reference"] = dict(release.instructor_files)
    theirs = grade_stock(course, "ps1", submissions)
    ours = as_graded(outcomes_of(course, "ps1", submissions, launcher))
    assert ours.cells == theirs.cells
    assert ours.totals == theirs.totals
    assert ours.totals["right", "problem1"] == (3.0, 10.0)


def test_our_release_is_nbgraders_release_but_for_the_kernel(tmp_path: Path) -> None:
    course = tmp_path / "course"
    kinds.make_course(course)
    made = nbgrader(course, "generate_assignment", "kinds")
    assert made.returncode == 0, made.stderr
    theirs = json.loads((course / "release" / "kinds" / "kinds.ipynb").read_bytes())
    ours = json.loads(build_release(course / "source" / "kinds").student_files["kinds.ipynb"])
    for value in (theirs, ours):
        value["metadata"].pop("kernelspec")
        for cell in value["cells"]:
            cell["source"] = "".join(cell["source"])
    assert ours == theirs
