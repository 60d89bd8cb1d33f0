"""The lease keeper: the one that talks to the broker about leases, and sees that rows are true.

It passes on grants and ends, takes over what the broker says of kernels, and ends what is due. It
does so again and again: whatever one round could not do, a later one does.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from lms.compute import reconcile, seats, service
from lms.compute.ports import GpuBroker
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.outposts.broker.client import BrokerRefusedError, BrokerUnavailableError

LOG = logging.getLogger("lms.leases")

#: How long between two rounds, in seconds: usually, on a machine without any GPU, after a failure.
ROUND_SECONDS, QUIET_SECONDS, TROUBLE_SECONDS = 0.4, 5.0, 2.0
#: How many leases are being ended at a time, and how long a round waits for that.
ENDS_AT_ONCE, END_SECONDS = 16, 1.0
#: How often the broker is asked what runs: with leases at hand, and without.
LOOK, IDLE_LOOK = timedelta(seconds=2), timedelta(seconds=15)
#: How often the devices are counted anew.
STOCK = timedelta(seconds=60)
#: How much later than the rows the broker ends a lease by itself: only when nobody told it to.
BACKSTOP = timedelta(minutes=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class LeaseKeeper:
    """Keeps the leases of one database and one broker."""

    sessions: sessionmaker[Session]
    broker: GpuBroker
    now: Callable[[], datetime] = clock.now
    stop: threading.Event = field(default_factory=threading.Event)
    _stocked_at: datetime = _LONG_AGO
    _looked_at: datetime = _LONG_AGO
    _turned_at: datetime = _LONG_AGO
    _trouble: str = ""
    #: The leases that are being ended now, and why others have to wait.
    _ends: dict[str, threading.Thread] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)
    #: Whether anything can be granted at all.
    _has_devices: bool = True

    def run(self) -> None:
        """Keep leases until `stop` is set."""
        while not self.stop.is_set():
            try:
                self.step()
            except (BrokerUnavailableError, BrokerRefusedError, SQLAlchemyError) as error:
                self._tell(str(error).splitlines()[0])
                self.stop.wait(TROUBLE_SECONDS)
            except Exception:
                # A process edge: one broken round must not leave GPUs unkept for good.
                LOG.exception("a round of the lease keeper failed")
                self.stop.wait(TROUBLE_SECONDS)
            else:
                self._trouble = ""
                self.stop.wait(ROUND_SECONDS if self._has_devices else QUIET_SECONDS)

    def step(self) -> None:
        """Do one round."""
        with self.sessions() as session:
            has_work = reconcile.has_work(session)
        try:
            self._take_stock()
            # Before anything is ended: after a while without a keeper, what runs is heard first.
            self._look(LOOK if has_work else IDLE_LOOK)
        finally:
            if has_work:
                # Caps hold while the broker is away, too.
                self._end_due()
                self._turn_seats()
        if has_work:
            self._pass_on_ends()
            self._pass_on_grants()

    def _tell(self, trouble: str) -> None:
        # Once, not twice a second.
        if trouble != self._trouble:
            LOG.warning("leases wait: %s", trouble)
        self._trouble = trouble

    def _end_due(self) -> None:
        now = self.now()
        with self.sessions() as session:
            due = service.list_due(session, now=now)
        for lease_id, cause in due:
            with transaction(self.sessions) as session:
                if service.end(session, lease_id, cause, now=now):
                    LOG.info("lease %s ended: %s", lease_id, cause)

    def _turn_seats(self) -> None:
        # A class that begins, ends or does not come frees places without anybody's asking.
        now = self.now()
        with self.sessions() as session:
            is_turning = seats.is_turning(session, since=self._turned_at, now=now)
        if is_turning:
            with transaction(self.sessions) as session:
                for fallen in seats.turn(session, now=now):
                    LOG.info("reservation %s: seats that nobody took are free", fallen)
        self._turned_at = now

    def _take_stock(self) -> None:
        now = self.now()
        if now - self._stocked_at < STOCK:
            return
        inventory = self.broker.inventory()
        with self.sessions() as session:
            known = reconcile.is_known(session, inventory)
        if not known:
            LOG.info("devices: %s", [one.id for one in inventory.devices] or inventory.reason)
            with transaction(self.sessions) as session:
                reconcile.take_stock(session, inventory, now=now)
        else:
            with transaction(self.sessions) as session:
                reconcile.note_answer(session, now=now)
        self._stocked_at = now
        self._has_devices = bool(inventory.devices)

    def _pass_on_ends(self) -> None:
        # Before the grants: what one frees, the next is granted.
        with self.sessions() as session:
            ended = reconcile.list_revocations(session)
        self._begin_ends([(lease_id, cause.value) for lease_id, cause in ended])

    def _begin_ends(self, ended: list[tuple[str, str]]) -> None:
        self._ends = {name: thread for name, thread in self._ends.items() if thread.is_alive()}
        begun = []
        for words in ended:
            if words[0] not in self._ends and len(self._ends) < ENDS_AT_ONCE:
                begun.append(threading.Thread(target=self._end, args=words, daemon=True))
                self._ends[words[0]] = begun[-1]
                begun[-1].start()
        # Most ends take a moment; those that hang are not waited for again.
        until = time.monotonic() + END_SECONDS
        for thread in begun:
            thread.join(max(0.0, until - time.monotonic()))

    def _end(self, lease_id: str, cause: str) -> None:
        # In a thread of its own: what hangs in a driver keeps nobody else waiting.
        try:
            self.broker.revoke(lease_id, cause)
            with transaction(self.sessions) as session:
                reconcile.note_revoked(session, lease_id, now=self.now())
        except (BrokerUnavailableError, BrokerRefusedError, SQLAlchemyError) as error:
            # Tried again in the next round.
            self._refuse(lease_id, error)
        else:
            self._refused.pop(lease_id, None)

    def _refuse(self, lease_id: str, error: Exception) -> None:
        # Once, not twice a second.
        why = str(error).splitlines()[0]
        if self._refused.get(lease_id) != why:
            LOG.warning("lease %s waits: %s", lease_id, why)
        self._refused[lease_id] = why

    def _pass_on_grants(self) -> None:
        with self.sessions() as session:
            grants = reconcile.list_grants(session)
        for grant in grants:
            try:
                self.broker.grant(
                    grant.lease,
                    uid=grant.uid,
                    devices=grant.devices,
                    until=(grant.until + BACKSTOP).timestamp(),
                )
            except BrokerRefusedError as error:
                # Tried again until it is due; the others must not wait for it.
                self._refuse(grant.lease, error)
                continue
            self._refused.pop(grant.lease, None)
            with transaction(self.sessions) as session:
                reconcile.start(session, grant.lease, now=self.now())

    def _look(self, every: timedelta) -> None:
        now = self.now()
        if now - self._looked_at < every:
            return
        running = self.broker.leases()
        self._looked_at = now
        with self.sessions() as session:
            if not reconcile.has_news(session, running, now=now):
                return
        with transaction(self.sessions) as session:
            found = reconcile.compare(session, running, now=now)
        for orphan in found.orphans:
            LOG.warning("the lease %s is unknown here; its kernels are ended", orphan)
        self._begin_ends([(orphan, "orphan") for orphan in found.orphans])
        for lease_id in found.ended:
            LOG.warning("lease %s has no kernel any more", lease_id)


def keep_leases(keeper: LeaseKeeper) -> threading.Thread:
    """Start the keeper beside what else the process does; it ends with it."""
    thread = threading.Thread(target=keeper.run, name="leases", daemon=True)
    thread.start()
    return thread
