"""What the status page says of workers: each by its own beat."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from lms.bootstrap import System, make_bus
from lms.bootstrap.health import GONE, SILENCE, PartHealth, report
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.grading.models import WorkerBeat
from lms.protocol.sentences import sentence


@pytest.fixture
def system(engine: Engine, sessions: sessionmaker[Session], blobs: BlobStore) -> System:
    # Port 9 is nobody's: the Hub is not asked about here.
    settings = Settings(data_dir=blobs.root.parent, hub_port=9)
    return System(settings=settings, engine=engine, sessions=sessions, blobs=blobs, bus=make_bus())


def _beat(system: System, name: str, ago: timedelta, *, sandbox_ok: bool = True) -> None:
    missing = [] if sandbox_ok else [sentence("No sandbox.").to_json()]
    with transaction(system.sessions) as session:
        session.merge(
            WorkerBeat(name=name, at=clock.now() - ago, sandbox_ok=sandbox_ok, missing=missing)
        )


def _parts(system: System) -> dict[str, PartHealth]:
    return {part.name: part for part in report(system)}


def test_a_worker_that_lives_hides_no_other_that_does_not(system: System) -> None:
    _beat(system, "box", SILENCE + timedelta(seconds=5))
    _beat(system, "box-gpu", timedelta(seconds=1))
    worker = _parts(system)["worker"]
    assert not worker.ok
    assert worker.reason is not None
    assert worker.reason.facts["names"] == "box"
    _beat(system, "box", timedelta(seconds=1))
    assert _parts(system)["worker"] == PartHealth(name="worker", ok=True)


def test_a_worker_silent_for_an_hour_was_taken_away(system: System) -> None:
    _beat(system, "old-box", GONE + timedelta(minutes=1))
    _beat(system, "box", timedelta(seconds=1))
    assert _parts(system)["worker"].ok


def test_one_workers_missing_sandbox_shows_whichever_beat_last(system: System) -> None:
    _beat(system, "box", timedelta(seconds=9), sandbox_ok=False)
    _beat(system, "other", timedelta(seconds=1))
    sandbox = _parts(system)["sandbox"]
    assert not sandbox.ok
    assert str(sandbox.reason) == "No sandbox."


def test_without_any_worker_grading_is_down(system: System) -> None:
    parts = _parts(system)
    assert not parts["worker"].ok
    assert not parts["sandbox"].ok
