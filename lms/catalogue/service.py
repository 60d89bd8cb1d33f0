"""Use cases of the catalogue: look up what is taught, and read a release's files."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, selectinload

from lms.catalogue.errors import NotInCatalogueError, SealedError
from lms.catalogue.models import (
    Assignment,
    Course,
    OfferedAssignment,
    Offering,
    Programme,
    Release,
    Unit,
)
from lms.catalogue.rules import matches
from lms.foundation.bilingual import Bilingual
from lms.foundation.blobs import BlobStore

Side = Literal["student", "instructor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseFilter:
    """What a search asks for; empty fields ask for nothing."""

    query: str = ""
    level: str = ""
    tag: str = ""
    programme: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """What a release asks for."""

    points: float
    manual_points: float
    questions: int


def list_programmes(session: Session) -> list[Programme]:
    """Return all programmes in their order."""
    return list(session.scalars(select(Programme).order_by(Programme.position, Programme.key)))


def get_programme(session: Session, key: str) -> Programme:
    """Return a programme; raises NotInCatalogueError."""
    programme = session.scalar(select(Programme).where(Programme.key == key))
    if programme is None:
        raise NotInCatalogueError(key)
    return programme


def list_courses(session: Session, wanted: CourseFilter | None = None) -> list[Course]:
    """Return the courses that match, with units and offerings loaded."""
    wanted = wanted or CourseFilter()
    query = (
        select(Course)
        .options(
            selectinload(Course.units),
            selectinload(Course.offerings),
        )
        .order_by(Course.code, Course.key)
    )
    if wanted.level:
        query = query.where(Course.level == wanted.level)
    courses = session.scalars(query).all()
    keys = set(get_programme(session, wanted.programme).required) if wanted.programme else None
    return [
        course
        for course in courses
        if (keys is None or course.key in keys)
        and (not wanted.tag or wanted.tag in course.tags)
        and matches(wanted.query, searched_texts(course))
    ]


def searched_texts(course: Course) -> list[str]:
    """Return the texts of a course that search looks into, the most telling first."""
    return [
        course.code,
        course.title.ko,
        course.title.en,
        *course.tags,
        course.summary.ko,
        course.summary.en,
        *(text for unit in course.units for text in (unit.title.ko, unit.title.en)),
    ]


def get_course(session: Session, key: str) -> Course:
    """Return a course; raises NotInCatalogueError."""
    course = session.scalar(
        select(Course)
        .where(Course.key == key)
        .options(
            selectinload(Course.units),
            selectinload(Course.assignments),
            selectinload(Course.offerings),
        )
    )
    if course is None:
        raise NotInCatalogueError(key)
    return course


def get_offering(session: Session, key: str) -> Offering:
    """Return an offering with its course and tasks; raises NotInCatalogueError."""
    offering = session.scalar(
        select(Offering)
        .where(Offering.key == key)
        .options(
            joinedload(Offering.course).selectinload(Course.units),
            selectinload(Offering.tasks).joinedload(OfferedAssignment.assignment),
            selectinload(Offering.tasks).joinedload(OfferedAssignment.release),
        )
    )
    if offering is None:
        raise NotInCatalogueError(key)
    return offering


def list_offering_titles(session: Session, offering_ids: Iterable[int]) -> dict[int, Bilingual]:
    """Return the title of each offering's course, by the offering's id; one query for all."""
    rows = session.execute(
        select(Offering.id, Course).join(Offering.course).where(Offering.id.in_(set(offering_ids)))
    )
    return {offering_id: course.title for offering_id, course in rows}


def list_offerings(session: Session, offering_ids: Iterable[int] | None = None) -> list[Offering]:
    """Return the offerings (None: all) with course, units, tasks and releases, newest first."""
    wanted = select(Offering)
    if offering_ids is not None:
        wanted = wanted.where(Offering.id.in_(list(offering_ids)))
    return list(
        session.scalars(
            wanted.options(
                joinedload(Offering.course).selectinload(Course.units),
                selectinload(Offering.tasks).joinedload(OfferedAssignment.assignment),
                selectinload(Offering.tasks).joinedload(OfferedAssignment.release),
            ).order_by(Offering.starts_on.desc(), Offering.id)
        )
    )


def list_titles(session: Session, keys: Iterable[str]) -> dict[str, Bilingual]:
    """Return the titles of the courses among `keys`, by key."""
    rows = session.execute(select(Course.key, Course.title).where(Course.key.in_(list(keys))))
    return {row[0]: row[1] for row in rows}


def list_newest_releases(session: Session, course: Course) -> dict[int, ReleaseFacts]:
    """Return what each assignment's newest release asks for, by assignment id."""
    releases = session.scalars(
        select(Release)
        .join(Assignment, Assignment.id == Release.assignment_id)
        .where(Assignment.course_id == course.id, Release.staged.is_(False))
        .order_by(Release.number)
    )
    return {release.assignment_id: facts_of(release) for release in releases}


def facts_of(release: Release) -> ReleaseFacts:
    """Return what a release asks for."""
    return ReleaseFacts(
        points=release.points,
        manual_points=release.manual_points,
        questions=sum(len(notebook.get("questions", ())) for notebook in release.notebooks),
    )


def get_task(session: Session, offering_key: str, assignment_key: str) -> OfferedAssignment:
    """Return an assignment as it stands in an offering; raises NotInCatalogueError."""
    task = session.scalar(
        select(OfferedAssignment)
        .join(Offering, Offering.id == OfferedAssignment.offering_id)
        .join(Assignment, Assignment.id == OfferedAssignment.assignment_id)
        .where(Offering.key == offering_key, Assignment.key == assignment_key)
        .options(
            joinedload(OfferedAssignment.offering).joinedload(Offering.course),
            joinedload(OfferedAssignment.assignment).selectinload(Assignment.releases),
            joinedload(OfferedAssignment.release),
        )
    )
    if task is None:
        raise NotInCatalogueError(assignment_key)
    return task


def load_task(session: Session, task_id: int) -> OfferedAssignment:
    """Return a task known to exist, with its offering, course, assignment and releases."""
    return session.scalars(
        select(OfferedAssignment)
        .where(OfferedAssignment.id == task_id)
        .options(
            joinedload(OfferedAssignment.offering).joinedload(Offering.course),
            joinedload(OfferedAssignment.assignment).selectinload(Assignment.releases),
            joinedload(OfferedAssignment.release),
        )
    ).one()


def get_unit(session: Session, course_id: int, key: str) -> Unit:
    """Return a unit of a course; raises NotInCatalogueError."""
    unit = session.scalar(select(Unit).where(Unit.course_id == course_id, Unit.key == key))
    if unit is None:
        raise NotInCatalogueError(key)
    return unit


def read_release(blobs: BlobStore, release: Release, side: Side) -> dict[str, bytes]:
    """Return the files of a release by path: what students get, or the instructor's source."""
    return read_manifest(blobs, release.digest, side)


def read_manifest(blobs: BlobStore, digest: str, side: Side) -> dict[str, bytes]:
    """Return the files of the release with this digest; raises NotFoundError.

    Of the instructor's side SealedError while its files are closed.
    """
    manifest = json.loads(blobs.get(digest))
    if side == "instructor" and not all(one in blobs for one in manifest[side].values()):
        raise SealedError(digest)
    return {path: blobs.get(one) for path, one in manifest[side].items()}


def is_sealed(blobs: BlobStore, digest: str) -> bool:
    """Say whether the instructor's files of the release with this digest are not here yet."""
    return any(one not in blobs for one in json.loads(blobs.get(digest))["instructor"].values())
