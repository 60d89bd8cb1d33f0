"""nbgrader's gradebook in memory: what it records of a release, and one submission's scores.

nbgrader's preprocessors open a database by its address, nine times a notebook. Ours are given
these objects instead: the same methods and the same sums, no engine and no tables.
"""

import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

#: The name nbgrader's preprocessors ask for; nobody ever sees it.
STUDENT = "student"
_CELL_TYPES = frozenset({"code", "markdown"})
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCell:
    """A cell of the source as nbgrader compares submissions with it."""

    name: str
    cell_type: str
    locked: bool
    source: str
    checksum: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedCell:
    """A cell that earns points: a test, a written answer or a task."""

    name: str
    cell_type: str
    max_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedNotebook:
    """What nbgrader's SaveCells says of one notebook; not changed once its release is built."""

    name: str
    source_cells: dict[str, SourceCell] = field(default_factory=dict)
    #: In nbgrader's own order, in which it adds up: grade cells, then task cells.
    grade_cells: dict[str, GradedCell] = field(default_factory=dict)
    task_cells: dict[str, GradedCell] = field(default_factory=dict)
    solution_cells: dict[str, None] = field(default_factory=dict)


class ReleaseGradebook:
    """Takes down what SaveCells records: the template of every submission's gradebook."""

    def __init__(self) -> None:
        self.notebooks: dict[str, RecordedNotebook] = {}

    def _find(self, name: str, *place: str) -> NoReturn:
        raise _missing("/".join((name, *place)))

    find_notebook = find_grade_cell = find_solution_cell = find_task_cell = find_source_cell = _find

    def add_notebook(self, name: str, assignment: str, **facts: object) -> None:
        """Record a notebook."""
        del assignment, facts
        self.notebooks[name] = RecordedNotebook(name=name)

    def update_or_create_grade_cell(
        self,
        name: str,
        notebook: str,
        assignment: str,
        **facts: Any,  # noqa: ANN401 (columns)
    ) -> None:
        """Record a cell with points."""
        del assignment
        self.notebooks[notebook].grade_cells[name] = GradedCell(name=name, **_checked(facts))

    def update_or_create_task_cell(
        self,
        name: str,
        notebook: str,
        assignment: str,
        **facts: Any,  # noqa: ANN401 (columns)
    ) -> None:
        """Record a task."""
        del assignment
        self.notebooks[notebook].task_cells[name] = GradedCell(name=name, **_checked(facts))

    def update_or_create_solution_cell(self, name: str, notebook: str, assignment: str) -> None:
        """Record a cell for the student's answer."""
        del assignment
        self.notebooks[notebook].solution_cells[name] = None

    def update_or_create_source_cell(
        self,
        name: str,
        notebook: str,
        assignment: str,
        **facts: Any,  # noqa: ANN401 (columns)
    ) -> None:
        """Record a cell's source."""
        del assignment
        self.notebooks[notebook].source_cells[name] = SourceCell(name=name, **_checked(facts))


def _checked(facts: dict[str, Any]) -> dict[str, Any]:
    """Refuse what a column of nbgrader's database refuses."""
    if facts["cell_type"] not in _CELL_TYPES:
        from nbgrader.api import InvalidEntry

        raise InvalidEntry(f"a cell of the type {facts['cell_type']} cannot be graded")
    return facts


class Grade:
    """One graded cell's score; until a run gives one there is none, and a person has to."""

    manual_score: float | None = None

    def __init__(self, cell: GradedCell) -> None:
        self.name = cell.name
        self.max_score = cell.max_score
        self.needs_manual_grade = True
        self.auto_score: float | None = None

    @property
    def score(self) -> float:
        """What counts: nothing where no score was given."""
        return 0.0 if self.auto_score is None else float(self.auto_score)


class Comment:
    """What the grader remarks on one answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.auto_comment: str | None = None

    @property
    def comment(self) -> str | None:
        """The remark, if there is one."""
        return self.auto_comment


class SubmittedNotebook:
    """One submission's notebook: a grade for each graded cell, a comment for each answer."""

    #: Lateness is no part of a run; the gradebook room deals with it.
    late_submission_penalty: float | None = None

    def __init__(self, notebook: RecordedNotebook) -> None:
        graded = notebook.grade_cells | notebook.task_cells
        self.name = notebook.name
        self.source_cells = notebook.source_cells
        self.graded_cells = graded
        self.grades = {name: Grade(cell) for name, cell in graded.items()}
        self.comments = {
            name: Comment(name) for name in notebook.solution_cells | notebook.task_cells
        }
        self._max_scores = (
            _total(cell.max_score for cell in notebook.grade_cells.values()),
            _total(cell.max_score for cell in notebook.task_cells.values()),
        )

    @property
    def score(self) -> float:
        """The sum of the scores."""
        return _total(grade.score for grade in self.grades.values())

    @property
    def max_score(self) -> float:
        """The most points there are, tasks included."""
        return sum(self._max_scores)


def _total(scores: Iterable[float]) -> float:
    """Add up as the SQLite here does for nbgrader: exactly since 3.43, plainly before."""
    return math.fsum(scores) if sqlite3.sqlite_version_info >= (3, 43) else float(sum(scores))


class _NoDatabase:
    """Stands where nbgrader commits: there is nothing to write to."""

    def commit(self) -> None:
        """Do nothing."""


class SubmissionGradebook:
    """The gradebook of one submission, as far as nbgrader's preprocessors ask."""

    db = _NoDatabase()

    def __init__(self, release: ReleaseGradebook) -> None:
        self._notebooks = {
            name: SubmittedNotebook(recorded) for name, recorded in release.notebooks.items()
        }

    def find_submission_notebook(
        self, name: str, assignment: str = "", student: str = ""
    ) -> SubmittedNotebook:
        """Return a notebook; raises MissingEntry."""
        del assignment, student
        if name not in self._notebooks:
            raise _missing(name)
        return self._notebooks[name]

    def find_source_cell(self, name: str, notebook: str, assignment: str) -> SourceCell:
        """Return a cell of the source; raises MissingEntry."""
        return _entry(self.find_submission_notebook(notebook, assignment).source_cells, name)

    def find_graded_cell(self, name: str, notebook: str, assignment: str) -> GradedCell:
        """Return a cell with points; raises MissingEntry."""
        return _entry(self.find_submission_notebook(notebook, assignment).graded_cells, name)

    def find_grade(self, name: str, notebook: str, assignment: str, student: str) -> Grade:
        """Return a cell's score; raises MissingEntry."""
        return _entry(self.find_submission_notebook(notebook, assignment, student).grades, name)

    def find_comment(self, name: str, notebook: str, assignment: str, student: str) -> Comment:
        """Return the remark on an answer; raises MissingEntry."""
        return _entry(self.find_submission_notebook(notebook, assignment, student).comments, name)


def _entry(entries: dict[str, Entry], name: str) -> Entry:
    try:
        return entries[name]
    except KeyError:
        raise _missing(name) from None


def _missing(name: str) -> Exception:
    """Return nbgrader's own error, imported late: with it comes a database's whole machinery."""
    from nbgrader.api import MissingEntry

    error: Exception = MissingEntry(f"No such entry: {name}")
    return error


def resources_for(assignment: str, notebook: str) -> dict[str, Any]:
    """Return what nbgrader's preprocessors expect to be told about a notebook."""
    return {
        "unique_key": notebook,
        "output_files_dir": f"{notebook}_files",
        "metadata": {"name": notebook, "path": ""},
        "nbgrader": {"student": STUDENT, "assignment": assignment, "notebook": notebook},
    }
