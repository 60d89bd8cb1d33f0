"""The worker's loop: claim, grade, record; one bad submission never stops it."""

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from lms.bootstrap import System
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import UnavailableError
from lms.grading.models import WorkerBeat
from lms.grading.queue import Claim, claim_next, hand_back, release_own, renew
from lms.outposts.broker.launcher import SandboxUnavailableError
from lms.outposts.runner.errors import KernelStartError

LOG = logging.getLogger("lms.worker")

#: What is nobody's notebook: no sandbox, no kernel, no room, no database.
OURS = (KernelStartError, SandboxUnavailableError, UnavailableError, SQLAlchemyError)
#: How long to wait when the queue is empty, in seconds: a student watches the page meanwhile.
IDLE_SECONDS = 0.5
#: How long to wait after a failure of ours (no sandbox, disk full), in seconds.
TROUBLE_SECONDS = 5.0
#: How often leases and the sign of life are renewed.
BEAT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Health:
    """What the worker can say of its sandbox."""

    sandbox_ok: bool
    missing: list[dict[str, object]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Worker:
    """Grades claims of one database with `launcher`, several at once."""

    system: System
    #: Grades one claim and stores the result: see lms.worker.grading.grade_claim.
    grade: Callable[[System, Claim], None]
    probe: Callable[[], Health]
    name: str = field(default_factory=socket.gethostname)
    stop: threading.Event = field(default_factory=threading.Event)
    _running: dict[Future[None], Claim] = field(default_factory=dict)
    _beat_at: datetime | None = None

    def run(self) -> None:
        """Work until `stop` is set; what is unfinished then is queued again."""
        with transaction(self.system.sessions) as session:
            count = release_own(session, self.name, now=clock.now())
        if count:
            LOG.warning("took up %d runs that an earlier worker left unfinished", count)
        pool = ThreadPoolExecutor(self.system.settings.grading_runs, thread_name_prefix="run")
        try:
            while not self.stop.is_set():
                self._step(pool)
        finally:
            self._hand_all_back()
            pool.shutdown(wait=False, cancel_futures=True)

    def _step(self, pool: ThreadPoolExecutor) -> None:
        try:
            self._beat()
            self._collect()
            if len(self._running) < self.system.settings.grading_runs:
                with transaction(self.system.sessions) as session:
                    claims = claim_next(session, self.name, now=clock.now())
                for claim in claims:
                    self._running[pool.submit(self.grade, self.system, claim)] = claim
                if claims:
                    return
        except (SQLAlchemyError, UnavailableError):
            LOG.exception("the database does not answer; trying again")
            self.stop.wait(TROUBLE_SECONDS)
        if self._running:
            wait(self._running, timeout=IDLE_SECONDS, return_when="FIRST_COMPLETED")
        else:
            self.stop.wait(IDLE_SECONDS)

    def _collect(self) -> None:
        for future in [one for one in self._running if one.done()]:
            claim = self._running.pop(future)
            error = future.exception()
            if error is not None:
                self._recover(claim, error)

    def _recover(self, claim: Claim, error: BaseException) -> None:
        # It costs the run nothing but time.
        ours = isinstance(error, OURS)
        LOG.error("run %d was not graded", claim.run_id, exc_info=error)
        with transaction(self.system.sessions) as session:
            hand_back(session, [claim], now=clock.now(), interrupted=not ours)
        if ours:
            self.stop.wait(TROUBLE_SECONDS)

    def _beat(self) -> None:
        now = clock.now()
        if self._beat_at is not None and now - self._beat_at < BEAT:
            return
        health = self.probe()
        with transaction(self.system.sessions) as session:
            self._write_beat(session, health, now)
            renew(session, list(self._running.values()), now=now)
        self._beat_at = now

    def _write_beat(self, session: Session, health: Health, now: datetime) -> None:
        session.merge(
            WorkerBeat(name=self.name, at=now, sandbox_ok=health.sandbox_ok, missing=health.missing)
        )

    def _hand_all_back(self) -> None:
        for claim in self._running.values():
            with contextlib.suppress(SQLAlchemyError), transaction(self.system.sessions) as session:
                hand_back(session, [claim], now=clock.now(), interrupted=False)
