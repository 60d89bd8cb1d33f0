"""Two hundred wishes at once for sixteen GPUs, from threads and from processes."""

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.models import Offering
from lms.compute import reconcile, service
from lms.compute.models import GpuSlot, Lease
from lms.compute.rules import Cause, LeaseState
from lms.foundation.db import make_engine, transaction
from lms.identity.models import Person
from lms.identity.scopes import Actor, Role
from tests.factories import make_enrolment, make_offering, make_person
from tests.factories.compute import TERMS, simulated

GPUS, WISHES, PROCESSES = 16, 200, 4


def _fill(sessions: sessionmaker[Session], now: datetime) -> tuple[int, list[int]]:
    with transaction(sessions) as session:
        reconcile.take_stock(session, simulated(GPUS), now=now)
        offering = make_offering(session)
        people = [make_person(session) for _ in range(WISHES)]
        for person in people:
            make_enrolment(session, person, offering)
        return offering.id, [person.id for person in people]


def take_turns(
    sessions: sessionmaker[Session], offering_id: int, people: list[int], now: datetime
) -> None:
    """Ask for each person, and give back what was granted in a random order."""
    for person_id in people:
        actor = Actor(person_id=person_id, username="someone", roles={offering_id: Role.STUDENT})
        wish = service.Wish(profile="gpu", kernel_id="k", offering_id=offering_id)
        with transaction(sessions) as session:
            service.request(session, wish, terms=TERMS, actor=actor, now=now)
        with sessions() as session:
            mine = session.scalars(
                select(Lease.id).where(
                    Lease.person_id.in_(people), Lease.state == LeaseState.GRANTED
                )
            ).all()
        if mine and random.random() < 0.6:  # noqa: S311
            with transaction(sessions) as session:
                service.end(session, random.choice(mine), Cause.PERSON, now=now)  # noqa: S311


def _watch(sessions: sessionmaker[Session], stop: threading.Event) -> list[tuple[int, int]]:
    """Count what is held until told to stop: slots with a lease, and granted leases."""
    seen = []
    while not stop.is_set():
        with sessions() as session:
            row = session.execute(
                select(
                    select(func.count()).where(GpuSlot.lease_id.is_not(None)).scalar_subquery(),
                    select(func.count()).where(Lease.state == "granted").scalar_subquery(),
                )
            ).one()
        seen.append((row[0], row[1]))
        time.sleep(0.01)
    return seen


def _check(sessions: sessionmaker[Session], seen: list[tuple[int, int]], now: datetime) -> None:
    assert max(slots for slots, _ in seen) <= GPUS
    assert max(leases for _, leases in seen) <= GPUS
    assert all(slots == leases for slots, leases in seen), "in every transaction both agree"
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Lease)) == WISHES
    # Everybody's turn comes: each round frees all, and the queue fills them in the same moment.
    rounds = 0
    while True:
        with sessions() as session:
            held = session.scalars(select(Lease.id).where(Lease.state == "granted")).all()
        if not held:
            break
        for lease_id in held:
            with transaction(sessions) as session:
                service.end(session, lease_id, Cause.PERSON, now=now + timedelta(minutes=1))
        rounds += 1
        assert rounds <= WISHES
    with sessions() as session:
        never = session.scalar(select(func.count()).where(Lease.granted_at.is_(None)))
        assert never == 0
        assert session.scalar(select(func.count()).where(GpuSlot.lease_id.is_not(None))) == 0


def test_two_hundred_threads_wish_for_sixteen_gpus_and_never_more_are_held(
    sessions: sessionmaker[Session], now: datetime
) -> None:
    offering_id, people = _fill(sessions, now)
    stop = threading.Event()
    with ThreadPoolExecutor(9) as pool:
        watching = pool.submit(_watch, sessions, stop)
        wishing = [
            pool.submit(take_turns, sessions, offering_id, people[start::8], now)
            for start in range(8)
        ]
        for one in wishing:
            one.result()
        stop.set()
        seen = watching.result()
    _check(sessions, seen, now)


@pytest.mark.slow
def test_processes_wish_for_sixteen_gpus_and_never_more_are_held(
    engine: Engine, sessions: sessionmaker[Session], now: datetime
) -> None:
    offering_id, people = _fill(sessions, now)
    url = engine.url.render_as_string(hide_password=False)
    code = "import sys; from tests.integration.compute.test_many import main; main(sys.argv[1:])"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, str(offering_id), now.isoformat(),
             *map(str, people[start::PROCESSES])],
            cwd=Path(__file__).parents[3],
        )
        for start in range(PROCESSES)
    ]  # fmt: skip
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(_watch, sessions, stop)
        codes = [one.wait(120) for one in started]
        stop.set()
        seen = watching.result()
    assert codes == [0] * PROCESSES
    _check(sessions, seen, now)


def main(words: list[str]) -> None:
    """Wish from a process of its own."""
    url, offering_id, at, *people = words
    engine = make_engine(url)
    sessions = sessionmaker(engine, expire_on_commit=False)
    with sessions() as session:
        assert session.get(Offering, int(offering_id)), "the offering is there"
        assert session.get(Person, int(people[0]))
    take_turns(sessions, int(offering_id), list(map(int, people)), datetime.fromisoformat(at))
    engine.dispose()
