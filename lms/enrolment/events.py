"""What enrolment tells the rooms above it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentChanged:
    """Somebody's place in an offering is new or has another role or state."""

    enrolment_id: int
    at: datetime
