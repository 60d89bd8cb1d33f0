"""What a grading run takes and gives: statuses, limits, results."""

from dataclasses import dataclass
from enum import StrEnum

from lms.protocol.sentences import Sentence, sentence


class RunStatus(StrEnum):
    """Where a run stands; the first two are under way, the rest are final."""

    QUEUED = "queued"
    RUNNING = "running"
    GRADED = "graded"
    NEEDS_MANUAL = "needs_manual"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    REJECTED = "rejected"


class Integrity(StrEnum):
    """How far a score can be trusted; `unverified`: tests shared the student's interpreter."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    TAMPERED = "tampered"


#: Template of the reason that two ways of scoring a cell disagree: it holds a run in any offering.
#: It stands here because whoever stores results need not load what finds them.
SCORES_DIFFER = sentence(
    "In one process the test %(cell)s gave %(shared)s points, away from the student's code "
    "%(split)s: a person has to look.",
    cell="",
    shared=0,
    split=0,
).template


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one notebook's execution may use."""

    cell_seconds: int = 30
    wall_seconds: int = 300
    memory_bytes: int = 2 << 30
    processes: int = 256
    output_bytes: int = 10 << 20
    disk_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """The score of one graded cell; `auto_score` is None when the cell was not run."""

    grade_id: str
    auto_score: float | None
    max_score: float
    needs_manual: bool
    comment: str | None = None
    #: How far `auto_score` can be trusted; None for cells that no test scores.
    integrity: Integrity | None = None
    #: Why it is not `verified`; for instructors.
    integrity_reason: Sentence | None = None

    def to_json(self) -> dict[str, object]:
        """Return the shape that `lms grade --json` prints."""
        return {
            "grade_id": self.grade_id,
            "auto_score": self.auto_score,
            "max_score": self.max_score,
            "needs_manual": self.needs_manual,
            "comment": self.comment,
            "integrity": None if self.integrity is None else self.integrity.value,
            "integrity_reason": (
                None if self.integrity_reason is None else str(self.integrity_reason)
            ),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """What an instructor wants to know of a run that did not end plainly."""

    #: grade_id of the cell it happened in, or its place such as `[3]`.
    cell: str = ""
    #: The name of the limit that was reached (a field of Limits), or empty.
    limit: str = ""
    #: The end of what the program wrote.
    last_output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookResult:
    """What grading found in one notebook; `reason` says whatever more than a grade there is."""

    notebook: str
    status: RunStatus
    integrity: Integrity
    score: float
    max_score: float
    reason: Sentence | None = None
    cells: tuple[CellResult, ...] = ()
    #: Why the notebook is not `verified`; for instructors.
    integrity_reason: Sentence | None = None
    detail: Detail | None = None

    def to_json(self) -> dict[str, object]:
        """Return the shape that `lms grade --json` prints, without the student."""
        return {
            "notebook": self.notebook,
            "status": self.status.value,
            "integrity": self.integrity.value,
            "score": self.score,
            "max_score": self.max_score,
            "reason": None if self.reason is None else str(self.reason),
            "cells": [cell.to_json() for cell in self.cells],
            "integrity_reason": (
                None if self.integrity_reason is None else str(self.integrity_reason)
            ),
        }
