"""Use cases of enrolment: enrol, withdraw, decide, and a person's progress."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment, Offering, Unit
from lms.enrolment.errors import (
    EnrolmentClosedError,
    EnrolmentDeclinedError,
    EnrolmentNotFoundError,
    OfferingFullError,
    WrongCodeError,
)
from lms.enrolment.events import EnrolmentChanged
from lms.enrolment.models import Enrolment, UnitVisit
from lms.enrolment.rules import EnrolmentState, code_fits, first_state, is_closed
from lms.foundation.events import publish
from lms.identity.models import Person
from lms.identity.scopes import Actor, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a person is in an offering; submitted tasks are counted by the exchange's rows."""

    units_read: frozenset[int]
    units_total: int
    tasks_submitted: int
    tasks_total: int

    @property
    def share(self) -> float:
        """The share of units and tasks done, 0.0 to 1.0; an empty course is at 0."""
        total = self.units_total + self.tasks_total
        return (len(self.units_read) + self.tasks_submitted) / total if total else 0.0


def actor_for(session: Session, person: Person) -> Actor:
    """Return the actor that `person` is now, with the roles of active enrolments."""
    rows = session.execute(
        select(Enrolment.offering_id, Enrolment.role).where(
            Enrolment.person_id == person.id, Enrolment.state == EnrolmentState.ACTIVE
        )
    )
    return Actor(
        person_id=person.id,
        username=person.username,
        is_admin=person.is_admin,
        roles={offering_id: Role(role) for offering_id, role in rows},
    )


def find_enrolment(session: Session, person_id: int, offering_id: int) -> Enrolment | None:
    """Return the person's enrolment in the offering, whatever its state."""
    return session.scalar(
        select(Enrolment).where(
            Enrolment.person_id == person_id, Enrolment.offering_id == offering_id
        )
    )


def find_enrolments(
    session: Session, person_id: int, offering_ids: Iterable[int]
) -> dict[int, Enrolment]:
    """Return the person's enrolments among the offerings, by offering, whatever their state."""
    rows = session.scalars(
        select(Enrolment).where(
            Enrolment.person_id == person_id, Enrolment.offering_id.in_(list(offering_ids))
        )
    )
    return {row.offering_id: row for row in rows}


def enrol(
    session: Session, offering: Offering, *, actor: Actor, now: datetime, code: str = ""
) -> Enrolment:
    """Let the actor in as a student, or note the wish where an instructor decides.

    Enrolling twice changes nothing. Raises EnrolmentClosedError, OfferingFullError, WrongCodeError
    or EnrolmentDeclinedError.
    """
    enrolment = find_enrolment(session, actor.person_id, offering.id)
    if enrolment is not None and enrolment.state in {EnrolmentState.ACTIVE, EnrolmentState.PENDING}:
        return enrolment
    if is_closed(offering.ends_on, now):
        raise EnrolmentClosedError(offering.ends_on)
    if enrolment is not None and enrolment.state == EnrolmentState.DECLINED:
        raise EnrolmentDeclinedError
    if offering.enrolment == "code" and not code_fits(code, offering.code):
        raise WrongCodeError
    # Two people taking the last place: the count below is only right when nobody else counts at
    # the same time, so the offering's row is locked (SQLite has one writer anyway).
    session.execute(select(Offering.id).where(Offering.id == offering.id).with_for_update())
    if offering.capacity is not None and _taken(session, offering.id) >= offering.capacity:
        raise OfferingFullError(offering.capacity)
    if enrolment is None:
        enrolment = Enrolment(person_id=actor.person_id, offering_id=offering.id)
        session.add(enrolment)
    enrolment.role = Role.STUDENT
    enrolment.state = first_state(offering.enrolment)
    enrolment.requested_at = now
    return _told(session, enrolment, now)


def assign_role(
    session: Session, person_id: int, offering_id: int, role: Role, *, actor: Actor, now: datetime
) -> Enrolment:
    """Give a person a role in an offering, whatever the enrolment mode."""
    actor.require("roster:write", offering_id)
    enrolment = find_enrolment(session, person_id, offering_id)
    if enrolment is None:
        enrolment = Enrolment(person_id=person_id, offering_id=offering_id, requested_at=now)
        session.add(enrolment)
    enrolment.role, enrolment.state = role, EnrolmentState.ACTIVE
    enrolment.decided_at, enrolment.decided_by = now, actor.person_id or None
    return _told(session, enrolment, now)


def withdraw(session: Session, offering: Offering, *, actor: Actor, now: datetime) -> None:
    """End the actor's own enrolment; what was handed in is kept."""
    enrolment = find_enrolment(session, actor.person_id, offering.id)
    if enrolment is None or enrolment.state == EnrolmentState.WITHDRAWN:
        raise EnrolmentNotFoundError
    if enrolment.state == EnrolmentState.DECLINED:
        return
    enrolment.state, enrolment.decided_at = EnrolmentState.WITHDRAWN, now
    _told(session, enrolment, now)


