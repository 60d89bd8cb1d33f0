"""The worker's loop against a real database: what it claims, hands back, renews and starts anew."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from lms.bootstrap import System, make_bus
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.grading.models import Run, WorkerBeat
from lms.grading.queue import LEASE, Claim, claim_next, enqueue
from lms.grading.service import finish
from lms.outposts.executors.base import ExecutorUnavailableError, JobExecutor
from lms.outposts.executors.job import Graded
from lms.protocol.grading import RunStatus
from lms.worker import loop
from lms.worker.grading import Submit
from lms.worker.loop import Health, Worker
from tests.factories import make_offering, make_person, make_submission, make_task
from tests.factories.grading import finding

# The loop is the same on both; what differs is tested with the queue itself.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


class FakeExecutor(JobExecutor):
    """Answers as it is told to, at once."""

    def __init__(self, answer: Callable[[], Graded]) -> None:
        self._answer = answer
        self.lost = self.closed = False

    def submit(self, *_arguments: object, **_named: object) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(self._answer())
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future

    def is_lost(self) -> bool:
        return self.lost

    def shutdown(self, *_arguments: object, **_named: object) -> None:
        self.closed = True


@dataclass
class Desk:
    """A worker whose grading is `grade`, and what it did."""

    worker: Worker
    executors: list[FakeExecutor] = field(default_factory=list)


@pytest.fixture
def system(engine: Engine, sessions: sessionmaker[Session], blobs: BlobStore) -> System:
    settings = Settings(data_dir=blobs.root.parent, grading_runs=3)
    return System(settings=settings, engine=engine, sessions=sessions, blobs=blobs, bus=make_bus())


def _queue(system: System, count: int, now: datetime) -> list[int]:
    with transaction(system.sessions) as session:
        task = make_task(session, make_offering(session))
        session.refresh(task, ["assignment"])
        person = make_person(session)
        return [
            enqueue(session, make_submission(session, task, person, attempt=one).id, now=now).id
            for one in range(1, count + 1)
        ]


def _nothing() -> Graded:
    return Graded(outcomes=())


def _desk(
    system: System, grade: Callable[[Claim, Submit], None], answer: Callable[[], Graded] = _nothing
) -> Desk:
    desk = Desk(worker=None)  # type: ignore[arg-type]

    def start() -> JobExecutor:
        desk.executors.append(FakeExecutor(answer))
        return desk.executors[-1]

    desk.worker = Worker(
        system=system,
        grade=grade,
        start_executor=start,
        probe=lambda: Health(sandbox_ok=True),
        name="box",
    )
    return desk


@contextmanager
def _working(desk: Desk) -> Iterator[None]:
    thread = threading.Thread(target=desk.worker.run)
    thread.start()
    try:
        yield
    finally:
        desk.worker.stop.set()
        thread.join(30)
        assert not thread.is_alive()


def _runs(system: System) -> list[Run]:
    with system.sessions() as session:
        return list(session.scalars(select(Run).order_by(Run.id)))


def _until(system: System, done: Callable[[list[Run]], bool]) -> list[Run]:
    end = time.monotonic() + 30
    while not done(runs := _runs(system)):
        assert time.monotonic() < end, [(run.status, run.interruptions) for run in runs]
        time.sleep(0.02)
    return runs


def _grader(system: System) -> Callable[[Claim, Submit], None]:
    def grade(claim: Claim, submit: Submit) -> None:
        submit(None).result()  # type: ignore[arg-type]
        with transaction(system.sessions) as session:
            finish(session, claim, [finding()], now=clock.now())

    return grade


def test_a_storm_is_worked_off_several_at_a_time(system: System, now: datetime) -> None:
    _queue(system, 12, now)
    together: list[int] = []
    inside = threading.Semaphore(0)

    def grade(claim: Claim, submit: Submit) -> None:
        inside.release()
        together.append(sum(run.status == RunStatus.RUNNING for run in _runs(system)))
        _grader(system)(claim, submit)

    with _working(_desk(system, grade)):
        runs = _until(system, lambda runs: all(run.status == RunStatus.GRADED for run in runs))
        with system.sessions() as session:
            assert session.get_one(WorkerBeat, "box").sandbox_ok
    assert max(together) == 3
    assert {run.claim for run in runs} == {1}
    with system.sessions() as session:
        assert session.get(WorkerBeat, "box") is None, "who ends in good order is not missed"


def test_an_idle_worker_asks_seldom_and_writes_nothing(
    system: System, engine: Engine, now: datetime
) -> None:
    statements: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda *words: statements.append(words[2].split()[0])
    )
    with _working(_desk(system, _grader(system))):
        time.sleep(0.3)
        statements.clear()
        time.sleep(2.2)
        asked = [word for word in statements if word in {"SELECT", "UPDATE", "INSERT", "WITH"}]
    assert 1 <= len(asked) <= 6
    assert set(asked) == {"SELECT"}


def test_a_stop_hands_everything_back_at_once(system: System, now: datetime) -> None:
    _queue(system, 3, now)
    going, release = threading.Semaphore(0), threading.Event()

    def grade(claim: Claim, submit: Submit) -> None:
        going.release()
        release.wait(30)

    desk = _desk(system, grade)
    with _working(desk):
        for _ in range(3):
            assert going.acquire(timeout=30)
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert [(run.status, run.interruptions) for run in _runs(system)] == [("queued", 0)] * 3
    assert desk.executors[0].closed
    release.set()


@pytest.mark.parametrize(
    ("error", "interruptions"),
    [
        (CancelledError(), 0),
        (ExecutorUnavailableError("gone"), 0),
        (OperationalError("x", {}, Exception("cut")), 0),
        (BrokenExecutor("the process died"), 1),
    ],
)
def test_what_is_ours_costs_a_run_nothing_but_time(
    system: System, now: datetime, error: Exception, interruptions: int
) -> None:
    _queue(system, 1, now)
    errors = [error]

    def answer() -> Graded:
        if errors:
            raise errors.pop()
        return _nothing()

    with _working(_desk(system, _grader(system), answer)):
        (run,) = _until(system, lambda runs: runs[0].status == RunStatus.GRADED)
    assert (run.claim, run.interruptions) == (3, interruptions)


def test_an_executor_that_is_gone_is_started_again(system: System, now: datetime) -> None:
    desk = _desk(system, _grader(system))
    with _working(desk):
        end = time.monotonic() + 30
        while not desk.executors:
            assert time.monotonic() < end
            time.sleep(0.01)
        desk.executors[0].lost = True
        _queue(system, 2, now)
        _until(system, lambda runs: all(run.status == RunStatus.GRADED for run in runs))
    assert len(desk.executors) == 2
    assert all(executor.closed for executor in desk.executors)


def test_claims_are_handed_back_once_the_database_answers_again(
    system: System, engine: Engine, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TROUBLE_SECONDS", 0.02)
    _queue(system, 1, now)
    failing = threading.Event()

    def fail(*words: object) -> None:
        if failing.is_set() and str(words[2]).startswith("UPDATE run"):
            raise OperationalError("UPDATE run", {}, Exception("no answer"))

    event.listen(engine, "before_cursor_execute", fail)
    first = threading.Event()

    def grade(claim: Claim, submit: Submit) -> None:
        if not first.is_set():
            first.set()
            failing.set()
            raise CancelledError
        _grader(system)(claim, submit)

    try:
        with _working(_desk(system, grade)):
            assert first.wait(30)
            time.sleep(0.3)
            assert _runs(system)[0].status == RunStatus.RUNNING
            failing.clear()
            _until(system, lambda runs: runs[0].status == RunStatus.GRADED)
    finally:
        event.remove(engine, "before_cursor_execute", fail)


def test_leases_are_renewed_while_a_run_goes_on(
    system: System, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "BEAT", timedelta(seconds=0.1))
    _queue(system, 1, now)
    release = threading.Event()

    def grade(claim: Claim, submit: Submit) -> None:
        release.wait(30)
        _grader(system)(claim, submit)

    with _working(_desk(system, grade)):
        (run,) = _until(system, lambda runs: runs[0].lease_expires_at is not None)
        leases = _until(system, lambda runs: runs[0].lease_expires_at != run.lease_expires_at)
        assert leases[0].claim == 1
        release.set()
        _until(system, lambda runs: runs[0].status == RunStatus.GRADED)


def test_a_worker_takes_only_what_its_machine_can_do(system: System, now: datetime) -> None:
    (heavy,) = _queue(system, 1, now)
    with transaction(system.sessions) as session:
        session.get_one(Run, heavy).resource = "gpu"
    light = _queue(system, 1, now)
    with _working(_desk(system, _grader(system))):
        _until(system, lambda runs: runs[1].status == RunStatus.GRADED)
        assert _runs(system)[0].status == RunStatus.QUEUED
    desk = _desk(system, _grader(system))
    desk.worker.resource = "gpu"
    with _working(desk):
        _until(system, lambda runs: runs[0].status == RunStatus.GRADED)
    assert light


def test_a_late_result_of_a_lost_claim_changes_nothing(system: System, now: datetime) -> None:
    _queue(system, 1, now)
    with transaction(system.sessions) as session:
        (slow,) = claim_next(session, "slow", now=now)
    with transaction(system.sessions) as session:
        (quick,) = claim_next(session, "quick", now=now + LEASE + timedelta(seconds=1))
    with transaction(system.sessions) as session:
        assert finish(session, quick, [finding(score=1.0)], now=now)
    with transaction(system.sessions) as session:
        assert not finish(session, slow, [finding(score=2.0)], now=now)
    assert [run.score for run in _runs(system)] == [1.0]
