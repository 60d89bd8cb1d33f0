"""A clock that stands until a test moves it."""

from datetime import datetime, timedelta


class Clock:
    """Called like lms.foundation.clock.now."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **span: float) -> None:
        """Move on by a timedelta's arguments."""
        self.at += timedelta(**span)
