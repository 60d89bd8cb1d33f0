"""How several notebooks' results add up to one run's, decided from values alone."""

from collections.abc import Sequence

from lms.protocol.grading import Integrity, NotebookResult, RunStatus

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
