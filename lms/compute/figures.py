"""Read-only figures of compute: who holds what, who waits, use over time, idle hours."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, func, select, true
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute.ledger import PAUSE
from lms.compute.models import GpuDevice, GpuSlot, GpuUse, Lease
from lms.compute.rules import ZONE, Entry, LeaseState, Need, in_use
from lms.identity.models import Person

#: None means every offering, and work in none.
Scope = Collection[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLease:
    """A lease that waits or runs, and whose it is."""

    lease: Lease
    person: Person
    offering: Offering | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUse:
    """A present device and how many of its slots are held."""

    device: GpuDevice
    held: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """GPU-hours of a span of time."""

    used: float
    refunded: float
    #: Of the used ones, those in which nothing was computed.
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Devices in use and wishes waiting, as means over steps of time."""

    start: datetime
    step: timedelta
    #: Devices that were held, and those of them whose kernels computed nothing.
    used: Sequence[float]
    idle: Sequence[float]
    waiting: Sequence[float]


def _within(column: "ColumnElement[int | None]", scope: Scope) -> ColumnElement[bool]:
    return true() if scope is None else column.in_(list(scope))


def list_open(session: Session, scope: Scope = None) -> list[OpenLease]:
    """Return the open leases, granted ones first, waiting ones in the queue's order."""
    rows = session.execute(
        select(Lease, Person, Offering)
        .join(Person, Person.id == Lease.person_id)
        .outerjoin(Offering, Offering.id == Lease.offering_id)
        .where(Lease.state != LeaseState.ENDED, _within(Lease.offering_id.expression, scope))
        .order_by(Lease.state, Lease.queue_at, Lease.id)
    )
    return [OpenLease(lease=row[0], person=row[1], offering=row[2]) for row in rows]


def list_devices(session: Session) -> list[DeviceUse]:
    """Return the present devices with what is held of them."""
    rows = session.execute(
        select(GpuDevice, func.count(GpuSlot.lease_id), func.count())
        .join(GpuSlot, GpuSlot.device_id == GpuDevice.id)
        .where(GpuDevice.present)
        .group_by(GpuDevice.id)
        .order_by(GpuDevice.id)
    )
    return [DeviceUse(device=row[0], held=row[1], slots=row[2]) for row in rows]


def hours(session: Session, scope: Scope, *, since: datetime) -> Hours:
    """Return the hours in the ledger of what ended after `since`."""
    rows = session.execute(
        select(GpuUse.kind, func.sum(GpuUse.hours), func.sum(GpuUse.idle_hours))
        .where(GpuUse.ends_at > since, _within(GpuUse.offering_id.expression, scope))
        .group_by(GpuUse.kind)
    )
    found = {row[0]: (float(row[1] or 0), float(row[2] or 0)) for row in rows}
    used, refunded = found.get(Entry.USED, (0.0, 0.0)), found.get(Entry.REFUNDED, (0.0, 0.0))
    return Hours(used=used[0], refunded=abs(refunded[0]), idle=used[1])


def use_over_time(
    session: Session, scope: Scope, *, start: datetime, step: timedelta, count: int, now: datetime
) -> Series:
    """Return how many devices were in use and how many wishes waited, step by step up to now."""
    slices = {one.id: one.slices for one in session.scalars(select(GpuDevice))}
    leases = session.scalars(
        select(Lease).where(
            (Lease.ended_at > start) | (Lease.state != LeaseState.ENDED),
            _within(Lease.offering_id.expression, scope),
        )
    ).all()
    held = [
        (one.granted_at, one.ended_at or now, _weight(one, slices))
        for one in leases
        if one.granted_at is not None
    ]
    waited = [(one.requested_at, one.granted_at or one.ended_at or now, 1.0) for one in leases]
    return Series(
        start=start,
        step=step,
        used=in_use(held, start, step, count),
        idle=in_use(_idle_spans(leases, slices, now), start, step, count),
        waiting=in_use(waited, start, step, count),
    )


def _idle_spans(
    leases: Iterable[Lease], slices: dict[str, int], now: datetime
) -> Iterable[tuple[datetime, datetime, float]]:
    """Return when devices were held for nothing: since the last sign of work, and before it.

    Of the pauses before it only their sum is known; they are spread over that time.
    """
    for lease in leases:
        if lease.started_at is None or lease.busy_at is None:
            continue
        weight, end = _weight(lease, slices), lease.ended_at or now
        if end - lease.busy_at >= PAUSE:
            yield lease.busy_at, end, weight
        worked = (lease.busy_at - lease.started_at).total_seconds()
        if worked > 0 and lease.idle_seconds:
            share = min(1.0, lease.idle_seconds / worked)
            yield lease.started_at, lease.busy_at, weight * share


def idle_by_offering(session: Session, *, since: datetime) -> list[tuple[int | None, Hours]]:
    """Return used and idle hours by offering of what ended after `since`, the most idle first."""
    rows = session.execute(
        select(GpuUse.offering_id, func.sum(GpuUse.hours), func.sum(GpuUse.idle_hours))
        .where(GpuUse.ends_at > since, GpuUse.kind == Entry.USED)
        .group_by(GpuUse.offering_id)
    )
    found = [
        (row[0], Hours(used=float(row[1] or 0), refunded=0.0, idle=float(row[2] or 0)))
        for row in rows
    ]
    return sorted(found, key=lambda one: -one[1].idle)


def _weight(lease: Lease, slices: dict[str, int]) -> float:
    if lease.need == Need.WHOLE:
        return 1.0
    return sum(1.0 / slices.get(device, 1) for device in lease.devices)


def hours_by_day(session: Session, person_id: int, *, first: date) -> dict[date, float]:
    """Return the GPU-hours that stand in a person's ledger, by the day they began."""
    lines = session.scalars(
        select(GpuUse).where(
            GpuUse.person_id == person_id,
            GpuUse.starts_at >= datetime(first.year, first.month, first.day, tzinfo=ZONE),
        )
    )
    days: dict[date, float] = defaultdict(float)
    for line in lines:
        days[line.starts_at.astimezone(ZONE).date()] += line.hours
    return {day: max(0.0, value) for day, value in days.items()}


def list_ended(session: Session, person_id: int, *, limit: int) -> Sequence[Lease]:
    """Return the person's last leases that are over, the newest first."""
    return session.scalars(
        select(Lease)
        .where(
            Lease.person_id == person_id,
            Lease.state == LeaseState.ENDED,
            Lease.granted_at.is_not(None),
        )
        .order_by(Lease.ended_at.desc())
        .limit(limit)
    ).all()


def hours_of(session: Session, lease_ids: Collection[str]) -> dict[str, tuple[float, float]]:
    """Return used and given back hours of leases."""
    rows = session.execute(
        select(GpuUse.lease_id, GpuUse.kind, func.sum(GpuUse.hours))
        .where(GpuUse.lease_id.in_(list(lease_ids)))
        .group_by(GpuUse.lease_id, GpuUse.kind)
    )
    found: dict[str, tuple[float, float]] = {}
    for lease_id, kind, amount in rows:
        used, back = found.get(lease_id, (0.0, 0.0))
        found[lease_id] = (float(amount), back) if kind == Entry.USED else (used, abs(amount))
    return found
