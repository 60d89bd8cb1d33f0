"""The fuse box: the only place that picks real adapters and subscribes rooms to events."""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from lms.exchange.events import SubmissionReceived
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import make_engine, make_sessions
from lms.foundation.events import EventBus
from lms.foundation.settings import Settings
from lms.foundation.signing import Signer, SigningKeys
from lms.grading.events import RunFinished
from lms.grading.receipts import Recorder
from lms.grading.service import enqueue_received


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What a door needs to work: settings, database, blobs, events."""

    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    blobs: BlobStore
    bus: EventBus


def make_bus(recorder: Recorder | None = None) -> EventBus:
    """Return the bus with every subscription between rooms.

    Without a `recorder` of its own the audit log is written, and no receipt is signed.
    """
    bus = EventBus()
    bus.subscribe(SubmissionReceived, enqueue_received)
    bus.subscribe(RunFinished, (recorder or Recorder()).record)
    return bus


def receipt_keys(settings: Settings) -> SigningKeys:
    """Return where the keys of grade receipts lie."""
    return SigningKeys(settings.keys_dir / "grading", settings.keys_dir / "public")


def _signer(settings: Settings) -> Signer:
    # Read anew for each receipt: a key that was rotated is the one in force at once.
    return receipt_keys(settings).signer(clock.now())


def build(settings: Settings) -> System:
    """Wire the system for `settings`; opens no connection yet."""
    recorder = Recorder(signer=partial(_signer, settings), issuer=settings.lms_url)
    bus = make_bus(recorder)
    engine = make_engine(settings.database)
    return System(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine, bus),
        blobs=BlobStore(settings.blobs_dir),
        bus=bus,
    )
