"""The queue: what is free, who is next, and giving it to them by compare-and-set."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from lms.compute.ledger import promised
from lms.compute.models import GpuDevice, GpuSlot, Lease, Reservation
from lms.compute.rules import (
    Hold,
    LeaseState,
    Need,
    Placement,
    Pool,
    Seats,
    Size,
    allowed_until,
    awaited,
    place,
)
from lms.protocol.devices import DeviceKind

#: Any number, the same everywhere: PostgreSQL lets one transaction change the queue at a time.
_QUEUE_LOCK = 0x5E0D_0002
#: Less of a quota than this is no reason to start a kernel.
LEAST_LEFT = timedelta(minutes=1)


def one_at_a_time(session: Session) -> None:
    """Wait until nobody else changes the queue; held until the transaction ends.

    The slots' rows alone would keep two leases apart; this keeps two transactions from each
    missing what the other frees. SQLite has one writer anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _QUEUE_LOCK})


def read_pool(session: Session, *, now: datetime) -> Pool:
    """Return every present device with what holds it, and the reservations still to come."""
    rows = session.execute(
        select(GpuDevice.id, GpuDevice.kind, GpuSlot.lease_id, Lease.until, Lease.reservation_id)
        .join(GpuSlot, GpuSlot.device_id == GpuDevice.id)
        .outerjoin(Lease, Lease.id == GpuSlot.lease_id)
        .where(GpuDevice.present)
        .order_by(GpuDevice.id)
    ).all()
    slots = Counter(row[0] for row in rows)
    parts = {row[0] for row in rows if row[1] == DeviceKind.MIG}
    held = Counter((row[0], *row[2:]) for row in rows if row[2] is not None)
    return Pool(
        sizes=[
            Size(device=device, slots=count, is_part=device in parts)
            for device, count in slots.items()
        ],
        holds=[
            # A lease past its end holds its slots until it is ended.
            Hold(device=device, slots=count, reservation=reservation,
                 until=max(until or now, now + timedelta(seconds=1)))
            for (device, _lease, until, reservation), count in held.items()
        ],
        seats=[_seats(one) for one in list_reservations(session, now=now)],
    )  # fmt: skip


def list_reservations(session: Session, *, now: datetime) -> Sequence[Reservation]:
    """Return the reservations that have not ended, the nearest first."""
    return session.scalars(
        select(Reservation)
        .where(Reservation.ends_at > now, Reservation.cancelled_at.is_(None))
        .order_by(Reservation.starts_at, Reservation.id)
    ).all()


def _seats(one: Reservation) -> Seats:
    return Seats(
        id=one.id,
        need=Need(one.need),
        count=one.seats,
        starts_at=one.starts_at,
        ends_at=one.ends_at,
    )


def list_waiting(session: Session) -> Sequence[Lease]:
    """Return the wishes in the queue's order."""
    return session.scalars(
        select(Lease).where(Lease.state == LeaseState.WAITING).order_by(Lease.queue_at, Lease.id)
    ).all()


def own_reservation(
    lease: Lease, reservations: Sequence[Reservation], pool: Pool, *, now: datetime
) -> int | None:
    """Return the running reservation that keeps a seat for the lease's person."""
    for one in reservations:
        mine = one.person_id == lease.person_id if one.person_id else (
            one.offering_id is not None and one.offering_id == lease.offering_id
        )  # fmt: skip
        running = one.starts_at <= now < one.ends_at
        if mine and running and one.need == lease.need and pool.held_of(one.id, now) < one.seats:
            return one.id
    return None


def advance(session: Session, *, now: datetime) -> list[str]:
    """Grant whatever can be granted now, in the queue's order; returns the leases' ids.

    To be called in the transaction of whatever frees a place or adds a wish.
    """
    one_at_a_time(session)
    waiting = list_waiting(session)
    if not waiting:
        return []
    turn = _Turn(session, now)
    # People with a seat reserved for them do not queue behind others.
    first = [one for one in waiting if turn.seat_of(one) is not None]
    later = [one for one in waiting if one not in first]
    return [lease.id for lease in (*first, *later) if turn.has_room() and turn.grant(lease)]


def could_start(
    session: Session, need: Need, *, until: datetime, instead_of: Lease, now: datetime
) -> bool:
    """Say whether a wish made now, in place of `instead_of`, would be granted at once.

    A place may be free and yet kept: for a class, or for somebody who waits for a whole device.
    """
    turn = _Turn(session, now)
    for one in list_waiting(session):
        if one.id != instead_of.id:
            turn.pass_by(one)
    return turn.find(need, until) is not None


