"""What identity tells the rooms above it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonDisabled:
    """An account was closed: its sign-ins and tokens are already dead."""

    person_id: int
    username: str
