"""What a course says of its environment: its requirements read, checked and kept as a blob."""

from collections.abc import Collection
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.course_file import CourseFile
from lms.catalogue.errors import CourseFileError
from lms.catalogue.models import Assignment, Course, OfferedAssignment, Offering, Release
from lms.foundation.blobs import BlobStore
from lms.outposts.environments.identity import kernel_name
from lms.outposts.environments.requirements import Requirements, RequirementsError, parse
from lms.outposts.environments.stack import problems_with
from lms.outposts.environments.wheels import lacking, named
from lms.protocol.sentences import Sentence, sentence

#: Where the wheels of its environment lie in a course's bundle.
WHEELS = "wheels"


def read_requirements(folder: Path, entry: CourseFile) -> Requirements | None:
    """Return the requirements of a course folder, or None where it has the default environment.

    Raises RequirementsError with a sentence for everything that has to be mended.
    """
    if not entry.environment:
        return None
    try:
        content = (folder / entry.environment).read_bytes()
    except OSError as error:
        raise RequirementsError(
            [
                sentence(
                    "%(file)s cannot be read: %(problem)s.",
                    file=entry.environment,
                    problem=str(error.strerror),
                )
            ]
        ) from error
    requirements = parse(content)
    problems = list(problems_with(requirements))
    if problems:
        raise RequirementsError(problems)
    return requirements


def load_requirements(folder: Path, entry: CourseFile) -> Requirements | None:
    """Return the same for a load, which stops at the first problem; raises CourseFileError."""
    try:
        return read_requirements(folder, entry)
    except RequirementsError as error:
        where = f"{entry.key}/{entry.environment}"
        raise CourseFileError(where, str(error.problems[0]).rstrip(".")) from error


def wheel_files(folder: Path, entry: CourseFile, wheels: Path) -> dict[str, Path]:
    """Return the wheels of a course's environment, by where they lie in its bundle.

    Raises CourseFileError when one lacks that this machine would need.
    """
    requirements = load_requirements(folder, entry)
    if requirements is None:
        return {}
    for problem in lacking(requirements, wheels):
        raise CourseFileError(entry.key, str(problem).rstrip("."))
    return {f"{WHEELS}/{name}": path for name, path in named(requirements, wheels).items()}


def keep(blobs: BlobStore, requirements: Requirements) -> str:
    """Keep requirements in their canonical form and return the digest that names them."""
    return blobs.put(requirements.text.encode())


def environment_problems(folder: Path, entry: CourseFile) -> list[Sentence]:
    """Return everything that has to be mended of a course's environment."""
    try:
        read_requirements(folder, entry)
    except RequirementsError as error:
        return error.problems
    return []


def used_requirements(session: Session) -> dict[str, list[str]]:
    """Return who uses which environment: requirements digest -> courses and releases by name.

    A course uses what its newest files say; a release what it was made with, for as long as an
    offering gives it to students.
    """
    used: dict[str, list[str]] = {}
    for key, digest in session.execute(
        select(Course.key, Course.environment).where(Course.environment != "")
    ):
        used.setdefault(digest, []).append(key)
    for digest, offering, number in session.execute(
        select(Release.environment, Offering.key, Release.number)
        .join(OfferedAssignment, OfferedAssignment.release_id == Release.id)
        .join(Offering, Offering.id == OfferedAssignment.offering_id)
        .where(Release.environment != "")
    ):
        name = f"{offering} ({number})"
        if name not in used.setdefault(digest, []):
            used[digest].append(name)
    return used


def kernels_of(session: Session, offering_ids: Collection[int]) -> set[str]:
    """Return the names of the kernels that notebooks of these offerings' courses ask for.

    Those of earlier releases, too: people still have their notebooks.
    """
    courses = select(Offering.course_id).where(Offering.id.in_(offering_ids))
    own = select(Course.environment).where(Course.id.in_(courses))
    released = select(Release.environment).join(Assignment).where(Assignment.course_id.in_(courses))
    return {kernel_name(one) for one in session.scalars(own.union(released)) if one}
