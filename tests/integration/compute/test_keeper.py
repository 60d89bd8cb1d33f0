"""The lease keeper asks little where there is little to keep, and grants at once where there is."""

import threading
import time
from datetime import datetime

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from lms.compute import reconcile, service
from lms.compute.models import Lease
from lms.compute.rules import Cause
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.outposts.broker.client import BrokerRefusedError
from lms.worker.leases import LeaseKeeper
from tests.factories import actor_of, make_person
from tests.factories.compute import TERMS
from tests.fakes.broker_leases import FakeGpuBroker


def _asked(engine: Engine, keeper: LeaseKeeper, seconds: float) -> int:
    """Return how many statements the keeper sends while nobody wants anything."""
    statements: list[str] = []

    def note(*words: object) -> None:
        if "SELECT" in str(words[2]):
            statements.append(str(words[2]))

    thread = threading.Thread(target=keeper.run)
    thread.start()
    time.sleep(0.5)
    event.listen(engine, "before_cursor_execute", note)
    time.sleep(seconds)
    event.remove(engine, "before_cursor_execute", note)
    keeper.stop.set()
    thread.join(10)
    assert not thread.is_alive()
    return len(statements)


@pytest.mark.parametrize(("devices", "most"), [("", 0), ("1", 6)])
def test_an_idle_keeper_asks_seldom(
    engine: Engine, sessions: sessionmaker[Session], devices: str, most: int
) -> None:
    keeper = LeaseKeeper(sessions=sessions, broker=FakeGpuBroker(devices))
    assert _asked(engine, keeper, 1.6) <= most


def test_the_next_in_the_queue_can_use_a_freed_gpu_within_a_second(
    sessions: sessionmaker[Session],
) -> None:
    keeper = LeaseKeeper(sessions=sessions, broker=FakeGpuBroker("1"))
    keeper.step()
    leases = [_wish(sessions, number) for number in range(2)]
    thread = threading.Thread(target=keeper.run)
    thread.start()
    try:
        _until_started(sessions, leases[0])
        with transaction(sessions) as session:
            service.end(session, leases[0], Cause.PERSON, now=clock.now())
        freed = time.monotonic()
        _until_started(sessions, leases[1])
        # The rounds come every 0.4 s; the rest is room for a busy machine.
        assert time.monotonic() - freed < 5
    finally:
        keeper.stop.set()
        thread.join(10)


class Stubborn(FakeGpuBroker):
    """Cannot end one lease for now, as when a process hangs in a driver: says so, or is silent."""

    hangs = ""

    def __init__(self, freed: threading.Event | None) -> None:
        FakeGpuBroker.__init__(self, "2")
        self._freed = freed

    def revoke(self, lease: str, reason: str) -> None:
        if lease == self.hangs:
            if self._freed is None:
                raise BrokerRefusedError("the lease cannot be ended yet")
            assert self._freed.wait(30)
        FakeGpuBroker.revoke(self, lease, reason)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_a_lease_that_cannot_be_ended_keeps_nobody_else_waiting(
    sessions: sessionmaker[Session], which: int, how: str
) -> None:
    freed_at_last = threading.Event()
    broker = Stubborn(None if how == "refused" else freed_at_last)
    keeper = LeaseKeeper(sessions=sessions, broker=broker)
    keeper.step()
    held = [_wish(sessions, number) for number in range(2)]
    keeper.step()
    broker.hangs, freed = held[which], held[1 - which]
    for lease_id in held:
        with transaction(sessions) as session:
            service.end(session, lease_id, Cause.PERSON, now=clock.now())
    waiting = [_wish(sessions, number) for number in range(2, 4)]
    keeper.step()
    with sessions() as session:
        places = {session.get_one(Lease, one).devices[0]: one for one in waiting}
        (free,) = session.get_one(Lease, freed).devices
        (stuck,) = session.get_one(Lease, broker.hangs).devices
        assert session.get_one(Lease, places[free]).started_at is not None
        assert session.get_one(Lease, places[stuck]).started_at is None, "not on a held device"
        assert session.get_one(Lease, broker.hangs).revoked_at is None
    broker.hangs = ""
    freed_at_last.set()
    keeper.step()
    _until_started(sessions, places[stuck])


def _wish(sessions: sessionmaker[Session], number: int) -> str:
    with transaction(sessions) as session:
        person = make_person(session)
        wish = service.Wish(profile="gpu", kernel_id=f"k{number}", offering_id=None)
        actor = actor_of(person)
        return service.request(session, wish, terms=TERMS, actor=actor, now=clock.now()).id


def _until_started(sessions: sessionmaker[Session], lease_id: str) -> None:
    end = time.monotonic() + 15
    while True:
        with sessions() as session:
            if session.get_one(Lease, lease_id).started_at is not None:
                return
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_the_keeper_asks_for_often_is_found_by_index(
    engine: Engine, session: Session, now: datetime
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL chooses by the table's size, which is nothing here")
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *words: statements.append(words[2]))
    assert not reconcile.list_revocations(session)
    plan = session.execute(text("EXPLAIN QUERY PLAN " + statements[-1])).all()
    assert "ix_lease_unrevoked" in str(plan)
    assert not reconcile.has_work(session)
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN " + statements[-1], ("waiting",)
        ).all()
    assert "SCAN lease'" not in str(plan)
