"""Loading course folders into the catalogue: rows follow the files, releases are made when due."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.course_file import (
    AssignmentFile,
    CourseFile,
    OfferingFile,
    ProgrammeFile,
    UnitFile,
    read_course,
    read_programmes,
)
from lms.catalogue.environments import keep, load_requirements
from lms.catalogue.errors import CourseFileError
from lms.catalogue.models import (
    Assignment,
    Course,
    OfferedAssignment,
    Offering,
    Programme,
    Release,
    Unit,
)
from lms.catalogue.publishing import publish, publish_prepared
from lms.catalogue.sealed import read_prepared
from lms.foundation.blobs import BlobStore
from lms.foundation.db import Base
from lms.identity.scopes import Actor
from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.release import (
    BuiltRelease,
    build_release,
    with_environment,
    with_kernel,
)

Row = TypeVar("Row", bound=Base)


@dataclass(slots=True)
class Loaded:
    """What a load did, for the person who asked for it."""

    programmes: list[str] = field(default_factory=list)
    courses: list[str] = field(default_factory=list)
    #: Every release in force, by "course/assignment".
    releases: dict[str, Release] = field(default_factory=dict)


def import_tree(
    session: Session, blobs: BlobStore, root: Path, *, actor: Actor, now: datetime
) -> Loaded:
    """Load one course folder, or a folder of them with programmes.toml; raises CourseFileError."""
    actor.require("system:read")
    loaded = Loaded()
    folders = _course_folders(root)
    if not folders:
        raise CourseFileError(str(root), "no course lies here: a course.toml or source/ is needed")
    for folder in folders:
        load_course(session, blobs, folder, loaded, actor=actor, now=now)
    programmes = root / "programmes.toml"
    if programmes.is_file():
        for position, entry in enumerate(read_programmes(programmes)):
            _load_programme(session, entry, position)
            loaded.programmes.append(entry.key)
    return loaded


def load_course(
    session: Session,
    blobs: BlobStore,
    folder: Path,
    loaded: Loaded,
    *,
    actor: Actor,
    now: datetime,
) -> Course:
    """Load one course folder and release its assignments; raises CourseFileError."""
    entry = read_course(folder, today=now.date())
    requirements = load_requirements(folder, entry)
    course = _upsert_course(session, entry)
    course.environment = "" if requirements is None else keep(blobs, requirements)
    for position, unit in enumerate(entry.units):
        _load_unit(session, blobs, course, folder, unit, position)
    assignments = {
        one.key: _load_assignment(session, course, one, position)
        for position, one in enumerate(entry.assignments)
    }
    for offering in entry.offerings:
        _load_offering(session, course, offering, assignments)
    session.flush()
    for key, assignment in assignments.items():
        made = read_prepared(folder, key, blobs)
        if made is not None:
            release = publish_prepared(session, blobs, assignment, made, actor=actor, now=now)
        else:
            built = build_for(folder, key, course.key, course.environment)
            release = publish(session, blobs, assignment, built, actor=actor, now=now)
        loaded.releases[f"{course.key}/{key}"] = release
    loaded.courses.append(course.key)
    return course


def build_for(folder: Path, assignment: str, course: str, environment: str) -> BuiltRelease:
    """Build an assignment of a course folder for the course's environment.

    Raises CourseFileError.
    """
    try:
        built = build_release(folder / "source" / assignment)
    except ReleaseError as error:
        raise CourseFileError(f"{course}/{assignment}", str(error).rstrip(".")) from error
    return with_environment(built, environment, course) if environment else built


def _course_folders(root: Path) -> list[Path]:
    if _is_course(root):
        return [root]
    if not root.is_dir():
        return []
    return [folder for folder in sorted(root.iterdir()) if _is_course(folder)]


def _is_course(folder: Path) -> bool:
    return (folder / "course.toml").is_file() or (folder / "source").is_dir()


def _find_or_add(session: Session, kind: type[Row], make: Callable[[], Row], **keys: object) -> Row:
    row = session.scalar(select(kind).filter_by(**keys))
    if row is None:
        row = make()
        session.add(row)
    return row


def _upsert_course(session: Session, entry: CourseFile) -> Course:
    course = _find_or_add(session, Course, lambda: Course(key=entry.key), key=entry.key)
    for name in (
        "code",
        "title",
        "summary",
        "level",
        "credits",
        "contact_hours",
        "study_hours",
        "languages",
        "tags",
        "prerequisites",
        "outcomes",
        "compute",
    ):
        setattr(course, name, getattr(entry, name))
    session.flush()
    return course


def _load_unit(
    session: Session, blobs: BlobStore, course: Course, folder: Path, entry: UnitFile, position: int
) -> None:
    file = folder / entry.file
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CourseFileError(
            f"{course.key}/{entry.file}", f"cannot be read: {error.strerror}"
        ) from error
    if course.environment and entry.file.endswith(".ipynb"):
        content = with_kernel(content, course.environment, course.key)
    unit = _find_or_add(
        session,
        Unit,
        lambda: Unit(course_id=course.id, key=entry.key),
        course_id=course.id,
        key=entry.key,
    )
    unit.position, unit.title, unit.summary = position, entry.title, entry.summary
    unit.minutes, unit.file, unit.digest = entry.minutes, entry.file, blobs.put(content)


def _load_assignment(
    session: Session, course: Course, entry: AssignmentFile, position: int
) -> Assignment:
    assignment = _find_or_add(
        session,
        Assignment,
        lambda: Assignment(course_id=course.id, key=entry.key),
        course_id=course.id,
        key=entry.key,
    )
    assignment.position, assignment.title, assignment.summary = position, entry.title, entry.summary
    assignment.unit_key, assignment.minutes, assignment.limits = (
        entry.unit,
        entry.minutes,
        entry.limits,
    )
    assignment.resource = entry.resource
    session.flush()
    return assignment


def _load_offering(
    session: Session, course: Course, entry: OfferingFile, assignments: dict[str, Assignment]
) -> None:
    offering = _find_or_add(
        session, Offering, lambda: Offering(key=entry.key, course_id=course.id), key=entry.key
    )
    if offering.course_id != course.id:
        raise CourseFileError(entry.key, "another course has an offering with this key")
    for name in ("term", "title", "starts_on", "ends_on", "enrolment", "code", "capacity"):
        setattr(offering, name, getattr(entry, name))
    if entry.practice is not None:
        offering.practice = entry.practice
    session.flush()
    for key, assignment in assignments.items():
        keys = {"offering_id": offering.id, "assignment_id": assignment.id}
        task = _find_or_add(session, OfferedAssignment, OfferedAssignment, **keys)
        task.offering_id, task.assignment_id = offering.id, assignment.id
        task.due_at = entry.due.get(key)
        if entry.exams is not None:
            task.exam = key in entry.exams


def _load_programme(session: Session, entry: ProgrammeFile, position: int) -> None:
    known = set(session.scalars(select(Course.key)))
    for key in {*entry.required, *(key for term in entry.path for key in term)}:
        if key not in known:
            raise CourseFileError(f"programmes.toml.{entry.key}", f"there is no course {key}")
    programme = _find_or_add(session, Programme, lambda: Programme(key=entry.key), key=entry.key)
    for name in ("title", "summary", "kind", "credits", "required", "path"):
        setattr(programme, name, getattr(entry, name))
    programme.position = position
