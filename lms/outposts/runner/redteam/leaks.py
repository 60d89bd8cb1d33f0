"""What students must not be able to read in their files: hidden tests, solutions, expected values.

A secret is a line or constant that stands in the instructor's notebook and nowhere in the cells
that students see. It is looked for in every student file, under every cover that views.py lifts.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

from lms.outposts.runner.notebooks import read_source
from lms.outposts.runner.redteam.mutations import parse, solution_lines
from lms.outposts.runner.redteam.views import View, views
from lms.outposts.runner.release import BuiltRelease
from lms.outposts.runner.report import Problem
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.sentences import Sentence, sentence

#: Shorter lines are too common to be a secret.
_LINE = 16
#: A constant tells something from this many letters or digits on.
_TEXT, _DIGITS = 6, 5
#: One line of a solution may stand in a text by chance or as a hint; this many are a solution.
_SOLUTION_LINES = 3


@dataclass(frozen=True, slots=True)
class _Secrets:
    tests: frozenset[str]
    solutions: frozenset[str]
    constants: frozenset[str]


def find_leaks(source: AssignmentSource, release: BuiltRelease) -> Iterator[Problem]:
    """Yield what can be read in the student's files and should not, each once a place."""
    secrets = _secrets(source, release)
    said: set[Sentence | tuple[str, str]] = set()
    for path, content in sorted(release.student_files.items()):
        for view in views(path, content):
            for problem in _judge(view, secrets):
                mark = (view.place, problem.message.template)
                if mark not in said:
                    said.add(mark)
                    yield problem


def _secrets(source: AssignmentSource, release: BuiltRelease) -> _Secrets:
    shown = {
        line.strip()
        for node in release.released.values()
        for cell in node.cells
        for line in cell.source.splitlines()
    }
    words = "\n".join(shown)
    tests: set[str] = set()
    solutions: set[str] = set()
    constants: set[str] = set()
    for name in release.released:
        node, _ = read_source(name, source.files[f"{name}.ipynb"])
        for cell in node.cells:
            if _flag(cell, "grade") and not _flag(cell, "solution"):
                hidden = [line for line in _lines(cell.source) if line not in shown]
                tests.update(line for line in hidden if len(line) >= _LINE)
                constants.update(_constants(cell.source, set(hidden)))
            elif _flag(cell, "solution"):
                wanted = solution_lines(cell.source) if cell.cell_type == "code" else None
                lines = _lines(cell.source, wanted)
                solutions.update(x for x in lines if len(x) >= _LINE and x not in shown)
    return _Secrets(
        tests=frozenset(tests),
        solutions=frozenset(solutions - tests),
        constants=frozenset(value for value in constants if value not in words),
    )


def _flag(cell: NotebookNode, flag: str) -> bool:
    nbgrader = cell.metadata.get("nbgrader")
    return isinstance(nbgrader, dict) and bool(nbgrader.get(flag))


def _lines(source: str, wanted: set[int] | None = None) -> list[str]:
    return [
        line.strip()
        for number, line in enumerate(source.splitlines(), start=1)
        if (wanted is None or number in wanted) and "### " not in line
    ]


def _constants(source: str, hidden: set[str]) -> Iterator[str]:
    """Yield telling numbers and texts on hidden lines that a result may be compared with."""
    tree = parse(source)
    lines = source.splitlines()
    for node in ast.walk(tree) if tree is not None else ():
        if not _is_expectation(node):
            continue
        for value in ast.walk(node):
            if isinstance(value, ast.Constant) and value.lineno <= len(lines):
                text = _telling(value.value)
                if text and lines[value.lineno - 1].strip() in hidden:
                    yield text


def _is_expectation(node: ast.AST) -> bool:
    """Say whether a node compares, keeps a value, or calls something like assert_allclose."""
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return re.search(r"assert|close|equal|approx", name) is not None
    return isinstance(node, ast.Compare | ast.Assign)


def _telling(value: object) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        digits = re.sub(r"e.*|[^0-9]", "", repr(value)).strip("0")
        return repr(value) if len(digits) >= _DIGITS else ""
    # A sentence is what a failed test says, no expected value.
    is_word = isinstance(value, str) and len(value) >= _TEXT and len(value.split()) == 1
    return str(value) if is_word else ""


def _judge(view: View, secrets: _Secrets) -> Iterator[Problem]:
    lines = {line.strip() for line in view.text.splitlines()}
    where = view.place
    if secrets.tests & lines or (view.how and any(s in view.text for s in secrets.tests)):
        yield Problem(
            severity="error",
            where=where,
            message=_said(
                view,
                sentence("Students can read a hidden test here."),
                sentence("Students can read a hidden test here, as %(how)s.", how=view.how),
            ),
        )
    solved = secrets.solutions & lines
    if (view.how and solved) or len(solved) >= _SOLUTION_LINES:
        yield Problem(
            severity="error",
            where=where,
            message=_said(
                view,
                sentence("Students can read lines of a solution here."),
                sentence("Students can read lines of a solution here, as %(how)s.", how=view.how),
            ),
        )
    found = next((value for value in sorted(secrets.constants) if _holds(view.text, value)), None)
    if found is not None:
        yield Problem(
            severity="warning",
            where=where,
            message=sentence(
                "Students can read %(value)s here, a value that only hidden tests know.",
                value=found,
            ),
        )


def _said(view: View, plain: Sentence, covered: Sentence) -> Sentence:
    return covered if view.how else plain


def _holds(text: str, value: str) -> bool:
    """Say whether `value` stands in `text` as a word of its own."""
    if value not in text:
        return False
    return re.search(rf"(?<![\w.]){re.escape(value)}(?![\w.]|\.\d)", text) is not None
