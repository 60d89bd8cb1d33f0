"""How several notebooks' results add up to one run's, and whether it is held: values alone."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

from lms.protocol.grading import (
    SCORES_DIFFER,
    CellResult,
    Integrity,
    NotebookResult,
    RunStatus,
)
from lms.protocol.sentences import Sentence, sentence


class Verdict(StrEnum):
    """What a person decided of a held run."""

    #: The score stands.
    RELEASED = "released"
    #: The attempt counts, with no points.
    ZERO = "zero"
    #: The attempt does not count; an earlier one may.
    SET_ASIDE = "set_aside"
    #: It was graded again, and the new run counts.
    REGRADED = "regraded"


class PlanState(StrEnum):
    """Where a regrade stands."""

    GRADING = "grading"
    APPLIED = "applied"
    DISCARDED = "discarded"


#: A run shows the gravest status of its notebooks; later in this list is graver.
_GRAVITY = (
    RunStatus.GRADED,
    RunStatus.NEEDS_MANUAL,
    RunStatus.REJECTED,
    RunStatus.TIMED_OUT,
    RunStatus.OUT_OF_MEMORY,
    RunStatus.CRASHED,
)
_DOUBT = (Integrity.VERIFIED, Integrity.UNVERIFIED, Integrity.TAMPERED)


def gravest(results: Sequence[NotebookResult]) -> NotebookResult:
    """Return the result whose status a person must see first; `results` is not empty."""
    return max(results, key=lambda result: _GRAVITY.index(result.status))


def weakest(results: Sequence[NotebookResult]) -> Integrity:
    """Return the weakest integrity verdict among the notebooks."""
    return max((result.integrity for result in results), key=_DOUBT.index)


def total(results: Sequence[NotebookResult]) -> tuple[float, float]:
    """Return score and maximum over all notebooks."""
    return sum(result.score for result in results), sum(result.max_score for result in results)


def hold_reason(results: Sequence[NotebookResult], *, practice: bool) -> Sentence | None:
    """Return why a run is held for a person, or None when its score can be shown and counted.

    Tampering is always held, and so is a disagreement between two ways of scoring. What else nobody
    could verify is held unless the offering is for practice, or no test gave a point: then there is
    nothing that could have been forged.
    """
    tampered = [one for one in results if one.integrity is Integrity.TAMPERED]
    if tampered:
        return tampered[0].integrity_reason or sentence(
            "The score does not follow from the answers: the notebook may have changed it."
        )
    for reason in _reasons(results):
        if reason.template == SCORES_DIFFER:
            return reason
    doubtful = [one for one in results if any(map(_is_doubtful, one.cells))]
    if practice or not doubtful:
        return None
    return doubtful[0].integrity_reason or sentence(
        "The tests ran beside the student's code, and nothing else confirms the score."
    )


def _reasons(results: Sequence[NotebookResult]) -> Iterator[Sentence]:
    for result in results:
        for reason in (result.integrity_reason, *(cell.integrity_reason for cell in result.cells)):
            if reason is not None:
                yield reason


def _is_doubtful(cell: CellResult) -> bool:
    # A cell that nobody judged is as doubtful as one that could not be verified.
    return bool(cell.auto_score) and cell.integrity is not Integrity.VERIFIED
