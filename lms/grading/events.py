"""What grading tells the rooms above it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """A run has a final status and its results are stored."""

    run_id: int
    submission_id: int
