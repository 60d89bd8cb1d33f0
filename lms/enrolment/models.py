"""Tables of who takes part in an offering, and what they have read of it."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from lms.foundation.db import Base, Instant


class Enrolment(Base):
    """A person in an offering with a role; one row a person and offering, its state changes."""

    __tablename__ = "enrolment"
    __table_args__ = (UniqueConstraint("person_id", "offering_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    offering_id: Mapped[int] = mapped_column(ForeignKey("offering.id"), index=True)
    #: A value of lms.identity.scopes.Role.
    role: Mapped[str] = mapped_column(String(12))
    #: A value of lms.enrolment.rules.EnrolmentState.
    state: Mapped[str] = mapped_column(String(10))
    requested_at: Mapped[datetime] = mapped_column(Instant)
    decided_at: Mapped[datetime | None] = mapped_column(Instant)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))


class UnitVisit(Base):
    """A person has opened a unit; the base of 'own progress'."""

    __tablename__ = "unit_visit"
    __table_args__ = (UniqueConstraint("person_id", "offering_id", "unit_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    offering_id: Mapped[int] = mapped_column(ForeignKey("offering.id"))
    unit_id: Mapped[int] = mapped_column(ForeignKey("unit.id"))
    first_opened_at: Mapped[datetime] = mapped_column(Instant)
