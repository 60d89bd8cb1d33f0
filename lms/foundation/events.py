"""How a lower room tells an upper one: publish an event in the same transaction."""

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

E = TypeVar("E")


class EventBus:
    """Event types and who wants to hear of them; filled once, in lms.bootstrap."""

    def __init__(self) -> None:
        self._subscribers: dict[type, list[Callable[..., None]]] = defaultdict(list)

    def subscribe(self, kind: type[E], react: "Callable[[Session, E], None]") -> None:
        """Call `react` whenever an event of exactly this type is published."""
        self._subscribers[kind].append(react)

    def publish(self, session: "Session", event: object) -> None:
        """Call all subscribers now, in the session's transaction."""
        for react in self._subscribers[type(event)]:
            react(session, event)


def publish(session: "Session", event: object) -> None:
    """Publish on the bus that the session was made with; a session without one tells nobody."""
    bus = session.info.get("bus")
    if isinstance(bus, EventBus):
        bus.publish(session, event)
