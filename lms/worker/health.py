"""What a worker can say of its sandbox; asked once in a while, for starting one costs time."""

from collections.abc import Callable
from datetime import datetime, timedelta

from lms.foundation import clock
from lms.protocol.broker import SandboxReport
from lms.worker.loop import Health

#: How long an answer is believed.
FRESH = timedelta(minutes=5)


class SandboxHealth:
    """Remembers the last report of `ask`; a report that is bad is asked for again at once."""

    def __init__(self, ask: Callable[[], SandboxReport]) -> None:
        self._ask = ask
        self._known: tuple[datetime, Health] | None = None

    def __call__(self) -> Health:
        """Return how the sandbox is."""
        now = clock.now()
        if self._known is not None:
            asked_at, health = self._known
            if health.sandbox_ok and now - asked_at < FRESH:
                return health
        report = self._ask()
        health = Health(report.ok, [reason.to_json() for reason in report.missing])
        self._known = (now, health)
        return health
