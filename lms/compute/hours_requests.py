"""More GPU-hours for an offering: an instructor asks, an operator answers and says why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, aliased

from lms.catalogue.models import Course, Offering
from lms.compute import quotas
from lms.compute.changes import LONGEST_WHY, Mark
from lms.compute.errors import RequestAnsweredError, RequestNotFoundError, RequestOpenError
from lms.compute.models import GpuHoursRequest
from lms.foundation.bilingual import Bilingual
from lms.foundation.errors import InvalidError
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.sentences import sentence

#: A week has no more.
MOST_HOURS = 168.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request with the names in it."""

    row: GpuHoursRequest
    offering_key: str
    title: Bilingual
    asked_by: str
    #: Empty while nobody has answered.
    answered_by: str

    @property
    def was_withdrawn(self) -> bool:
        """Say whether whoever asked took it back."""
        # Who declines must say why, and who grants gives hours.
        row = self.row
        return row.answered_at is not None and row.granted_hours is None and not row.answer


def ask(
    session: Session, offering_id: int, hours: float, why: str, *, actor: Actor, now: datetime
) -> GpuHoursRequest:
    """Ask for `hours` a week for each person; raises RequestOpenError while another is open."""
    actor.require("compute:reserve", offering_id)
    _check_hours(hours)
    why = _words(why)
    if not why:
        raise InvalidError(sentence("Say what the hours are for; the operator decides by it."))
    if session.scalar(
        select(func.count()).where(
            GpuHoursRequest.offering_id == offering_id, GpuHoursRequest.answered_at.is_(None)
        )
    ):
        raise RequestOpenError
    asked = GpuHoursRequest(
        offering_id=offering_id, hours_a_week=hours, why=why, asked_at=now,
        asked_by=actor.person_id,
    )  # fmt: skip
    session.add(asked)
    session.flush()
    return asked


def withdraw(session: Session, request_id: int, *, actor: Actor, now: datetime) -> None:
    """Take a request back; for whoever asked."""
    found = _get(session, request_id)
    if found.asked_by != actor.person_id:
        actor.require("compute:manage", found.offering_id)
    _answer(session, found, None, "", by=found.asked_by, now=now)


def grant(
    session: Session, request_id: int, hours: float, answer: str, *, actor: Actor, now: datetime
) -> None:
    """Give the offering `hours` a week, as asked or otherwise."""
    actor.require("compute:manage")
    _check_hours(hours)
    found = _get(session, request_id)
    _answer(session, found, hours, _words(answer), by=actor.person_id, now=now)
    why = " — ".join(word for word in (found.why, _words(answer)) if word)
    quotas.set_quota(session, found.offering_id, hours, actor=actor, now=now, mark=Mark(why=why))


def decline(session: Session, request_id: int, answer: str, *, actor: Actor, now: datetime) -> None:
    """Leave the hours as they are, and say why."""
    actor.require("compute:manage")
    if not _words(answer):
        raise InvalidError(sentence("Say why it is declined; whoever asked reads it."))
    found = _get(session, request_id)
    _answer(session, found, None, _words(answer), by=actor.person_id, now=now)


def list_requests(
    session: Session, offering_id: int | None = None, *, is_open: bool = False, limit: int = 20
) -> Sequence[Asked]:
    """Return requests, the newest first; of one offering, and only those without an answer."""
    asker, answerer = aliased(Person), aliased(Person)
    found = (
        select(GpuHoursRequest, Offering.key, Course, asker.display_name, answerer.display_name)
        .join(Offering, Offering.id == GpuHoursRequest.offering_id)
        .join(Offering.course)
        .join(asker, asker.id == GpuHoursRequest.asked_by)
        .outerjoin(answerer, answerer.id == GpuHoursRequest.answered_by)
        .order_by(GpuHoursRequest.id.desc())
        .limit(limit)
    )
    if offering_id is not None:
        found = found.where(GpuHoursRequest.offering_id == offering_id)
    if is_open:
        found = found.where(GpuHoursRequest.answered_at.is_(None))
    return [
        Asked(
            row=row,
            offering_key=key,
            title=course.title,
            asked_by=by,
            answered_by=answered or "",
        )
        for row, key, course, by, answered in session.execute(found)
    ]


def count_open(session: Session) -> int:
    """Return how many requests wait for an answer."""
    asked = select(func.count()).where(GpuHoursRequest.answered_at.is_(None))
    return session.scalar(asked) or 0


def _get(session: Session, request_id: int) -> GpuHoursRequest:
    found = session.get(GpuHoursRequest, request_id)
    if found is None:
        raise RequestNotFoundError
    return found


def _answer(
    session: Session,
    found: GpuHoursRequest,
    hours: float | None,
    answer: str,
    *,
    by: int,
    now: datetime,
) -> None:
    # By compare-and-set: two operators may look at the same page.
    taken = session.scalars(
        update(GpuHoursRequest)
        .where(GpuHoursRequest.id == found.id, GpuHoursRequest.answered_at.is_(None))
        .values(granted_hours=hours, answer=answer, answered_at=now, answered_by=by or None)
        .returning(GpuHoursRequest.id)
        .execution_options(synchronize_session=False)
    ).all()
    if not taken:
        raise RequestAnsweredError
    session.refresh(found)


def _check_hours(hours: float) -> None:
    if not 0 < hours <= MOST_HOURS:
        raise InvalidError(
            sentence("Write hours a week above 0, at most %(most)s.", most=int(MOST_HOURS))
        )


def _words(text: str) -> str:
    return text.strip()[:LONGEST_WHY]
