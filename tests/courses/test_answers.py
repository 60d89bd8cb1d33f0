"""Right answers get their points and wrong ones lose them, question by question, without a kernel.

The cells run in this process, so that a hundred wrong answers take seconds; that a kernel and
nbgrader give the same scores for right and blank work is test_grading's part.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.courses.mutants import MUTANTS
from tests.courses.mutants.base import Mutant
from tests.courses.notebooks import ASSIGNMENTS, Assignment, blank, load, visible

BY_NAME = {path.parent.name: path for path in ASSIGNMENTS}
WRONG = [
    pytest.param(name, mutant, id=f"{name}: {mutant.question}: {mutant.name}")
    for name, mutants in MUTANTS.items()
    for mutant in mutants
]
QUESTIONS = [
    pytest.param(path, question, id=f"{path.parent.name}: {question}")
    for path in ASSIGNMENTS
    for question in load(path).tests
]


@cache
def _assignment(path: Path) -> Assignment:
    return load(path)


def _function(source: str) -> ast.FunctionDef:
    return next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))


def test_every_assignment_has_at_least_five_wrong_answers_and_some_for_each_question() -> None:
    assert set(MUTANTS) == set(BY_NAME)
    for name, mutants in MUTANTS.items():
        assert len(mutants) >= 5
        assert {mutant.question for mutant in mutants} == set(_assignment(BY_NAME[name]).tests)


@pytest.mark.parametrize(("path", "question"), QUESTIONS)
def test_the_reference_answer_is_accepted(path: Path, question: str) -> None:
    assignment = _assignment(path)
    assert assignment.fails(question, assignment.solutions[f"{question}-code"]) == ""


@pytest.mark.parametrize(("path", "question"), QUESTIONS)
def test_an_unfinished_answer_is_refused_by_the_visible_checks_already(
    path: Path, question: str
) -> None:
    assignment = _assignment(path)
    shown = Assignment(
        assignment.folder,
        assignment.shared,
        assignment.solutions,
        {question: visible(assignment.tests[question])},
        assignment.points,
    )
    answer = blank(assignment.solutions[f"{question}-code"])
    assert "NotImplementedError" in shown.fails(question, answer)


@pytest.mark.parametrize(("path", "question"), QUESTIONS)
@pytest.mark.parametrize("returned", ["None", "{first}", "0", "[]"])
def test_a_constant_and_the_argument_itself_are_refused(
    path: Path, question: str, returned: str
) -> None:
    assignment = _assignment(path)
    function = _function(assignment.solutions[f"{question}-code"])
    arguments = [argument.arg for argument in function.args.args]
    answer = f"def {function.name}({', '.join(arguments)}):\n    return {returned}\n"
    assert assignment.fails(question, answer.format(first=arguments[0]))


@pytest.mark.parametrize(("name", "mutant"), WRONG)
def test_a_plausible_wrong_answer_loses_its_points(name: str, mutant: Mutant) -> None:
    assignment = _assignment(BY_NAME[name])
    assert mutant.cell in assignment.solutions
    assert _function(mutant.source).name == _function(assignment.solutions[mutant.cell]).name
    reason = assignment.fails(mutant.question, mutant.source)
    assert reason
    assert "NameError" not in reason
    assert "SyntaxError" not in reason
