"""What a check of a course found, in the shape `lms course check --json` prints."""

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
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseReport:
    """A course: its assignments in order."""

    assignments: tuple[AssignmentReport, ...]

    @property
    def ok(self) -> bool:
        """Nothing has to be mended."""
        return all(assignment.ok for assignment in self.assignments)

    def to_json(self) -> dict[str, object]:
        """Return the shape of `lms course check --json`."""
        return {
            "ok": self.ok,
            "assignments": [assignment.to_json() for assignment in self.assignments],
        }
