"""Tables of what is taught: programmes, courses, units, assignments, releases, offerings."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from lms.foundation.bilingual import Bilingual, BilingualText
from lms.foundation.db import Base, Instant, Json


class Programme(Base):
    """Courses that lead to an award."""

    __tablename__ = "programme"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[Bilingual] = mapped_column(BilingualText)
    summary: Mapped[Bilingual] = mapped_column(BilingualText)
    #: "certificate", "bachelor" or "master".
    kind: Mapped[str] = mapped_column(String(20))
    credits: Mapped[int]
    #: Course keys that must be passed.
    required: Mapped[list[str]] = mapped_column(Json)
    #: Recommended path: one list of course keys a term.
    path: Mapped[list[list[str]]] = mapped_column(Json)
    position: Mapped[int] = mapped_column(default=0)


class Course(Base):
    """The design of a course, as its files say it."""

    __tablename__ = "course"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    #: The number in a prospectus, such as AIF101.
    code: Mapped[str] = mapped_column(String(20))
    title: Mapped[Bilingual] = mapped_column(BilingualText)
    summary: Mapped[Bilingual] = mapped_column(BilingualText)
    #: "foundation", "bachelor" or "graduate".
    level: Mapped[str] = mapped_column(String(20))
    credits: Mapped[int]
    contact_hours: Mapped[int]
    study_hours: Mapped[int]
    languages: Mapped[list[str]] = mapped_column(Json)
    tags: Mapped[list[str]] = mapped_column(Json)
    #: Keys of the courses to take first.
    prerequisites: Mapped[list[str]] = mapped_column(Json)
    #: [{"id", "text": {"ko", "en"}, "tested_by": [...]}]
    outcomes: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    #: {"profile", "memory_mb", "unit_seconds", "assignment_seconds"}
    compute: Mapped[dict[str, Any]] = mapped_column(Json)
    #: Digest of the requirements of its environment, themselves a blob; empty: the default one.
    environment: Mapped[str] = mapped_column(String(71), default="")

    units: Mapped[list["Unit"]] = relationship(order_by="Unit.position", back_populates="course")
    assignments: Mapped[list["Assignment"]] = relationship(
        order_by="Assignment.position", back_populates="course"
    )
    offerings: Mapped[list["Offering"]] = relationship(
        order_by="Offering.starts_on", back_populates="course"
    )


class Unit(Base):
    """An ordered part of a course: a notebook or a Markdown text to read and run."""

    __tablename__ = "unit"
    __table_args__ = (UniqueConstraint("course_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("course.id"), index=True)
    key: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    title: Mapped[Bilingual] = mapped_column(BilingualText)
    summary: Mapped[Bilingual] = mapped_column(BilingualText)
    minutes: Mapped[int]
    #: File name in the course, ending in .ipynb or .md.
    file: Mapped[str] = mapped_column(String(200))
    #: Blob of the file.
    digest: Mapped[str] = mapped_column(String(71))

    course: Mapped[Course] = relationship(back_populates="units")


class Assignment(Base):
    """Graded work in a course; what students get is its newest release."""

    __tablename__ = "assignment"
    __table_args__ = (UniqueConstraint("course_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("course.id"), index=True)
    #: The folder under source/; nbgrader's assignment name.
    key: Mapped[str] = mapped_column(String(64))
    position: Mapped[int]
    title: Mapped[Bilingual] = mapped_column(BilingualText)
    summary: Mapped[Bilingual] = mapped_column(BilingualText)
    #: Key of the unit it follows; empty when it stands alone.
    unit_key: Mapped[str] = mapped_column(String(64), default="")
    minutes: Mapped[int]
    #: Fields of lms.protocol.grading.Limits that differ from their defaults.
    limits: Mapped[dict[str, int]] = mapped_column(Json)
    #: What kind of worker grades it: "cpu" or "gpu".
    resource: Mapped[str] = mapped_column(String(8), default="cpu")

    course: Mapped[Course] = relationship(back_populates="assignments")
    releases: Mapped[list["Release"]] = relationship(
        order_by="Release.number", back_populates="assignment"
    )


class Release(Base):
    """An immutable version of an assignment, named by the digest of its manifest."""

    __tablename__ = "release"
    __table_args__ = (
        UniqueConstraint("assignment_id", "number"),
        UniqueConstraint("assignment_id", "digest"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"), index=True)
    number: Mapped[int]
    #: Digest of the manifest, which is itself a blob.
    digest: Mapped[str] = mapped_column(String(71))
    published_at: Mapped[datetime] = mapped_column(Instant)
    #: Person who published; None for the command line.
    published_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    points: Mapped[float]
    manual_points: Mapped[float]
    #: [{"name", "questions": [{"grade_id", "points", "manual"}]}], in order.
    notebooks: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    #: Digest of the requirements it runs with, as the manifest has it; empty: the default ones.
    environment: Mapped[str] = mapped_column(String(71), default="")
    #: True while it is only tried out by a regrade's preview: no student gets it.
    staged: Mapped[bool] = mapped_column(default=False)

    assignment: Mapped[Assignment] = relationship(back_populates="releases")


class Offering(Base):
    """A course in a term; nbgrader's course_id is its key."""

    __tablename__ = "offering"

    id: Mapped[int] = mapped_column(primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("course.id"), index=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    term: Mapped[str] = mapped_column(String(32))
    title: Mapped[Bilingual] = mapped_column(BilingualText)
    starts_on: Mapped[date]
    ends_on: Mapped[date]
    #: "open", "code" or "approval".
    enrolment: Mapped[str] = mapped_column(String(10))
    #: The enrolment code when `enrolment` is "code".
    code: Mapped[str | None] = mapped_column(String(64))
    capacity: Mapped[int | None]
    #: In practice, scores that nobody could verify are shown and counted without a person.
    practice: Mapped[bool] = mapped_column(default=False)

    course: Mapped[Course] = relationship(back_populates="offerings")
    tasks: Mapped[list["OfferedAssignment"]] = relationship(back_populates="offering")


class OfferedAssignment(Base):
    """An assignment in an offering: its deadline and the release that students get."""

    __tablename__ = "offered_assignment"
    __table_args__ = (UniqueConstraint("offering_id", "assignment_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    offering_id: Mapped[int] = mapped_column(ForeignKey("offering.id"), index=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"), index=True)
    due_at: Mapped[datetime | None] = mapped_column(Instant)
    #: None until something was published.
    release_id: Mapped[int | None] = mapped_column(ForeignKey("release.id"))
    #: Exams are graded before everything else.
    exam: Mapped[bool] = mapped_column(default=False)

    offering: Mapped[Offering] = relationship(back_populates="tasks")
    assignment: Mapped[Assignment] = relationship()
    release: Mapped[Release | None] = relationship()
