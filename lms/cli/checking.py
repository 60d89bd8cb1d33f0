"""A check of whatever lies at a path: each course's environment first, then its assignments."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lms.catalogue.course_file import CourseFile, read_course
from lms.catalogue.environments import environment_problems
from lms.catalogue.errors import CourseFileError
from lms.cli.launching import course_at, launcher_in, plain_launcher
from lms.foundation import clock
from lms.foundation.errors import UnavailableError
from lms.foundation.settings import Settings
from lms.outposts.runner.check import check_course
from lms.outposts.runner.report import CourseReport, Problem
from lms.protocol.sentences import Sentence


def check_path(path: Path, settings: Settings, **options: Any) -> CourseReport:  # noqa: ANN401 - check_course's
    """Check the course, the courses or the assignment at `path`, as check_course does.

    A course whose environment cannot be used is not run.
    """
    parts = list(_parts(path))
    reports = [_check_part(part, settings, options) for part in parts]
    return CourseReport(
        assignments=tuple(one for report in reports for one in report.assignments),
        problems=tuple(one for report in reports for one in report.problems),
    )


def _parts(path: Path) -> Iterator[Path]:
    """Yield `path` itself, or the courses in it."""
    if course_at(path) is not None or not path.is_dir():
        yield path
        return
    courses = [folder for folder in sorted(path.iterdir()) if (folder / "source").is_dir()]
    yield from courses or [path]


def _check_part(path: Path, settings: Settings, options: dict[str, Any]) -> CourseReport:
    folder = course_at(path)
    if folder is None:
        return check_course(path, plain_launcher(settings), **options)
    try:
        entry = read_course(folder, today=clock.now().date())
    except CourseFileError as error:
        return _stopped("course.toml", [error.sentence])
    problems = environment_problems(folder, entry)
    if problems:
        return _stopped(_where(entry), problems)
    try:
        launcher = launcher_in(path, settings)
    except UnavailableError as error:
        return _stopped(_where(entry), [error.sentence])
    return check_course(path, launcher, **options)


def _where(entry: CourseFile) -> str:
    return f"{entry.key}/{entry.environment}"


def _stopped(where: str, problems: list[Sentence]) -> CourseReport:
    found = (Problem(severity="error", where=where, message=one) for one in problems)
    return CourseReport(assignments=(), problems=tuple(found))
