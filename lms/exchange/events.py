"""What the exchange tells the rooms above it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionReceived:
    """A new attempt is stored; not published for bytes that were sent again."""

    submission_id: int
    at: datetime
