"""The history of quotas: who changed what an offering may have, from what to what, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from lms.catalogue.models import Course, Offering
from lms.compute.models import GpuQuotaChange
from lms.foundation.bilingual import Bilingual
from lms.identity.models import Person

#: Longer reasons are cut: one does not lose a change for its words.
LONGEST_WHY = 1000
#: Columns by name, None where nothing is set for the offering.
Values = Mapping[str, float] | None


class Kind(StrEnum):
    """What was changed."""

    #: GpuQuota: hours_a_week.
    HOURS = "hours"
    #: GpuPromise: seats_at_once, seat_hours_a_week.
    SEATS = "seats"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Why a change is made, and which one it takes back."""

    why: str = ""
    undoes: int | None = None


#: A change of which nobody said why.
UNSAID = Mark()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of the history, with the names in it."""

    row: GpuQuotaChange
    offering_key: str
    title: Bilingual
    #: Username of the one person whose hours they are; empty for everybody's.
    person: str
    #: Username; empty for the command line.
    by: str
    #: Nothing was changed after it, so that it can be taken back.
    is_last: bool
    was_undone: bool


def note(
    session: Session,
    place: tuple[int, int | None],
    kind: Kind,
    values: tuple[Values, Values],
    *,
    mark: Mark,
    by: int,
    at: datetime,
) -> None:
    """Add a line for (offering, person) and values before and after, unless they are the same."""
    before, after = values
    if before == after and mark.undoes is None:
        return
    session.add(
        GpuQuotaChange(
            offering_id=place[0],
            person_id=place[1],
            kind=kind,
            before=None if before is None else dict(before),
            after=None if after is None else dict(after),
            why=mark.why.strip()[:LONGEST_WHY],
            undoes=mark.undoes,
            at=at,
            by=by or None,
        )
    )
    session.flush()


def list_changes(session: Session, *, limit: int) -> list[Change]:
    """Return the last changes, the newest first."""
    whose, setter, undoing = aliased(Person), aliased(Person), aliased(GpuQuotaChange)
    last = select(func.max(GpuQuotaChange.id)).group_by(
        GpuQuotaChange.offering_id, GpuQuotaChange.person_id, GpuQuotaChange.kind
    )
    newest = set(session.scalars(last))
    rows = session.execute(
        select(GpuQuotaChange, Offering.key, Course, whose.username, setter.username, undoing.id)
        .join(Offering, Offering.id == GpuQuotaChange.offering_id)
        .join(Offering.course)
        .outerjoin(whose, whose.id == GpuQuotaChange.person_id)
        .outerjoin(setter, setter.id == GpuQuotaChange.by)
        .outerjoin(undoing, undoing.undoes == GpuQuotaChange.id)
        .order_by(GpuQuotaChange.id.desc())
        .limit(limit)
    )
    return [
        Change(
            row=row,
            offering_key=key,
            title=course.title,
            person=person or "",
            by=by or "",
            is_last=row.id in newest,
            was_undone=undone is not None,
        )
        for row, key, course, person, by, undone in rows
    ]


def is_last(session: Session, change: GpuQuotaChange) -> bool:
    """Say whether nothing was changed at the same place after it."""
    return not session.scalar(
        select(func.count()).where(
            GpuQuotaChange.id > change.id,
            GpuQuotaChange.offering_id == change.offering_id,
            GpuQuotaChange.person_id.is_not_distinct_from(change.person_id),
            GpuQuotaChange.kind == change.kind,
        )
    )