def decide(
    session: Session, enrolment_id: int, *, accept: bool, actor: Actor, now: datetime
) -> Enrolment:
    """Accept or decline a pending enrolment; deciding the same again changes nothing."""
    enrolment = session.get(Enrolment, enrolment_id)
    if enrolment is None:
        raise EnrolmentNotFoundError
    actor.require("roster:write", enrolment.offering_id)
    wanted = EnrolmentState.ACTIVE if accept else EnrolmentState.DECLINED
    if enrolment.state not in {EnrolmentState.PENDING, EnrolmentState.DECLINED, wanted}:
        raise EnrolmentNotFoundError
    if enrolment.state != wanted:
        enrolment.state = wanted
        enrolment.decided_at, enrolment.decided_by = now, actor.person_id or None
        _told(session, enrolment, now)
    return enrolment


def list_enrolled(session: Session, person_id: int) -> list[tuple[Enrolment, Offering]]:
    """Return the person's active and pending enrolments, newest offering first."""
    rows = session.execute(
        select(Enrolment, Offering)
        .join(Offering, Offering.id == Enrolment.offering_id)
        .where(
            Enrolment.person_id == person_id,
            Enrolment.state.in_([EnrolmentState.ACTIVE, EnrolmentState.PENDING]),
        )
        .order_by(Offering.starts_on.desc(), Offering.id)
    )
    return [(enrolment, offering) for enrolment, offering in rows]


def list_roster(
    session: Session, offering_id: int, *, actor: Actor
) -> list[tuple[Enrolment, Person]]:
    """Return everyone in the offering, pending first, then by name."""
    actor.require("roster:read", offering_id)
    rows = session.execute(
        select(Enrolment, Person)
        .join(Person, Person.id == Enrolment.person_id)
        .where(Enrolment.offering_id == offering_id)
        .order_by(Enrolment.state != EnrolmentState.PENDING, Person.display_name, Person.id)
    )
    return [(enrolment, person) for enrolment, person in rows]


def visit_unit(
    session: Session, person_id: int, offering_id: int, unit_id: int, *, now: datetime
) -> None:
    """Note that the person has opened the unit; the first time counts."""
    known = session.scalar(
        select(UnitVisit.id).where(
            UnitVisit.person_id == person_id,
            UnitVisit.offering_id == offering_id,
            UnitVisit.unit_id == unit_id,
        )
    )
    if known is None:
        session.add(
            UnitVisit(
                person_id=person_id, offering_id=offering_id, unit_id=unit_id, first_opened_at=now
            )
        )


def count_active(session: Session, offering_ids: Iterable[int]) -> dict[int, int]:
    """Return how many places are taken (active and pending students) by offering."""
    rows = session.execute(
        select(Enrolment.offering_id, func.count())
        .where(
            Enrolment.offering_id.in_(list(offering_ids)),
            Enrolment.state.in_([EnrolmentState.ACTIVE, EnrolmentState.PENDING]),
            Enrolment.role == Role.STUDENT,
        )
        .group_by(Enrolment.offering_id)
    )
    return {row[0]: row[1] for row in rows}


def progress(
    session: Session, person_id: int, offering: Offering, *, tasks_submitted: int
) -> Progress:
    """Return how far the person is; the exchange room counts `tasks_submitted`."""
    read = session.scalars(
        select(UnitVisit.unit_id).where(
            UnitVisit.person_id == person_id, UnitVisit.offering_id == offering.id
        )
    )
    units = session.scalar(
        select(func.count()).select_from(Unit).where(Unit.course_id == offering.course_id)
    )
    tasks = session.scalar(
        select(func.count())
        .select_from(OfferedAssignment)
        .where(OfferedAssignment.offering_id == offering.id)
    )
    return Progress(
        units_read=frozenset(read),
        units_total=units or 0,
        tasks_submitted=tasks_submitted,
        tasks_total=tasks or 0,
    )


def list_visits(
    session: Session, person_id: int, offering_ids: Iterable[int]
) -> dict[int, frozenset[int]]:
    """Return the ids of the units that the person has opened, by offering."""
    rows = session.execute(
        select(UnitVisit.offering_id, UnitVisit.unit_id).where(
            UnitVisit.person_id == person_id, UnitVisit.offering_id.in_(list(offering_ids))
        )
    )
    visits: dict[int, set[int]] = {}
    for offering_id, unit_id in rows:
        visits.setdefault(offering_id, set()).add(unit_id)
    return {offering_id: frozenset(units) for offering_id, units in visits.items()}


def count_by_state(session: Session, offering_ids: Iterable[int]) -> dict[tuple[int, str], int]:
    """Return how many students each offering has, by offering and state."""
    rows = session.execute(
        select(Enrolment.offering_id, Enrolment.state, func.count())
        .where(Enrolment.offering_id.in_(list(offering_ids)), Enrolment.role == Role.STUDENT)
        .group_by(Enrolment.offering_id, Enrolment.state)
    )
    return {(offering_id, state): count for offering_id, state, count in rows}


def _told(session: Session, enrolment: Enrolment, now: datetime) -> Enrolment:
    """Tell the rooms above of a change, in its own transaction."""
    session.flush()
    publish(session, EnrolmentChanged(enrolment_id=enrolment.id, at=now))
    return enrolment


def _taken(session: Session, offering_id: int) -> int:
    return count_active(session, [offering_id]).get(offering_id, 0)
