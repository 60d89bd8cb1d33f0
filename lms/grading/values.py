"""What a run found in one notebook, as a value that can be kept and read back."""

from dataclasses import asdict, dataclass
from typing import Any

from lms.protocol.grading import CellResult, Detail, Integrity, NotebookResult, RunStatus
from lms.protocol.sentences import Sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One notebook's result and the digests of what the run left behind."""

    result: NotebookResult
    autograded: str | None = None
    feedback: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values that `from_json` reads."""
        result = self.result
        return {
            "notebook": result.notebook,
            "status": result.status.value,
            "integrity": result.integrity.value,
            "score": result.score,
            "max_score": result.max_score,
            "reason": sentence_json(result.reason),
            "integrity_reason": sentence_json(result.integrity_reason),
            "detail": detail_json(result.detail),
            "cells": [_cell_json(cell) for cell in result.cells],
            "autograded": self.autograded,
            "feedback": self.feedback,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Finding":
        """Rebuild a finding from what `to_json` made."""
        detail = value["detail"]
        result = NotebookResult(
            notebook=value["notebook"],
            status=RunStatus(value["status"]),
            integrity=Integrity(value["integrity"]),
            score=value["score"],
            max_score=value["max_score"],
            reason=_sentence(value["reason"]),
            cells=tuple(_cell(cell) for cell in value["cells"]),
            integrity_reason=_sentence(value["integrity_reason"]),
            detail=None if detail is None else Detail(**detail),
        )
        return cls(result=result, autograded=value["autograded"], feedback=value["feedback"])


def sentence_json(sentence: Sentence | None) -> dict[str, Any] | None:
    """Return a sentence's parts as JSON values."""
    return None if sentence is None else sentence.to_json()


def detail_json(detail: Detail | None) -> dict[str, Any] | None:
    """Return an instructor's detail as JSON values."""
    return None if detail is None else asdict(detail)


def _sentence(value: object) -> Sentence | None:
    return None if value is None else Sentence.from_json(value)


def _cell_json(cell: CellResult) -> dict[str, Any]:
    return {
        "grade_id": cell.grade_id,
        "auto_score": cell.auto_score,
        "max_score": cell.max_score,
        "needs_manual": cell.needs_manual,
        "comment": cell.comment,
        "integrity": None if cell.integrity is None else cell.integrity.value,
        "integrity_reason": sentence_json(cell.integrity_reason),
    }


def _cell(value: dict[str, Any]) -> CellResult:
    integrity = value["integrity"]
    return CellResult(
        grade_id=value["grade_id"],
        auto_score=value["auto_score"],
        max_score=value["max_score"],
        needs_manual=value["needs_manual"],
        comment=value["comment"],
        integrity=None if integrity is None else Integrity(integrity),
        integrity_reason=_sentence(value["integrity_reason"]),
    )
