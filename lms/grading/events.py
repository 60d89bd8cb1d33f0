"""What grading tells the rooms above it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """A run has a final status and its results are stored."""

    run_id: int
    submission_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunApplied:
    """A regrade's preview has become the run that counts."""

    run_id: int
    submission_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDecided:
    """A person has decided of a held run."""

    run_id: int
    at: datetime