class _Turn:
    """One pass over the queue; knows what the grants before left free."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session, self._now = session, now
        self._pool = read_pool(session, now=now)
        self._reservations = list_reservations(session, now=now)
        self._shut: frozenset[str] = frozenset()
        held = session.scalars(select(Lease.person_id).where(Lease.state == LeaseState.GRANTED))
        self._held = Counter(held)

    def has_room(self) -> bool:
        """Say whether any slot is free at all."""
        return any(left > 0 for left in self._pool.free_at(self._now).values())

    def seat_of(self, lease: Lease) -> int | None:
        """Return the reservation that keeps a seat for the lease."""
        return own_reservation(lease, self._reservations, self._pool, now=self._now)

    def grant(self, lease: Lease) -> bool:
        """Grant the lease if it can be now."""
        if self._held[lease.person_id] >= lease.at_once:
            return False
        spent = promised(self._session, lease.person_id, lease.offering_id, now=self._now)
        cap = timedelta(seconds=lease.cap_seconds)
        until = allowed_until(
            self._now, cap=cap, hours_left=lease.hours_a_week - spent, price=lease.price
        )
        if until - self._now < min(LEAST_LEFT, cap):
            return False
        seat = self.seat_of(lease)
        found = self.find(Need(lease.need), until, seat)
        if found is None:
            self._let_wait(lease)
            return False
        if not _take(self._session, lease, found, seat, now=self._now):
            return False
        self._note(lease, found, seat)
        return True

    def find(self, need: Need, until: datetime, seat: int | None = None) -> Placement | None:
        """Return a place that nobody before has a better right to."""
        return place(
            need, self._pool, now=self._now, until=until, reservation=seat, shut=self._shut
        )

    def pass_by(self, lease: Lease) -> None:
        """Let the lease wait, unless it is its own person who keeps it waiting."""
        if self._held[lease.person_id] < lease.at_once:
            self._let_wait(lease)

    def _let_wait(self, lease: Lease) -> None:
        # Small wishes behind a large one would take every slot that frees, and it would wait for
        # ever: the device that it will get first is left to empty.
        if lease.need == Need.WHOLE:
            open_sizes = [one for one in self._pool.sizes if one.device not in self._shut]
            device = awaited(replace(self._pool, sizes=open_sizes))
            self._shut |= frozenset() if device is None else {device}

    def _note(self, lease: Lease, found: Placement, seat: int | None) -> None:
        self._held[lease.person_id] += 1
        hold = Hold(device=found.device, slots=found.slots, until=found.until, reservation=seat)
        self._pool = replace(self._pool, holds=[*self._pool.holds, hold])


def _take(
    session: Session, lease: Lease, found: Placement, seat: int | None, *, now: datetime
) -> bool:
    """Stand in the slots' rows if they are still free; else change nothing."""
    free = (GpuSlot.device_id == found.device) & GpuSlot.lease_id.is_(None)
    wanted = session.scalars(
        select(GpuSlot.number).where(free).order_by(GpuSlot.number).limit(found.slots)
    ).all()
    taken = session.scalars(
        update(GpuSlot)
        .where(free, GpuSlot.number.in_(wanted))
        .values(lease_id=lease.id)
        .returning(GpuSlot.number)
        .execution_options(synchronize_session=False)
    ).all()
    granted = len(taken) == found.slots and session.scalars(
        update(Lease)
        .where(Lease.id == lease.id, Lease.state == LeaseState.WAITING)
        .values(
            state=LeaseState.GRANTED, granted_at=now, until=found.until, busy_at=now, beat_at=now,
            devices=[found.device], reservation_id=seat,
            simulated=select(GpuDevice.simulated).where(GpuDevice.id == found.device)
            .scalar_subquery(),
        )
        .returning(Lease.id)
        .execution_options(synchronize_session=False)
    ).all()  # fmt: skip
    if not granted:
        free_slots(session, lease.id)
        return False
    session.refresh(lease)
    return True


def free_slots(session: Session, lease_id: str) -> None:
    """Take the lease out of every slot it stands in."""
    session.execute(
        update(GpuSlot)
        .where(GpuSlot.lease_id == lease_id)
        .values(lease_id=None)
        .execution_options(synchronize_session=False)
    )
