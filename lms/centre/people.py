"""Who a centre's people are at central: placeholders, and the codes by which people claim them."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from lms.centre.conflicts import note_same_work, note_two_places
from lms.centre.models import CentreOrigin, CentrePerson
from lms.centre.rules import claim_hash
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.exchange.models import Submission
from lms.foundation.errors import ConflictError, NotFoundError
from lms.foundation.settings import Uids
from lms.identity.models import Person
from lms.identity.placeholders import add_placeholders
from lms.identity.scopes import Role
from lms.protocol.sentences import sentence

_PREFIX = "centre-"
_NAME = 32


def place_people(
    session: Session, rows: Iterable[CentrePerson], *, now: datetime, uids: Uids
) -> None:
    """See to it that a centre's people are somebody here: placeholders as long as none claims."""
    fresh = list({row.name: row for row in rows if row.person_id is None}.values())
    if not fresh:
        return
    names = [f"{_PREFIX}{row.name}"[:_NAME] for row in fresh]
    wanted = [(name, row.display_name or name) for name, row in zip(names, fresh, strict=True)]
    for row, made in zip(fresh, add_placeholders(session, wanted, now=now, uids=uids), strict=True):
        row.person_id = made
    session.flush()


def claim(session: Session, code: str, person: Person, *, now: datetime) -> CentrePerson:
    """Make the work behind a claim code that person's; raises NotFoundError or ConflictError.

    Every attempt is kept. What was handed in at several places is noted with what counts.
    """
    row = session.scalar(
        select(CentrePerson)
        .where(CentrePerson.claim == claim_hash(code), CentrePerson.erased_at.is_(None))
        .with_for_update()
    )
    if row is None:
        raise NotFoundError(
            sentence(
                "No centre has sent this code yet. Check it with the centre; "
                "it is known here after the centre's next sync."
            )
        )
    if row.linked_at is not None:
        if row.person_id == person.id:
            return row
        raise ConflictError(sentence("This code was used already, by another account."))
    before, row.person_id, row.linked_at = row.person_id, person.id, now
    session.flush()
    if before is not None:
        _move_enrolments(session, before, person.id)
        _move_submissions(session, row.centre, before, person.id, now)
        placeholder = session.get_one(Person, before)
        placeholder.disabled_at = now
    session.flush()
    return row


def _move_enrolments(session: Session, before: int, after: int) -> None:
    mine = {
        enrolment.offering_id: enrolment
        for enrolment in session.scalars(select(Enrolment).where(Enrolment.person_id == after))
    }
    for enrolment in session.scalars(select(Enrolment).where(Enrolment.person_id == before)):
        known = mine.get(enrolment.offering_id)
        if known is None:
            enrolment.person_id = after
        elif known.role == Role.STUDENT and enrolment.state == EnrolmentState.ACTIVE:
            known.state = EnrolmentState.ACTIVE


def _move_submissions(
    session: Session, centre: str, before: int, after: int, now: datetime
) -> None:
    moved = session.scalars(
        select(Submission)
        .where(Submission.person_id == before)
        .order_by(Submission.task_id, Submission.attempt)
    ).all()
    for submission in moved:
        same = session.scalar(
            select(Submission).where(
                Submission.task_id == submission.task_id,
                Submission.person_id == after,
                Submission.digest == submission.digest,
            )
        )
        others = other_places(session, submission.task_id, after, centre)
        if same is not None:
            same.late = same.late and submission.late
            note_same_work(session, submission.id, same.id, centre=centre, now=now)
        else:
            if others:
                note_two_places(session, submission.id, others[-1].id, centre=centre, now=now)
            number = next_attempt(session, submission.task_id, after)
            session.execute(
                update(Submission)
                .where(Submission.id == submission.id)
                .values(person_id=after, attempt=number)
            )


def next_attempt(session: Session, task_id: int, person_id: int) -> int:
    """Return the number that the person's next attempt at a task gets."""
    last = session.scalar(
        select(func.max(Submission.attempt)).where(
            Submission.task_id == task_id, Submission.person_id == person_id
        )
    )
    return (last or 0) + 1


def other_places(session: Session, task_id: int, person_id: int, centre: str) -> list[Submission]:
    """Return the person's attempts at a task that were not handed in at this centre."""
    rows = session.execute(
        select(Submission, CentreOrigin.centre)
        .outerjoin(CentreOrigin, CentreOrigin.submission_id == Submission.id)
        .where(Submission.task_id == task_id, Submission.person_id == person_id)
        .order_by(Submission.attempt)
    )
    return [submission for submission, place in rows if place != centre]
