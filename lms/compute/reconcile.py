"""What the rows say against what the broker says: devices, grants to pass on, orphans, lost ones.

The worker's lease keeper calls these; asking the broker is its part, rows are this module's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from lms.compute.models import GpuDevice, GpuInventory, GpuSlot, Lease
from lms.compute.queue import advance, one_at_a_time
from lms.compute.rules import Cause, LeaseState
from lms.compute.service import end, note_busy
from lms.identity.models import Person
from lms.protocol.devices import LOST, Device, Inventory, RunningLease

#: How long a kernel may be away (a restart) before its lease ends.
AWAY = timedelta(seconds=20)
#: How long the broker may not name a lease that it was told of.
FORGOTTEN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant that the broker has to hear of."""

    lease: str
    uid: int
    devices: tuple[str, ...]
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What comparing brought to light."""

    #: Leases that the broker has and the rows have not, or no longer: to be revoked.
    orphans: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def list_grants(session: Session) -> list[Grant]:
    """Return the granted leases that the broker has not heard of."""
    rows = session.execute(
        select(Lease, Person.os_uid)
        .join(Person, Person.id == Lease.person_id)
        .where(Lease.state == LeaseState.GRANTED, Lease.started_at.is_(None))
        .order_by(Lease.granted_at, Lease.id)
    )
    return [
        Grant(lease=lease.id, uid=uid, devices=tuple(lease.devices), until=lease.until)
        for lease, uid in rows
        if lease.until is not None
    ]


def list_revocations(session: Session) -> list[tuple[str, Cause]]:
    """Return the ended leases that the broker may still run."""
    rows = session.execute(select(Lease.id, Lease.cause, Lease.state).where(*_unrevoked()))
    # The state is looked at here: asked for it, SQLite would go through all that ever ended.
    return [
        (lease_id, Cause(cause or Cause.PERSON))
        for lease_id, cause, state in rows
        if state == LeaseState.ENDED
    ]


def _unrevoked() -> tuple[ColumnElement[bool], ...]:
    # As the index `ix_lease_unrevoked` has it.
    return (Lease.granted_at.is_not(None), Lease.revoked_at.is_(None))


def start(session: Session, lease_id: str, *, now: datetime) -> bool:
    """Note that the broker knows of the grant: its hours count from now."""
    started = session.scalars(
        update(Lease)
        .where(
            Lease.id == lease_id, Lease.state == LeaseState.GRANTED, Lease.started_at.is_(None)
        )
        .values(started_at=now, busy_at=now)
        .returning(Lease.id)
        .execution_options(synchronize_session=False)
    ).all()  # fmt: skip
    return bool(started)


def note_revoked(session: Session, lease_id: str, *, now: datetime) -> None:
    """Note that the broker runs nothing under the lease any more."""
    session.execute(update(Lease).where(Lease.id == lease_id).values(revoked_at=now))


def is_known(session: Session, inventory: Inventory) -> bool:
    """Say whether the rows tell the same of the machine as `inventory`; it only reads."""
    reason = None if inventory.reason is None else inventory.reason.to_json()
    said = session.scalar(select(GpuInventory))
    rows = {row.id: row for row in session.scalars(select(GpuDevice).where(GpuDevice.present))}
    same = set(rows) == {device.id for device in inventory.devices} and all(
        getattr(rows[device.id], name) == value
        for device in inventory.devices
        for name, value in _facts(device).items()
    )
    return said is not None and said.reason == reason and same


def note_answer(session: Session, *, now: datetime) -> None:
    """Note that the broker has answered, and said nothing new."""
    session.execute(update(GpuInventory).values(at=now))


def _facts(device: Device) -> dict[str, object]:
    """Return what a row keeps of a device."""
    return {
        "kind": device.kind.value,
        "name": device.name[:100],
        "memory_bytes": device.memory_bytes,
        "slices": device.slices,
        "simulated": device.simulated,
    }


def take_stock(session: Session, inventory: Inventory, *, now: datetime) -> None:
    """Make the devices what the broker says; leases on one that has gone end and cost nothing."""
    one_at_a_time(session)
    reason = None if inventory.reason is None else inventory.reason.to_json()
    session.merge(GpuInventory(id=1, at=now, reason=reason))
    for device in inventory.devices:
        session.merge(GpuDevice(id=device.id, present=True, **_facts(device)))
    session.flush()
    for device in inventory.devices:
        _fit_slots(session, device)
    _drop_gone(session, {device.id for device in inventory.devices}, now)
    advance(session, now=now)


def _fit_slots(session: Session, device: Device) -> None:
    here = set(session.scalars(select(GpuSlot.number).where(GpuSlot.device_id == device.id)))
    for number in set(range(device.slices)) - here:
        session.add(GpuSlot(device_id=device.id, number=number))
    # One that is held goes when its lease has ended: the next look takes it.
    session.execute(
        delete(GpuSlot).where(
            GpuSlot.device_id == device.id,
            GpuSlot.number >= device.slices,
            GpuSlot.lease_id.is_(None),
        )
    )
    session.flush()


def _drop_gone(session: Session, present: set[str], now: datetime) -> None:
    gone = session.scalars(
        select(GpuDevice).where(GpuDevice.present, GpuDevice.id.not_in(present))
    ).all()
    for device in gone:
        device.present = False
    session.flush()
    ids = [device.id for device in gone]
    held = session.scalars(
        select(GpuSlot.lease_id).where(GpuSlot.device_id.in_(ids), GpuSlot.lease_id.is_not(None))
    )
    for lease_id in set(held):
        end(session, str(lease_id), Cause.DEVICE, now=now)
    session.execute(delete(GpuSlot).where(GpuSlot.device_id.in_(ids)))


def has_work(session: Session) -> bool:
    """Say whether a lease waits or runs, or has ended without the broker's knowing it.

    One short question, so that asking it often costs a machine without leases next to nothing.
    """
    waiting = select(Lease.id).where(Lease.state == LeaseState.WAITING)
    unrevoked = select(Lease.id).where(*_unrevoked())
    return bool(session.scalar(select(or_(waiting.exists(), unrevoked.exists()))))


def has_news(session: Session, running: Sequence[RunningLease], *, now: datetime) -> bool:
    """Say whether comparing would change anything worth a write; it only reads."""
    known = _started(session)
    told = {one.lease: one for one in running}
    if any(lease_id not in known for lease_id in told):
        return True
    return any(
        _verdict(lease, told.get(lease.id), now) is not None
        or _is_stale(lease, told.get(lease.id), now)
        for lease in known.values()
    )


def compare(session: Session, running: Sequence[RunningLease], *, now: datetime) -> Found:
    """Take over what the broker says of kernels; end what no longer runs, name what must not."""
    one_at_a_time(session)
    known = _started(session)
    told = {one.lease: one for one in running}
    ended = []
    for lease in known.values():
        said = told.get(lease.id)
        if said is not None and said.kernels:
            _note_kernels(lease, said, now)
    session.flush()
    for lease in known.values():
        cause = _verdict(lease, told.get(lease.id), now)
        if cause is not None and end(session, lease.id, cause, now=now):
            ended.append(lease.id)
    return Found(orphans=tuple(_orphans(session, set(told) - set(known))), ended=tuple(ended))


def _started(session: Session) -> dict[str, Lease]:
    rows = session.scalars(
        select(Lease).where(Lease.state == LeaseState.GRANTED, Lease.started_at.is_not(None))
    )
    return {lease.id: lease for lease in rows}


def _is_stale(lease: Lease, said: RunningLease | None, now: datetime) -> bool:
    return bool(said and said.kernels) and (
        lease.kernel_at is None or now - lease.kernel_at >= AWAY / 4
    )


def _note_kernels(lease: Lease, said: RunningLease, now: datetime) -> None:
    lease.kernel_at = now
    idle = [one.idle_seconds for one in said.kernels if one.idle_seconds is not None]
    if idle:
        note_busy(lease, now - timedelta(seconds=min(idle)))


def _verdict(lease: Lease, said: RunningLease | None, now: datetime) -> Cause | None:
    """Return why the lease must end by what the broker says of it, None when it goes on."""
    if lease.until is not None and lease.until <= now:
        # Its time is up, and the broker may have ended it by itself: nothing was lost.
        return None
    if said is None:
        heard = lease.started_at is not None and now - lease.started_at < FORGOTTEN
        return None if heard else Cause.BROKER
    if said.kernels or lease.kernel_at is None:
        return None
    if said.ended == LOST:
        return Cause.LOST
    return Cause.KERNEL if now - lease.kernel_at > AWAY else None


def _orphans(session: Session, unknown: set[str]) -> list[str]:
    # One that has just been granted is told of and not yet written down as told.
    fresh = session.scalars(
        select(Lease.id).where(Lease.id.in_(unknown), Lease.state == LeaseState.GRANTED)
    )
    return sorted(unknown - set(fresh))
