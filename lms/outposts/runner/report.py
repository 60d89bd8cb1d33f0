"""What a check of a course found, in the shape `lms course check --json` prints."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from lms.protocol.sentences import Sentence

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to mend (`error`) or to know (`warning`)."""

    severity: Severity
    #: A notebook, a cell as `notebook:grade_id`, or a file.
    where: str
    message: Sentence

    def to_json(self) -> dict[str, object]:
        """Return the shape of `lms course check --json`."""
        return {"severity": self.severity, "where": self.where, "message": str(self.message)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReport:
    """What the attack found of one test cell."""

    notebook: str
    grade_id: str
    #: Wrong answers to its question that were tried, and those that lost points in this cell.
    mutants: int
    killed: int
    #: The reference's score here was verified: tests ran where no answer can reach them.
    verified: bool
    #: Why it was not.
    reason: Sentence | None = None
    #: The first wrong answers that kept all points here.
    survivors: tuple[str, ...] = ()
    #: Known cheats that score here and are held for a person.
    held_cheats: tuple[str, ...] = ()
    #: Wrong answers there was no time for.
    untried: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the shape of `lms course check --json`."""
        return {
            "notebook": self.notebook,
            "grade_id": self.grade_id,
            "mutants": self.mutants,
            "killed": self.killed,
            "verified": self.verified,
            "reason": None if self.reason is None else str(self.reason),
            "survivors": list(self.survivors),
            "held_cheats": list(self.held_cheats),
            "untried": self.untried,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentReport:
    """One assignment: its size, its scores and its problems; a score is None when not run."""

    name: str
    notebooks: tuple[str, ...] = ()
    #: Cells that earn points.
    cells: int = 0
    points: float = 0.0
    manual_points: float = 0.0
    reference_score: float | None = None
    blank_score: float | None = None
    problems: tuple[Problem, ...] = field(default_factory=tuple)
    #: What the attack found, test cell by test cell; empty when there was none.
    tests: tuple[CellReport, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing has to be mended."""
        return all(problem.severity != "error" for problem in self.problems)

    def to_json(self) -> dict[str, object]:
        """Return the shape of `lms course check --json`."""
        return {
            "name": self.name,
            "notebooks": len(self.notebooks),
            "notebook_names": list(self.notebooks),
            "cells": self.cells,
            "points": self.points,
            "manual_points": self.manual_points,
            "reference_score": self.reference_score,
            "blank_score": self.blank_score,
            "problems": [problem.to_json() for problem in self.problems],
            "tests": [test.to_json() for test in self.tests],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseReport:
    """A course: its assignments in order."""

    assignments: tuple[AssignmentReport, ...]
    #: What belongs to no assignment, such as the course's environment.
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing has to be mended."""
        return not self.errors()

    def errors(self) -> list[Problem]:
        """Return everything that has to be mended."""
        found = [*self.problems, *(one for each in self.assignments for one in each.problems)]
        return [problem for problem in found if problem.severity == "error"]

    def to_json(self) -> dict[str, object]:
        """Return the shape of `lms course check --json`."""
        return {
            "ok": self.ok,
            "problems": [problem.to_json() for problem in self.problems],
            "assignments": [assignment.to_json() for assignment in self.assignments],
        }


def table_of_tests(report: AssignmentReport) -> Iterator[str]:
    """Yield the lines of a table of an assignment's test cells, heading first."""
    if not report.tests:
        return
    rows = [("test", "wrong answers found", "score")]
    for test in report.tests:
        named = f"{test.notebook}:{test.grade_id}" if len(report.notebooks) > 1 else test.grade_id
        late = f" ({test.untried} not tried)" if test.untried else ""
        rows.append((named, f"{test.killed} of {test.mutants}{late}", _standing(test)))
    widths = [max(len(row[place]) for row in rows) for place in range(2)]
    for name, found, standing in rows:
        yield f"{name:<{widths[0]}}  {found:<{widths[1]}}  {standing}"


def _standing(test: CellReport) -> str:
    if test.verified:
        return "verified"
    return "unverified" if test.reason is None else f"unverified: {test.reason}"


class Progress:
    """How much of a check is done, in steps; assignments report from several threads."""

    _STEPS = 100

    def __init__(self, assignments: int) -> None:
        self.length = assignments * self._STEPS
        self._share: dict[str, float] = {}
        self._shown: dict[str, int] = {}
        self._lock = threading.Lock()

    def more(self, name: str, share: float) -> int:
        """Count `share` of an assignment and return how many steps to go on."""
        with self._lock:
            self._share[name] = self._share.get(name, 0.0) + share
            # The last step is for the report itself.
            return self._go(name, min(int(self._share[name] * self._STEPS), self._STEPS - 1))

    def done(self, name: str) -> int:
        """Return how many steps are left of an assignment."""
        with self._lock:
            return self._go(name, self._STEPS)

    def _go(self, name: str, to: int) -> int:
        steps = max(to - self._shown.get(name, 0), 0)
        self._shown[name] = max(to, self._shown.get(name, 0))
        return steps
