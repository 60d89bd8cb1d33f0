"""The fuse box: the only place that picks real adapters and subscribes rooms to events."""

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from lms.exchange.events import SubmissionReceived
from lms.foundation.blobs import BlobStore
from lms.foundation.db import make_engine, make_sessions
from lms.foundation.events import EventBus
from lms.foundation.settings import Settings
from lms.grading.service import enqueue_received


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What a door needs to work: settings, database, blobs, events."""

    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    blobs: BlobStore
    bus: EventBus


def make_bus() -> EventBus:
    """Return the bus with every subscription between rooms."""
    bus = EventBus()
    bus.subscribe(SubmissionReceived, enqueue_received)
    return bus


def build(settings: Settings) -> System:
    """Wire the system for `settings`; opens no connection yet."""
    bus = make_bus()
    engine = make_engine(settings.database)
    return System(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine, bus),
        blobs=BlobStore(settings.blobs_dir),
        bus=bus,
    )
