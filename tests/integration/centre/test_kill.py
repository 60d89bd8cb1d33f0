"""Kill -9 at any moment of appending, writing, reading receipts, keeping and applying.

Each turn forks a process that works on the box, pushes or collects, and kills it at some moment.
In the end everything that the box had acknowledged stands at central exactly once.
"""

import contextlib
import dataclasses
import os
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, make_url, select, text

from lms.bootstrap import System, build, sync_place, sync_signer
from lms.centre.collecting import collect
from lms.centre.models import CentreRecord, CentreSelf, JournalRecord
from lms.centre.rules import NOTHING, Kind, RecordState, chain
from lms.centre.stick import centres_on
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.errors import UnavailableError
from lms.foundation.settings import Settings
from lms.grading.models import Run
from lms.identity.models import Person
from lms.migrations.tables import metadata
from tests.factories.centres import Box, enter, make_box, make_content
from tests.fakes.clock import Clock
from tests.fakes.dying import wait_or_kill

#: The longest that a process lives before it is killed, in seconds.
LIFE = 0.6


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moving = Clock(datetime(2026, 11, 24, 6, 0, tzinfo=UTC))
    monkeypatch.setattr(clock, "now", moving)
    return moving


#: Says that what comes now may be cut off.
Ready = Callable[[], None]


def _at_once() -> None:
    """Nobody waits for it."""


class _Place:
    """Folders of the box, of central and of the stick between them."""

    def __init__(self, root: Path, database_url: str = "") -> None:
        self.root = root
        #: Central's, where it is not SQLite.
        self.database_url = database_url
        self.stick = root / "stick"
        self.acknowledged = root / "acknowledged"

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[System]:
        settings = Settings(data_dir=self.root / name, lms_url="http://127.0.0.1:8123")
        if name == "central":
            settings = dataclasses.replace(settings, database_url=self.database_url)
        system = build(settings)
        try:
            yield system
        finally:
            system.engine.dispose()

    def work(self, number: int, ready: Ready, turns: int = 10_000) -> None:
        """Hand in and grade without end; note each receipt as a student would keep it."""
        with self.open("box") as system:
            box = Box(system)
            with system.sessions() as session:
                students = session.scalars(select(Person).order_by(Person.id)).all()
            ready()
            for turn in range(turns):
                source = f"x = '{number}-{turn}'"
                receipt = box.submit(students[turn % len(students)], source)
                self._note(f"submission {receipt.digest}")
                run = box.grade(receipt.submission_id)
                self._note(f"run {receipt.digest} {run.id}")

    def push(self, _number: int, ready: Ready) -> None:
        with self.open("box") as system:
            ready()
            Box(system).write(self.stick)

    def collect(self, _number: int, ready: Ready) -> None:
        with self.open("central") as system:
            place, signer = sync_place(system), sync_signer(system.settings)
            ready()
            with contextlib.suppress(UnavailableError):
                for root in centres_on(self.stick):
                    assert collect(place, root, signer, now=clock.now()).problems == []

    def _note(self, line: str) -> None:
        descriptor = os.open(self.acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)


def _killed(act: Callable[[int, Ready], None], number: int, seconds: float) -> bool:
    """Do it in a process that is killed `seconds` after it is ready; says whether in time."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act(number, lambda: os.close(say))
            code = 0
        finally:
            os._exit(code)
    os.close(say)
    os.read(hear, 1)
    os.close(hear)
    return wait_or_kill(child, seconds)


def _storm(place: _Place, moving: Clock, kills: int, seed: int) -> int:
    with place.open("central") as central:
        metadata.create_all(central.engine)
        make_content(central)
        box = make_box(place.root / "box")
        enter(central, box)
        for name in ("haneul", "bada", "garam"):
            box.student(name)
        box.system.engine.dispose()
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    acts = (place.work, place.push, place.collect)
    place.work(-1, _at_once, turns=2)
    done = 0
    for number in range(kills):
        moving.forward(seconds=60)
        done += _killed(acts[number % len(acts)], number, chance.uniform(0.01, LIFE))
    for _ in range(2):
        place.push(0, _at_once)
        place.collect(0, _at_once)
    _check(place)
    return done


def _check(place: _Place) -> None:
    lines = place.acknowledged.read_text().split("\n") if place.acknowledged.exists() else []
    kept = {line.split()[1] for line in lines if line.startswith("submission ")}
    graded = {line.split()[1] for line in lines if line.startswith("run ")}
    with place.open("central") as central, central.sessions() as session:
        digests = session.scalars(select(Submission.digest)).all()
        assert len(digests) == len(set(digests))
        assert len(kept) > 1
        assert kept <= set(digests)
        runs = session.execute(
            select(Submission.digest, func.count())
            .join(Run, Run.submission_id == Submission.id)
            .where(Run.preview.is_(False))
            .group_by(Submission.digest)
        ).all()
        assert {count for _digest, count in runs} <= {1}
        assert graded <= {digest for digest, _count in runs}
        states = set(session.scalars(select(CentreRecord.state)))
        assert states == {RecordState.APPLIED}
        theirs = session.scalars(select(CentreRecord.hash).order_by(CentreRecord.seq)).all()
    with place.open("box") as system, system.sessions() as session:
        head, mine = NOTHING, []
        for body, stored in session.execute(
            select(JournalRecord.body, JournalRecord.hash).order_by(JournalRecord.seq)
        ):
            head = chain(head, body)
            assert head == stored
            mine.append(stored)
        assert mine == list(theirs)
        count = select(func.count()).select_from(JournalRecord)
        submissions = session.scalar(select(func.count(Submission.id)))
        assert session.scalar(count.where(JournalRecord.kind == Kind.SUBMISSION)) == submissions
        assert session.get_one(CentreSelf, 1).complete_to <= len(mine)


@pytest.fixture
def fresh_postgres(postgres_url: str) -> Iterator[str]:
    """A database of its own: what other tests empty would wait for who was killed."""
    made = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    name = f"storm_{uuid.uuid4().hex}"
    with made.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with made.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    made.dispose()


def test_kills_lose_and_double_nothing(tmp_path: Path, moving: Clock) -> None:
    assert _storm(_Place(tmp_path), moving, kills=9, seed=7) >= 3


@pytest.mark.postgres
def test_kills_lose_and_double_nothing_on_postgres(
    tmp_path: Path, moving: Clock, fresh_postgres: str
) -> None:
    assert _storm(_Place(tmp_path, fresh_postgres), moving, kills=9, seed=8) >= 3


@pytest.mark.slow
@pytest.mark.postgres
def test_hundreds_of_kills_lose_and_double_nothing_on_postgres(
    tmp_path: Path, moving: Clock, fresh_postgres: str
) -> None:
    assert _storm(_Place(tmp_path, fresh_postgres), moving, kills=150, seed=4) >= 50


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_hundreds_of_kills_lose_and_double_nothing(
    tmp_path: Path, moving: Clock, seed: int
) -> None:
    assert _storm(_Place(tmp_path), moving, kills=150, seed=seed) >= 50
