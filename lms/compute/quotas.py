"""GPU-hours a week: setting them, taking it back, and seeing every offering's with who is over."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Course, Offering
from lms.compute import changes, seats
from lms.compute.changes import UNSAID, Kind, Mark
from lms.compute.errors import ChangeNotLastError, NoSuchChangeError
from lms.compute.models import GpuPromise, GpuQuota, GpuQuotaChange, GpuUse
from lms.compute.profiles import Terms
from lms.compute.queue import read_pool
from lms.compute.rules import ZONE, week_of
from lms.compute.seats import Promise, promise_of
from lms.foundation.bilingual import Bilingual
from lms.identity.models import Person
from lms.identity.scopes import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingQuota:
    """What an offering's people and classes may have, and what they used this week."""

    id: int
    key: str
    title: Bilingual
    hours_a_week: float
    promise: Promise
    used: float
    #: Usernames of those whose hours of this week are used up.
    over: tuple[str, ...]
    #: When the hours were last changed and by whom; None for the file's.
    set_at: datetime | None
    set_by: str


def set_quota(
    session: Session,
    offering_id: int,
    hours: float | None,
    *,
    person_id: int | None = None,
    actor: Actor,
    now: datetime,
    mark: Mark = UNSAID,
) -> None:
    """Set the hours, None for the file's; leases that wait or run keep those asked with."""
    actor.require("compute:manage", offering_id)
    whose = GpuQuota.person_id.is_(None) if person_id is None else GpuQuota.person_id == person_id
    found = session.scalar(select(GpuQuota).where(GpuQuota.offering_id == offering_id, whose))
    before = None if found is None else {"hours_a_week": float(found.hours_a_week)}
    if hours is None:
        if found is not None:
            session.delete(found)
    else:
        if found is None:
            found = GpuQuota(offering_id=offering_id, person_id=person_id)
            session.add(found)
        found.hours_a_week, found.set_at, found.set_by = hours, now, actor.person_id or None
    session.flush()
    after = None if hours is None else {"hours_a_week": float(hours)}
    changes.note(
        session, (offering_id, person_id), Kind.HOURS, (before, after),
        mark=mark, by=actor.person_id, at=now,
    )  # fmt: skip


def undo(session: Session, change_id: int, *, actor: Actor, now: datetime) -> None:
    """Take a change back; raises ChangeNotLastError where another was made since.

    To undo an undoing brings the change back.
    """
    change = session.get(GpuQuotaChange, change_id)
    if change is None:
        raise NoSuchChangeError
    if not changes.is_last(session, change):
        raise ChangeNotLastError
    mark, values = Mark(undoes=change.id), change.before
    if change.kind == Kind.HOURS:
        hours = None if values is None else values["hours_a_week"]
        set_quota(
            session, change.offering_id, hours,
            person_id=change.person_id, actor=actor, now=now, mark=mark,
        )  # fmt: skip
        return
    promise = None if values is None else Promise(
        seats_at_once=int(values["seats_at_once"]), seat_hours_a_week=values["seat_hours_a_week"]
    )  # fmt: skip
    seats.set_promise(session, change.offering_id, promise, actor=actor, now=now, mark=mark)


def hours_of(session: Session, offering_id: int, terms: Terms) -> float:
    """Return the hours a week of everybody in the offering who has none of their own."""
    found = session.scalar(
        select(GpuQuota).where(GpuQuota.offering_id == offering_id, GpuQuota.person_id.is_(None))
    )
    return terms.hours_a_week if found is None else found.hours_a_week


def list_quotas(session: Session, terms: Terms, *, now: datetime) -> list[OfferingQuota]:
    """Return every offering that has not ended, the newest first."""
    rows = session.execute(
        select(Offering.id, Offering.key, Course)
        .join(Offering.course)
        .where(Offering.ends_on >= now.astimezone(ZONE).date())
        .order_by(Offering.starts_on.desc(), Offering.id)
    ).all()
    quotas = {(one.offering_id, one.person_id): one for one in session.scalars(select(GpuQuota))}
    setters = _usernames(session, {one.set_by for one in quotas.values()})
    used = _used(session, now)
    sizes = read_pool(session, now=now).sizes
    # Into the session's memory, so that each offering's own is found there.
    known = {one.offering_id: one for one in session.scalars(select(GpuPromise))}
    usual = promise_of(session, 0, sizes)
    return [
        OfferingQuota(
            id=offering_id,
            key=key,
            title=course.title,
            hours_a_week=quotas[offering_id, None].hours_a_week
            if (offering_id, None) in quotas
            else terms.hours_a_week,
            promise=promise_of(session, offering_id, sizes) if offering_id in known else usual,
            used=sum(used[offering_id].values()),
            over=_over(used[offering_id], quotas, offering_id, terms),
            set_at=quotas[offering_id, None].set_at if (offering_id, None) in quotas else None,
            set_by=setters.get(quotas[offering_id, None].set_by or 0, "")
            if (offering_id, None) in quotas
            else "",
        )
        for offering_id, key, course in rows
    ]


def _used(session: Session, now: datetime) -> dict[int, dict[tuple[int, str], float]]:
    rows = session.execute(
        select(GpuUse.offering_id, Person.id, Person.username, func.sum(GpuUse.hours))
        .join(Person, Person.id == GpuUse.person_id)
        .where(GpuUse.week == week_of(now), GpuUse.offering_id.is_not(None))
        .group_by(GpuUse.offering_id, Person.id, Person.username)
    )
    found: dict[int, dict[tuple[int, str], float]] = defaultdict(dict)
    for offering_id, person_id, username, hours in rows:
        found[offering_id or 0][person_id, username] = max(0.0, float(hours or 0))
    return found


def _over(
    used: dict[tuple[int, str], float],
    quotas: dict[tuple[int, int | None], GpuQuota],
    offering_id: int,
    terms: Terms,
) -> tuple[str, ...]:
    over = []
    for (person_id, username), hours in used.items():
        own = quotas.get((offering_id, person_id)) or quotas.get((offering_id, None))
        if hours >= (terms.hours_a_week if own is None else own.hours_a_week):
            over.append(username)
    return tuple(sorted(over))


def _usernames(session: Session, ids: set[int | None]) -> dict[int, str]:
    rows = session.execute(select(Person.id, Person.username).where(Person.id.in_(ids - {None})))
    return {row.id: row.username for row in rows}
