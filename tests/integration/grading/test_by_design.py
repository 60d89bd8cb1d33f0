"""Where ours differs from stock nbgrader on purpose; docs/explanation/fidelity.md says why."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.release import build_release
from lms.protocol.grading import Limits
from tests.factories.notebooks import Notebook, answered, cell_of, plain, to_bytes
from tests.integration.grading import hostile
from tests.integration.grading.fidelity.oddities import TWINS
from tests.integration.grading.fidelity.parts import CONFIG, make_course
from tests.integration.grading.stock import Graded, as_graded, grade_course, outcomes_of

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox, pytest.mark.slow]

NOTEBOOK = f"{hostile.NAME}.ipynb"
Scores = tuple[float | None, float | None]


def _changed(answer: str, *changes: Callable[[Notebook], None]) -> dict[str, bytes]:
    return {NOTEBOOK: answered(hostile.RELEASED, {"answer": answer}, *changes)}


def _skip(value: Notebook) -> None:
    for cell in value["cells"]:
        cell["metadata"]["tags"] = ["skip-execution"]


def _drop_tests(value: Notebook) -> None:
    value["cells"] = [cell_of(value, "answer"), {**plain("1"), "id": "own"}]


def _reverse(value: Notebook) -> None:
    value["cells"].reverse()


#: What was handed in, nbgrader's scores of the two tests, and ours.
CASES: dict[str, tuple[dict[str, bytes], Scores, Scores]] = {
    "cells tagged to be skipped": (_changed(hostile.WRONG, _skip), (2.0, 2.0), (0.0, 0.75)),
    "tests left out": (_changed(hostile.RIGHT, _drop_tests), (None, None), (2.0, 1.5)),
    "tests in front of the answer": (_changed(hostile.RIGHT, _reverse), (0.0, 0.0), (2.0, 1.5)),
    "a module of one's own": (
        {**_changed("from helper import double"), "helper.py": hostile.RIGHT.encode()},
        (2.0, 1.5),
        (0.0, 0.0),
    ),
}


def _course(root: Path) -> Path:
    folder = root / "course" / "source" / hostile.SOURCE.name
    folder.mkdir(parents=True)
    for path, content in hostile.SOURCE.files.items():
        (folder / path).write_bytes(content)
    (root / "course" / "nbgrader_config.py").write_text(CONFIG)
    return root / "course"


def _scores(graded: Graded, student: str) -> Scores:
    found = {key.grade_id: score for key, score in graded.cells.items() if key.student == student}
    return found["t_one"].auto_score, found["t_share"].auto_score


def test_what_differs_on_purpose_differs_as_documented(
    tmp_path: Path, launcher: DirectLauncher
) -> None:
    course, name = _course(tmp_path), hostile.SOURCE.name
    submissions = {student: files for student, (files, _, _) in CASES.items()}
    theirs = grade_course(course, {name: submissions})[name]
    ours = as_graded(outcomes_of(course, name, submissions, launcher))
    assert {student: _scores(theirs, student) for student in CASES} == {
        student: scores for student, (_, scores, _) in CASES.items()
    }
    assert {student: _scores(ours, student) for student in CASES} == {
        student: scores for student, (_, _, scores) in CASES.items()
    }


@pytest.mark.parametrize("trick", ["duplicate ids", "schema version 99"])
def test_what_stops_a_batch_of_nbgraders_is_graded(
    trick: str, tmp_path: Path, launcher: DirectLauncher
) -> None:
    course, name = _course(tmp_path), hostile.SOURCE.name
    submissions = {"a": hostile.TRICKS[trick], "b": hostile.code(hostile.RIGHT)}
    theirs = grade_course(course, {name: submissions}, as_is=True)[name]
    assert "b" not in {student for student, _ in theirs.totals}
    ours = as_graded(outcomes_of(course, name, submissions, launcher))
    assert _scores(ours, "a") == (0.0, 0.75)
    assert _scores(ours, "b") == (2.0, 1.5)


def test_a_notebook_that_dies_does_not_take_the_others_with_it(
    tmp_path: Path, launcher: DirectLauncher
) -> None:
    make_course(tmp_path / "course", [TWINS])
    course = tmp_path / "course"
    released = dict(build_release(course / "source" / TWINS.name).student_files)
    right = {cell: str(pool[0]) for cell, pool in TWINS.answers.items()}
    files = {
        path: answered(content, right) if path.endswith(".ipynb") else content
        for path, content in released.items()
    }
    files["alpha.ipynb"] = answered(
        files["alpha.ipynb"], {"answer_alpha": "import os\nos._exit(0)"}
    )
    submissions = {"s": files}
    theirs = grade_course(course, {TWINS.name: submissions})[TWINS.name]
    ours = as_graded(outcomes_of(course, TWINS.name, submissions, launcher, Limits()))
    assert {key.notebook for key, s in theirs.cells.items() if s.auto_score is not None} == set()
    assert ours.totals["s", "beta"] == (3.0, 4.0)
    assert ours.totals["s", "gamma"] == (0.5, 1.5)


def test_what_is_no_notebook_is_rejected_where_nbgrader_leaves_it_ungraded(
    tmp_path: Path, launcher: DirectLauncher
) -> None:
    course, name = _course(tmp_path), hostile.SOURCE.name
    submissions = {"a": {NOTEBOOK: b"{}"}, "b": {NOTEBOOK: to_bytes({"cells": 5})}}
    theirs = grade_course(course, {name: submissions}, as_is=True)[name]
    ours = as_graded(outcomes_of(course, name, submissions, launcher))
    for student in submissions:
        assert _scores(ours, student) == (None, None)
        assert {s for key, s in theirs.totals.items() if key[0] == student} <= {(0.0, 4.0)}
