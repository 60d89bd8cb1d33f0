"""Which answer cells a test cell judges, read from the names that they define and use."""

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from nbformat import NotebookNode

from lms.outposts.runner.redteam.mutations import parse
from lms.outposts.runner.release import is_manual


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCell:
    """A code cell that students write, with the reference solution in it."""

    grade_id: str
    source: str
    #: What it defines at its top level.
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCell:
    """A cell that scores by itself."""

    __test__ = False  # no test of ours, whatever pytest makes of the name

    grade_id: str
    #: With hidden tests.
    source: str
    tags: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Answer cells that stand together, and the tests that judge them."""

    answers: tuple[AnswerCell, ...]
    tests: tuple[TestCell, ...]


def questions_of(notebook: NotebookNode) -> list[Question]:
    """Return the questions of an instructor's notebook; a test with no answer has none there."""
    belongs = judged_by(notebook)
    groups: dict[tuple[str, ...], tuple[tuple[AnswerCell, ...], list[TestCell]]] = {}
    for test, answers in belongs:
        key = tuple(answer.grade_id for answer in answers)
        groups.setdefault(key, (answers, []))[1].append(test)
    return [Question(answers=answers, tests=tuple(tests)) for answers, tests in groups.values()]


def judged_by(notebook: NotebookNode) -> list[tuple[TestCell, tuple[AnswerCell, ...]]]:
    """Return each test cell with the answer cells it judges.

    Those are the ones it uses since the test before; else the nearest above that it uses; else
    the nearest above.
    """
    before: list[AnswerCell] = []
    fresh: list[AnswerCell] = []
    found: list[tuple[TestCell, tuple[AnswerCell, ...]]] = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or not isinstance(cell.metadata.get("nbgrader"), dict):
            continue
        if cell.metadata.nbgrader.get("solution"):
            fresh.append(_answer(cell))
        elif cell.metadata.nbgrader.get("grade") and not is_manual(cell):
            test = _test(cell)
            used = used_names(test.source)
            chosen = [answer for answer in fresh if used & set(answer.names)]
            nearest = [a for a in [*before, *fresh] if used & set(a.names)] or [*before, *fresh]
            found.append((test, tuple(chosen or nearest[-1:])))
            before += fresh
            fresh = []
    return found


def _answer(cell: NotebookNode) -> AnswerCell:
    return AnswerCell(
        grade_id=str(cell.metadata.nbgrader.grade_id),
        source=cell.source,
        names=defined_names(cell.source),
    )


def _test(cell: NotebookNode) -> TestCell:
    tags = cell.metadata.get("tags")
    return TestCell(
        grade_id=str(cell.metadata.nbgrader.grade_id),
        source=cell.source,
        tags=frozenset(str(tag) for tag in tags) if isinstance(tags, list) else frozenset(),
    )


def defined_names(source: str) -> tuple[str, ...]:
    """Return the functions, classes and variables that a cell defines at its top level."""
    tree = parse(source)
    if tree is None:
        return ()
    names: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names[node.name] = None
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            stored = (
                below.id
                for below in ast.walk(node)
                if isinstance(below, ast.Name) and isinstance(below.ctx, ast.Store)
            )
            names.update(dict.fromkeys(stored))
    return tuple(names)


def used_names(source: str) -> set[str]:
    """Return the names that a cell mentions; all words of it when it is no Python."""
    tree = parse(source)
    if tree is None:
        return set(source.replace("(", " ").split())
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def independent(questions: Iterable[Question]) -> list[list[Question]]:
    """Return the questions in groups within which a wrong answer to one leaves the others alone."""
    groups: list[list[Question]] = []
    ordered = list(questions)
    touches = {id(q): _reach(q, ordered) for q in ordered}
    for question in ordered:
        for group in groups:
            apart = all(
                id(question) not in touches[id(other)] and id(other) not in touches[id(question)]
                for other in group
            )
            if apart:
                group.append(question)
                break
        else:
            groups.append([question])
    return groups


def _reach(question: Question, others: list[Question]) -> set[int]:
    """Return the questions (by id) whose cells use, however indirectly, what this one defines."""
    names = {name for answer in question.answers for name in answer.names}
    reached: set[int] = set()
    grown = True
    while grown:
        grown = False
        for other in others:
            if other is question or id(other) in reached:
                continue
            sources = [*(a.source for a in other.answers), *(t.source for t in other.tests)]
            if names & {name for source in sources for name in used_names(source)}:
                reached.add(id(other))
                names |= {name for answer in other.answers for name in answer.names}
                grown = True
    return reached
