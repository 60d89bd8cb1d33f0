"""Read the courses' notebooks, and run an assignment's cells without a kernel."""

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

COURSES = Path(__file__).resolve().parents[2] / "courses"
UNITS = sorted(COURSES.glob("*/units/*.ipynb"))
ASSIGNMENTS = sorted(COURSES.glob("*/source/*/*.ipynb"))


def label(path: Path) -> str:
    """Return how a test names a notebook."""
    return path.relative_to(COURSES).as_posix()


def read(path: Path) -> NotebookNode:
    """Return the notebook at `path`."""
    notebook: NotebookNode = nbformat.read(path, 4)
    return notebook


def nbgrader_of(cell: NotebookNode) -> dict[str, Any]:
    """Return a cell's nbgrader metadata, empty for an ordinary cell."""
    return dict(cell.metadata.get("nbgrader", {}))


@dataclass(frozen=True, slots=True)
class Assignment:
    """The code of one assignment notebook, by grade_id and in order."""

    folder: Path
    shared: dict[str, str]
    solutions: dict[str, str]
    tests: dict[str, str]
    points: dict[str, float]

    def fails(self, question: str, answer: str) -> str:
        """Return why the test of `question` refuses `answer`, or nothing if it accepts it.

        As in nbgrader, an error and anything on stderr cost the points.
        """
        namespace: dict[str, Any] = {"__name__": "__main__"}
        noise = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()):
            for source in (*self.shared.values(), *self.solutions.values(), answer):
                exec(source, namespace)  # noqa: S102  our own course's code
            with contextlib.redirect_stderr(noise):
                try:
                    exec(self.tests[question], namespace)  # noqa: S102
                except Exception as error:  # noqa: BLE001  any error is a failed test
                    return f"{type(error).__name__}: {error}"
        return noise.getvalue()


def load(path: Path) -> Assignment:
    """Return the code cells of an assignment notebook; what tests only try out is left away."""
    shared: dict[str, str] = {}
    solutions: dict[str, str] = {}
    tests: dict[str, str] = {}
    points: dict[str, float] = {}
    for cell in read(path).cells:
        facts = nbgrader_of(cell)
        if facts.get("grade"):
            points[facts["grade_id"]] = float(facts["points"])
        if cell.cell_type != "code":
            continue
        if facts.get("grade"):
            tests[facts["grade_id"]] = cell.source
        elif facts.get("solution"):
            solutions[facts["grade_id"]] = cell.source
        elif facts.get("grade_id") == "setup":
            shared[facts["grade_id"]] = cell.source
    return Assignment(path.parent, shared, solutions, tests, points)


def blank(source: str) -> str:
    """Return a solution cell as nbgrader gives it to a student."""
    stub = r"\1# YOUR CODE HERE\n\1raise NotImplementedError()"
    pattern = r"^([ ]*)### BEGIN SOLUTION.*?### END SOLUTION"
    return re.sub(pattern, stub, source, flags=re.MULTILINE | re.DOTALL)


def visible(source: str) -> str:
    """Return a test cell without its hidden tests."""
    pattern = r"### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS"
    return re.sub(pattern, "", source, flags=re.DOTALL)
