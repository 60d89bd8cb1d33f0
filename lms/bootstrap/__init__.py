"""The fuse box: the only place that picks real adapters and subscribes rooms to events."""

import math
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from lms.centre import trust
from lms.centre.applying import Place
from lms.centre.journal import Journal
from lms.centre.keys import central_keys, make_folders
from lms.enrolment.events import EnrolmentChanged
from lms.exchange.events import SubmissionReceived
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import make_engine, make_sessions
from lms.foundation.events import EventBus
from lms.foundation.settings import Settings
from lms.foundation.signing import Signer, SigningKeys
from lms.grading.events import RunApplied, RunDecided, RunFinished
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


def make_bus(recorder: Recorder | None = None, journal: Journal | None = None) -> EventBus:
    """Return the bus with every subscription between rooms.

    Without a `recorder` of its own the audit log is written, and no receipt is signed. A centre's
    system has a `journal`; where this is no centre, it writes nothing.
    """
    bus = EventBus()
    bus.subscribe(SubmissionReceived, enqueue_received)
    bus.subscribe(RunFinished, (recorder or Recorder()).record)
    bus.subscribe(RunFinished, trust.on_run)
    if journal is not None:
        _subscribe_journal(bus, journal)
    return bus


def _subscribe_journal(bus: EventBus, journal: Journal) -> None:
    # After the recorder: a result's record holds its receipt.
    bus.subscribe(EnrolmentChanged, journal.on_enrolment)
    bus.subscribe(SubmissionReceived, journal.on_submission)
    bus.subscribe(RunFinished, journal.on_run)
    bus.subscribe(RunApplied, journal.on_run)
    bus.subscribe(RunDecided, journal.on_decision)


def receipt_keys(settings: Settings) -> SigningKeys:
    """Return where the keys of grade receipts lie."""
    return SigningKeys(settings.keys_dir / "grading", settings.keys_dir / "public")


def _signer(settings: Settings) -> Signer:
    # Read anew for each receipt: a key that was rotated is the one in force at once.
    return receipt_keys(settings).signer(clock.now())


def sync_signer(settings: Settings) -> Signer:
    """Return what central signs its answers to centres with."""
    keys = central_keys(settings)
    make_folders(keys)
    return keys.signer(clock.now())


def sync_place(system: System, *, seconds: float = math.inf) -> Place:
    """Return what central takes in centres' work with, at most for so many seconds at once."""
    return Place(
        sessions=system.sessions,
        blobs=system.blobs,
        uids=system.settings.uids,
        seed=trust.Seeds(sync_signer(system.settings)),
        seconds=seconds,
    )


def build(settings: Settings) -> System:
    """Wire the system for `settings`; opens no connection yet."""
    recorder = Recorder(signer=partial(_signer, settings), issuer=settings.lms_url)
    blobs = BlobStore(settings.blobs_dir)
    bus = make_bus(recorder, Journal(blobs))
    engine = make_engine(settings.database)
    return System(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine, bus),
        blobs=blobs,
        bus=bus,
    )
