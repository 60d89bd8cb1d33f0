"""Ten thousand submissions at once while everything that can be killed is: each graded once."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from lms.bootstrap import System, build
from lms.catalogue.models import OfferedAssignment, Release
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.blobs import BlobStore, digest_of
from lms.foundation.db import make_engine, transaction
from lms.foundation.settings import Settings
from lms.grading.audit import Act, body_of, check_chain, entries
from lms.grading.models import GradeReceipt, NotebookRun, Run
from lms.migrations.tables import metadata
from lms.outposts.executors.certificates import make_certificates
from lms.protocol.grading import RunStatus
from tests.factories import make_offering, make_person, make_task
from tests.factories.notebooks import Notebook, checked, notebook, solution
from tests.integration.worker.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
WORKERS, RUNS_AT_ONCE = 2, 3
START = "import sys, tests.fakes.light, tests.fakes.storm; tests.fakes.storm.main(*sys.argv[1:])"
UNDER_WAY = (RunStatus.QUEUED, RunStatus.RUNNING)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """A system with a database of its own, which other processes reach too."""
    url = f"sqlite:///{tmp_path / 'db' / 'lms.sqlite'}"
    if request.param == "postgres":
        server: str = request.getfixturevalue("postgres_url")
        url = server.replace("/postgres?", "/storm?")
        _recreate(server)
    system = build(Settings(data_dir=tmp_path, database_url=url, grading_runs=RUNS_AT_ONCE))
    metadata.create_all(system.engine)
    for folder in ("grading", "public"):
        (tmp_path / "keys" / folder).mkdir(parents=True)
    yield system
    system.engine.dispose()


def _recreate(server: str) -> None:
    main = make_engine(server)
    with main.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS storm WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE storm"))
    main.dispose()


def _hand_in(system: System, count: int, now: datetime) -> None:
    """Queue `count` submissions of three offerings, each of bytes of its own."""
    with transaction(system.sessions) as session:
        tasks = [make_task(session, make_offering(session)) for _ in range(3)]
        for task in tasks:
            session.refresh(task, ["assignment"])
            _publish(session, task, system.blobs)
        person = make_person(session)
        content = system.blobs.put(json.dumps(_notebook("x = 1")).encode())
        submissions = [
            {
                "task_id": tasks[number % 3].id,
                "release_id": tasks[number % 3].release_id,
                "person_id": person.id,
                "attempt": number + 1,
                "digest": digest_of(f"submission {number}".encode()),
                "files": [{"path": "ps1.ipynb", "digest": content, "bytes": 2}],
                "submitted_at": now,
                "late": False,
                "via": "page",
            }
            for number in range(count)
        ]
        session.execute(insert(Submission), submissions)
        offerings = {task.id: task.offering_id for task in tasks}
        runs = [
            {
                "submission_id": row.id,
                "number": 1,
                "status": RunStatus.QUEUED,
                "queued_at": now + timedelta(milliseconds=row.id),
                "offering_id": offerings[row.task_id],
            }
            for row in session.execute(select(Submission.id, Submission.task_id))
        ]
        session.execute(insert(Run), runs)


def _notebook(answer: str) -> Notebook:
    return notebook(solution("a", answer), checked("q1", 2.0, "assert x == 1"))


def _publish(session: Session, task: OfferedAssignment, blobs: BlobStore) -> None:
    digest = blobs.put(json.dumps(_notebook("x = 1")).encode())
    manifest = {"assignment": task.id, "student": {}, "instructor": {"ps1.ipynb": digest}}
    session.get_one(Release, task.release_id).digest = blobs.put(json.dumps(manifest).encode())


@dataclass
class Storm:
    """The workers, and what is done to them."""

    system: System
    chance: random.Random
    workers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    frozen: dict[str, float] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    numbers: int = 0
    #: "cheap" or "real": see tests.fakes.storm.
    engine: str = "cheap"
    env: dict[str, str] = field(default_factory=dict)
    #: Where jobs run, if not in processes of the workers.
    cluster: Cluster | None = None

    def start(self, name: str = "") -> None:
        self.numbers += 1
        name = name or f"worker-{self.numbers}"
        settings = self.system.settings
        log = (settings.data_dir / f"{name}.log").open("ab")
        with log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, "-c", START, name, self.engine],
                cwd=ROOT,
                env={
                    "PATH": os.environ["PATH"],
                    "LMS_DATA": str(settings.data_dir),
                    "LMS_DATABASE_URL": settings.database_url,
                    "LMS_GRADING_RUNS": str(settings.grading_runs),
                    **self.env,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill_worker(self) -> None:
        """As the kernel does when memory runs out; its successor has its name, or another."""
        name = self.chance.choice(sorted(self.workers))
        self.frozen.pop(name, None)
        worker = self.workers.pop(name)
        worker.kill()
        worker.wait()
        self.start(name if self.chance.random() < 0.5 else "")

    def freeze_worker(self) -> None:
        """Let a worker sleep until others have its runs; awake, it still believes in its claims."""
        awake = sorted(set(self.workers) - set(self.frozen))
        if len(awake) < 2:
            return
        name = self.chance.choice(awake)
        self.workers[name].send_signal(signal.SIGSTOP)
        self.frozen[name] = time.monotonic() + 6

    def kill_child(self) -> None:
        """Kill what runs jobs: a process of the pool."""
        for nursery in self._nurseries():
            if children := _children(nursery):
                _kill(self.chance.choice(children))
                return

    def kill_nursery(self) -> None:
        """Kill what the processes of the pool are forked from; they go with it."""
        for nursery in self._nurseries():
            _kill(nursery)
            return

    def kill_node(self) -> None:
        """Kill a worker of the cluster; another comes."""
        assert self.cluster is not None
        node = self.chance.choice(self.cluster.workers)
        self.cluster.workers.remove(node)
        node.kill()
        node.wait()
        self.cluster.start_worker()

    def kill_scheduler(self) -> None:
        """Kill the cluster's scheduler, and start it anew where it was; nodes come back to it."""
        assert self.cluster is not None
        self.cluster.scheduler.kill()
        self.cluster.scheduler.wait()
        self.cluster.start_scheduler()
        for node in self.cluster.workers:
            node.kill()
            node.wait()
        self.cluster.workers = []
        for _ in range(2):
            self.cluster.start_worker()

    def cut_connections(self) -> None:
        """End database connections as a failing server would, in whatever they are doing."""
        with self.system.engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
                    " datname = 'storm' AND pid <> pg_backend_pid() AND random() < 0.5"
                )
            )

    def strike(self, act: Callable[[], None]) -> None:
        act()
        self.done[act.__name__] += 1

    def tick(self) -> None:
        """Wake who has slept long enough; nobody may have ended by itself."""
        for name, until in list(self.frozen.items()):
            if time.monotonic() > until:
                self.workers[name].send_signal(signal.SIGCONT)
                del self.frozen[name]
        for name, worker in list(self.workers.items()):
            if worker.poll() is not None:
                raise AssertionError((self.system.settings.data_dir / f"{name}.log").read_text())

    def _nurseries(self) -> list[int]:
        found = [pid for worker in self.workers.values() for pid in _children(worker.pid)]
        self.chance.shuffle(found)
        return found

    def end(self) -> None:
        for worker in self.workers.values():
            worker.send_signal(signal.SIGCONT)
            worker.terminate()
        for worker in self.workers.values():
            worker.wait(30)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        others = Path(f"/proc/{pid}/task").iterdir()
        return [
            int(child) for task in others for child in (task / "children").read_text().split()
        ] or [int(child) for child in text.split()]
    return []


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _left(system: System) -> int:
    while True:
        try:
            with system.sessions() as session:
                return (
                    session.scalar(
                        select(func.count()).select_from(Run).where(Run.status.in_(UNDER_WAY))
                    )
                    or 0
                )
        except SQLAlchemyError:
            # Our own connection was cut too.
            time.sleep(0.05)


