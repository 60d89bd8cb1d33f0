"""What is kept apart since a centre was revoked: looked at, then let in or refused for good.

What is let in is marked as a revoked centre's, and central grades all of its results again.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.orm import Session

from lms.centre.models import Centre, CentrePerson, CentreRecord
from lms.centre.rules import RecordState, from_millis
from lms.foundation.errors import InvalidError, NotFoundError
from lms.grading.audit import Act, append
from lms.protocol.sentences import sentence

#: A record's place: epoch and number.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A record that is kept apart."""

    place: Place
    kind: str
    #: The name as the centre has it; None for somebody erased.
    person: str | None
    #: When the centre's clock says that it happened; None for a time that cannot be.
    claimed_at: datetime | None
    received_at: datetime
    #: What it tells, as the centre wrote it.
    details: str | None


def list_apart(session: Session, centre: Centre) -> list[Apart]:
    """Return what is kept apart of a centre, in the journal's order."""
    rows = session.execute(
        select(CentreRecord, CentrePerson.display_name)
        .outerjoin(
            CentrePerson,
            (CentrePerson.centre == CentreRecord.centre)
            & (CentrePerson.name == CentreRecord.person),
        )
        .where(_apart(centre))
        .order_by(CentreRecord.epoch, CentreRecord.seq)
    )
    return [
        Apart(
            place=(row.epoch, row.seq),
            kind=row.kind,
            person=name,
            claimed_at=_claimed(row),
            received_at=row.received_at,
            details=row.details,
        )
        for row, name in rows
    ]


def release(
    session: Session, centre: Centre, reason: str, places: Collection[Place], *, now: datetime
) -> int:
    """Let records in (all without `places`); they become what they say when next applied.

    Raises InvalidError without a reason, NotFoundError for what is not kept apart.
    """
    rows = _take(session, centre, reason, places)
    why = sentence("It was let in after the centre was revoked: %(why)s", why=reason.strip())
    for row in rows:
        row.state, row.reason = RecordState.NEW, why.to_json()
    _note(session, Act.APART_RELEASED, centre, rows, now)
    return len(rows)


def refuse(
    session: Session, centre: Centre, reason: str, places: Collection[Place], *, now: datetime
) -> int:
    """Refuse records for good (all without `places`); they are kept, with the reason."""
    rows = _take(session, centre, reason, places)
    why = sentence("A person at central has refused it: %(why)s", why=reason.strip())
    for row in rows:
        row.state, row.reason = RecordState.DECLINED, why.to_json()
    _note(session, Act.APART_REFUSED, centre, rows, now)
    return len(rows)


def _apart(centre: Centre) -> ColumnElement[bool]:
    return (CentreRecord.centre == centre.id) & (CentreRecord.state == RecordState.QUARANTINED)


def _take(
    session: Session, centre: Centre, reason: str, places: Collection[Place]
) -> list[CentreRecord]:
    if not reason.strip():
        raise InvalidError(sentence("Give a reason; it is kept with the records."))
    wanted = select(CentreRecord).where(_apart(centre))
    if places:
        wanted = wanted.where(tuple_(CentreRecord.epoch, CentreRecord.seq).in_(list(places)))
    rows = list(session.scalars(wanted.order_by(CentreRecord.epoch, CentreRecord.seq)))
    missing = set(places) - {(row.epoch, row.seq) for row in rows}
    if missing or not rows:
        named = ", ".join(f"{epoch}.{seq}" for epoch, seq in sorted(missing))
        raise NotFoundError(
            sentence(
                "These records of “%(name)s” are not kept apart: %(records)s. Nothing was changed.",
                name=centre.name,
                records=named or "–",
            )
        )
    return rows


def _note(
    session: Session, act: Act, centre: Centre, rows: list[CentreRecord], now: datetime
) -> None:
    session.flush()
    # The records' names name nobody; the reason, which may, stands with the records.
    body = {"centre": centre.id, "records": [row.record for row in rows]}
    append(session, act, body, now=now)


def _claimed(row: CentreRecord) -> datetime | None:
    try:
        return from_millis(json.loads(row.body)["at"])
    except (ValueError, OverflowError, OSError):
        return None
