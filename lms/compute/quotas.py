"""GPU-hours a week: setting them, and seeing every offering's at once with who is over."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Course, Offering
from lms.compute.models import GpuPromise, GpuQuota, GpuUse
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
    hours: float,
    *,
    person_id: int | None = None,
    actor: Actor,
    now: datetime,
) -> GpuQuota:
    """Set the hours; leases that wait or run keep those they were asked with."""
    actor.require("compute:manage", offering_id)
    whose = GpuQuota.person_id.is_(None) if person_id is None else GpuQuota.person_id == person_id
    found = session.scalar(select(GpuQuota).where(GpuQuota.offering_id == offering_id, whose))
    if found is None:
        found = GpuQuota(offering_id=offering_id, person_id=person_id)
        session.add(found)
    found.hours_a_week, found.set_at, found.set_by = hours, now, actor.person_id or None
    session.flush()
    return found


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