def _rage(storm: Storm, *, strikes: int, seconds: float) -> float:
    """Strike evenly until nothing is left to grade; returns how long that took."""
    acts = [storm.kill_worker, storm.freeze_worker, storm.kill_child, storm.kill_nursery]
    if storm.cluster is not None:
        acts = [storm.kill_node, storm.kill_worker, storm.kill_scheduler]
    if storm.system.engine.dialect.name == "postgresql":
        acts += [storm.cut_connections] * 2
    for _ in range(WORKERS):
        storm.start()
    start = time.monotonic()
    count = left = _left(storm.system)
    plan = [count - count * number // (strikes + 1) for number in range(1, strikes + 1)]
    while left:
        assert time.monotonic() - start < seconds, f"{left} are left"
        time.sleep(0.05)
        if plan and left <= plan[0]:
            # By what was done, not by the clock: a slow machine has to get on as well.
            plan.pop(0)
            storm.strike(acts[len(plan) % len(acts)])
        storm.tick()
        left = _left(storm.system)
    return time.monotonic() - start


def _assert_each_graded_exactly_once(system: System, count: int) -> int:
    """Compare rows, results, audit log and receipts; returns how often a run was interrupted."""
    with system.sessions() as session:
        runs = session.scalars(select(Run)).all()
        assert len(runs) == count
        assert {run.status for run in runs} == {RunStatus.GRADED}
        assert len({run.submission_id for run in runs}) == count
        found = session.execute(
            select(NotebookRun.run_id, func.count()).group_by(NotebookRun.run_id)
        ).all()
        assert {number for _run, number in found} == {1}
        assert len(found) == count
        _head, flaws = check_chain(session)
        assert flaws == []
        finished = [
            body_of(entry)["run"] for entry in entries(session) if entry.kind == Act.FINISHED
        ]
        assert sorted(finished) == sorted(str(run.audit_id) for run in runs)
        receipts = session.scalars(select(GradeReceipt.run_id)).all()
        assert sorted(receipts) == sorted(run.id for run in runs)
        return sum(run.interruptions for run in runs)


def _run(storm: Storm, count: int, *, strikes: int, seconds: int) -> int:
    """Let it rage and end; returns how often a run was interrupted."""
    try:
        took = _rage(storm, strikes=strikes, seconds=seconds)
    finally:
        storm.end()
    hits = _assert_each_graded_exactly_once(storm.system, count)
    sys.stdout.write(
        f"\n{storm.system.engine.dialect.name}, {storm.engine}: {count} runs in {took:.1f} s"
        f" ({count / took:.0f} a second), {hits} interruptions, {dict(storm.done)}\n"
    )
    assert sum(storm.done.values()) == strikes
    return hits


def _chance(count: int) -> random.Random:
    return random.Random(count)  # noqa: S311


def test_every_submission_of_a_small_storm_is_graded_exactly_once(
    system: System, now: datetime
) -> None:
    _hand_in(system, 200, now)
    _run(Storm(system, _chance(200)), 200, strikes=6, seconds=240)


@pytest.mark.slow
def test_every_submission_of_ten_thousand_is_graded_exactly_once(
    system: System, now: datetime
) -> None:
    _hand_in(system, 10_000, now)
    assert _run(Storm(system, _chance(10_000)), 10_000, strikes=90, seconds=5_400) > 60


@pytest.mark.slow
@pytest.mark.sandbox
@pytest.mark.parametrize("system", ["sqlite"], indirect=True)
def test_every_submission_is_graded_exactly_once_by_the_real_engine(
    system: System, now: datetime
) -> None:
    _hand_in(system, 60, now)
    _run(Storm(system, _chance(60), engine="real"), 60, strikes=6, seconds=900)
    with system.sessions() as session:
        assert set(session.scalars(select(Run.score))) == {2.0}


@pytest.mark.slow
@pytest.mark.parametrize("system", ["sqlite"], indirect=True)
def test_every_submission_is_graded_exactly_once_on_a_cluster_that_falls_apart(
    system: System, now: datetime
) -> None:
    _hand_in(system, 300, now)
    keys = system.settings.cluster_keys_dir
    make_certificates(keys, now=clock.now())
    cluster = Cluster(system.settings.data_dir, keys)
    env = {"LMS_GRADING_EXECUTOR": "dask", "LMS_DASK_SCHEDULER": cluster.address}
    try:
        for _ in range(2):
            cluster.start_worker()
        storm = Storm(system, _chance(300), env=env, cluster=cluster)
        _run(storm, 300, strikes=6, seconds=900)
    finally:
        cluster.end()
