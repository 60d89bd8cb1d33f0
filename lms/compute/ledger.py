"""What was used and what is left: the ledger's lines, and quotas read off them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from lms.compute.models import GpuQuota, GpuUse, Lease
from lms.compute.profiles import Terms
from lms.compute.rules import Entry, LeaseState, by_week, hours_between, hours_in_week, week_of
from lms.protocol.sentences import Sentence

#: A span without computing that is shorter is a pause for thought, not waste.
PAUSE = timedelta(minutes=1)


def allowance(session: Session, terms: Terms, person_id: int, offering_id: int | None) -> float:
    """Return the person's GPU-hours a week: their own quota, the offering's, or the file's."""
    if offering_id is None:
        return terms.hours_without_course
    found = session.execute(
        select(GpuQuota.person_id, GpuQuota.hours_a_week).where(
            GpuQuota.offering_id == offering_id,
            (GpuQuota.person_id == person_id) | GpuQuota.person_id.is_(None),
        )
    ).all()
    by_person = {row.person_id: row.hours_a_week for row in found}
    return float(by_person.get(person_id, by_person.get(None, terms.hours_a_week)))


def used(session: Session, person_id: int, offering_id: int | None, *, now: datetime) -> float:
    """Return the hours used this week, those of running leases up to now included."""
    return _booked(session, person_id, offering_id, now) + sum(
        lease.price * hours_in_week(lease.started_at, now, week_of(now))
        for lease in _running(session, person_id, offering_id)
        if lease.started_at is not None
    )


def promised(session: Session, person_id: int, offering_id: int | None, *, now: datetime) -> float:
    """Return the hours used this week if every running lease runs to its cap."""
    return _booked(session, person_id, offering_id, now) + sum(
        lease.price * hours_in_week(lease.started_at or now, lease.until or now, week_of(now))
        for lease in _running(session, person_id, offering_id)
    )


def weeks(
    session: Session, terms: Terms, person_id: int, places: Collection[int | None], *, now: datetime
) -> dict[int | None, tuple[float, float]]:
    """Return the hours used this week and those allowed, by offering; three queries for all.

    None stands for work in no course.
    """
    booked = session.execute(
        select(GpuUse.offering_id, func.sum(GpuUse.hours))
        .where(GpuUse.person_id == person_id, GpuUse.week == week_of(now))
        .group_by(GpuUse.offering_id)
    )
    used_hours = defaultdict(float, {place: float(hours or 0) for place, hours in booked})
    for lease in _running_anywhere(session, person_id):
        if lease.started_at is not None:
            hours = hours_in_week(lease.started_at, now, week_of(now))
            used_hours[lease.offering_id] += lease.price * hours
    quotas = session.execute(
        select(GpuQuota.offering_id, GpuQuota.person_id, GpuQuota.hours_a_week).where(
            GpuQuota.offering_id.in_([place for place in places if place is not None]),
            (GpuQuota.person_id == person_id) | GpuQuota.person_id.is_(None),
        )
    ).all()
    # A person's own number goes before that of everybody.
    set_to = {row[0]: row[2] for row in sorted(quotas, key=lambda row: row[1] is not None)}
    return {
        place: (
            used_hours[place],
            terms.hours_without_course
            if place is None
            else float(set_to.get(place, terms.hours_a_week)),
        )
        for place in places
    }


def _booked(session: Session, person_id: int, offering_id: int | None, now: datetime) -> float:
    hours = session.scalar(
        select(func.sum(GpuUse.hours)).where(
            GpuUse.person_id == person_id, _same(offering_id), GpuUse.week == week_of(now)
        )
    )
    return float(hours or 0.0)


def _same(offering_id: int | None) -> ColumnElement[bool]:
    column = GpuUse.offering_id
    return column.is_(None) if offering_id is None else column == offering_id


def _running(session: Session, person_id: int, offering_id: int | None) -> list[Lease]:
    mine = _running_anywhere(session, person_id)
    return [lease for lease in mine if lease.offering_id == offering_id]


def _running_anywhere(session: Session, person_id: int) -> Sequence[Lease]:
    return session.scalars(
        select(Lease).where(Lease.person_id == person_id, Lease.state == LeaseState.GRANTED)
    ).all()


def write_use(session: Session, lease: Lease, *, ended_at: datetime) -> None:
    """Write what an ended lease used, one line a week; nothing where no kernel ever ran."""
    if lease.started_at is None or lease.kernel_at is None or ended_at <= lease.started_at:
        return
    idle = lease.idle_seconds
    if lease.busy_at is not None and ended_at - lease.busy_at >= PAUSE:
        idle += (ended_at - lease.busy_at).total_seconds()
    total = (ended_at - lease.started_at).total_seconds()
    for week, begins, ends in by_week(lease.started_at, ended_at):
        hours = hours_between(begins, ends)
        session.add(
            GpuUse(
                lease_id=lease.id,
                person_id=lease.person_id,
                offering_id=lease.offering_id,
                kind=Entry.USED,
                week=week,
                starts_at=begins,
                ends_at=ends,
                hours=lease.price * hours,
                idle_hours=lease.price * hours * min(1.0, idle / total),
                simulated=lease.simulated,
                at=ended_at,
            )
        )
    session.flush()


def give_back(
    session: Session, lease_id: str, reason: Sentence, *, now: datetime, by: int | None = None
) -> float:
    """Give back what the lease used and was not given back yet; returns the hours."""
    lines = session.scalars(
        select(GpuUse).where(GpuUse.lease_id == lease_id).order_by(GpuUse.id)
    ).all()
    back = 0.0
    for line in lines:
        returned = sum(
            -other.hours
            for other in lines
            if other.kind == Entry.REFUNDED and other.starts_at == line.starts_at
        )
        if line.kind != Entry.USED or line.hours - returned <= 0:
            continue
        back += line.hours - returned
        session.add(
            GpuUse(
                lease_id=lease_id,
                person_id=line.person_id,
                offering_id=line.offering_id,
                kind=Entry.REFUNDED,
                week=line.week,
                starts_at=line.starts_at,
                ends_at=line.ends_at,
                hours=returned - line.hours,
                simulated=line.simulated,
                reason=reason.to_json(),
                at=now,
                by=by,
            )
        )
    session.flush()
    return back
