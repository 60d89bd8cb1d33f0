"""The worker's loop: claim, grade, record; one bad submission never stops it."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from lms.bootstrap import System
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import UnavailableError
from lms.grading.environments import look_at_parked
from lms.grading.models import WorkerBeat
from lms.grading.queue import Claim, claim_next, hand_back, has_work, release_own, renew
from lms.outposts.broker.launcher import SandboxUnavailableError
from lms.outposts.environments.folder import Environments
from lms.outposts.executors.base import ExecutorUnavailableError, JobExecutor
from lms.outposts.executors.job import Graded, GradingJob, run_job
from lms.outposts.runner.errors import KernelStartError
from lms.worker.grading import Submit

LOG = logging.getLogger("lms.worker")

#: What is nobody's notebook: no sandbox, no kernel, no room, no database, no machine to run on.
OURS = (
    KernelStartError,
    SandboxUnavailableError,
    UnavailableError,
    SQLAlchemyError,
    ExecutorUnavailableError,
    CancelledError,
)
#: How long to wait when the queue is empty, in seconds: a student watches the page meanwhile.
IDLE_SECONDS = 0.5
#: How long to wait after a failure of ours (no sandbox, disk full), in seconds: the first time, and
#: at most; each failure in a row doubles it.
TROUBLE_SECONDS, MAX_TROUBLE_SECONDS = 0.25, 8.0
#: How often leases and the sign of life are renewed.
BEAT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Health:
    """What the worker can say of its sandbox."""

    sandbox_ok: bool
    missing: list[dict[str, object]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Worker:
    """Grades claims of one database on an executor, several at once."""

    system: System
    #: Grades one claim and stores the result: see lms.worker.grading.Grader.
    grade: Callable[[Claim, Submit], None]
    start_executor: Callable[[], JobExecutor]
    probe: Callable[[], Health]
    #: Which runs this worker can do: "cpu" or "gpu".
    resource: str = "cpu"
    #: What the executor is given to do; tests of the loop have something cheaper.
    job: Callable[[GradingJob], Graded] = run_job
    name: str = field(default_factory=socket.gethostname)
    stop: threading.Event = field(default_factory=threading.Event)
    _executor: JobExecutor | None = None
    _running: dict[Future[None], Claim] = field(default_factory=dict)
    #: Claims to be handed back, and whether that counts against them.
    _owed: list[tuple[Claim, bool]] = field(default_factory=list)
    _beat_at: datetime | None = None
    _trouble: int = 0

    def run(self) -> None:
        """Work until `stop` is set; what is unfinished then is queued again."""
        self._release_own()
        # Each waits for one run: reading its job, the executor, the database. The work is there.
        threads = ThreadPoolExecutor(self.system.settings.grading_runs, thread_name_prefix="run")
        try:
            while not self.stop.is_set():
                self._step(threads)
        finally:
            self._hand_all_back()
            self._take_leave()
            self._close_executor()
            threads.shutdown(wait=False, cancel_futures=True)

    def _release_own(self) -> None:
        while not self.stop.is_set():
            try:
                with transaction(self.system.sessions) as session:
                    count = release_own(session, self.name, now=clock.now())
            except SQLAlchemyError as error:
                self._pause(error)
                continue
            if count:
                LOG.warning("took up %d runs that an earlier worker left unfinished", count)
            return

    def _step(self, threads: ThreadPoolExecutor) -> None:
        try:
            self._beat()
            self._collect()
            self._return_owed()
            claimed = self._ensure_executor() and self._claim(threads)
        except OURS as error:
            self._pause(error)
            return
        if claimed:
            return
        if self._running:
            wait(self._running, timeout=IDLE_SECONDS, return_when="FIRST_COMPLETED")
        else:
            self.stop.wait(IDLE_SECONDS)

    def _ensure_executor(self) -> bool:
        if self._executor is not None and self._executor.is_lost():
            LOG.error("the executor is gone; starting another")
            self._close_executor()
        if self._executor is None:
            self._executor = self.start_executor()
        return True

    def _claim(self, threads: ThreadPoolExecutor) -> bool:
        free = self.system.settings.grading_runs - len(self._running)
        if free == 0:
            return False
        now = clock.now()
        with self.system.sessions() as session:
            # Only a reader: many idle workers must not queue up as writers.
            if not has_work(session, resource=self.resource, now=now):
                return False
        with transaction(self.system.sessions) as session:
            claims = claim_next(session, self.name, now=now, count=free, resource=self.resource)
        for claim in claims:
            self._running[threads.submit(self.grade, claim, self._submit)] = claim
        return bool(claims)

    def _submit(self, job: GradingJob) -> "Future[Graded]":
        executor = self._executor
        if executor is None:
            raise ExecutorUnavailableError("the executor is being started anew")
        return executor.submit(self.job, job)

    def _collect(self) -> None:
        for future in [one for one in self._running if one.done()]:
            claim = self._running.pop(future)
            error = None if future.cancelled() else future.exception()
            if error is None:
                self._trouble = 0
                continue
            # It costs the run nothing but time.
            LOG.error("run %d was not graded", claim.run_id, exc_info=error)
            ours = isinstance(error, OURS)
            self._owed.append((claim, not ours))
            if ours:
                self._return_owed()
                self._pause(error)

    def _return_owed(self) -> None:
        # Kept until the database has taken it: a lease that runs out costs a student a minute.
        while self._owed:
            claim, interrupted = self._owed[0]
            with transaction(self.system.sessions) as session:
                hand_back(session, [claim], now=clock.now(), interrupted=interrupted)
            self._owed.pop(0)

    def _pause(self, why: BaseException) -> None:
        seconds = min(TROUBLE_SECONDS * 2**self._trouble, MAX_TROUBLE_SECONDS)
        self._trouble = min(self._trouble + 1, 10)
        LOG.warning("%s; trying again in %.2f seconds", why, seconds)
        self.stop.wait(seconds)

    def _beat(self) -> None:
        now = clock.now()
        if self._beat_at is not None and now - self._beat_at < BEAT:
            return
        health = self.probe()
        claims = [*self._running.values(), *(claim for claim, _interrupted in self._owed)]
        with transaction(self.system.sessions) as session:
            self._write_beat(session, health, now)
            lost = renew(session, claims, now=now) if claims else set()
        self._beat_at = now
        # A run that has just been stored is none of ours any more either.
        if late := lost & {
            claim.run_id for future, claim in self._running.items() if not future.done()
        }:
            LOG.warning("another worker has these runs now: %s", sorted(late))

    def _write_beat(self, session: Session, health: Health, now: datetime) -> None:
        built = Environments(self.system.settings.environments_dir).has
        waiting = [one.to_json() for one in look_at_parked(session, built)]
        session.merge(
            WorkerBeat(
                name=self.name,
                at=now,
                sandbox_ok=health.sandbox_ok,
                missing=[*waiting, *health.missing],
            )
        )

    def _hand_all_back(self) -> None:
        claims = [*self._running.values(), *(claim for claim, _interrupted in self._owed)]
        if not claims:
            return
        with contextlib.suppress(SQLAlchemyError), transaction(self.system.sessions) as session:
            hand_back(session, claims, now=clock.now(), interrupted=False)

    def _take_leave(self) -> None:
        """Strike out one's own beat: who ends in good order is not missed."""
        with contextlib.suppress(SQLAlchemyError), transaction(self.system.sessions) as session:
            session.execute(delete(WorkerBeat).where(WorkerBeat.name == self.name))

    def _close_executor(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
