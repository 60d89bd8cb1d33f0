"""Launchers for commands that run notebooks themselves, in the environment of their course."""

from pathlib import Path

from lms.catalogue.course_file import read_course
from lms.catalogue.environments import load_requirements
from lms.foundation import clock
from lms.foundation.errors import UnavailableError
from lms.foundation.settings import Settings
from lms.outposts.broker.launcher import DirectLauncher, EnvironmentLauncher, KernelLauncher
from lms.outposts.environments.folder import EnvironmentMissingError, Environments
from lms.outposts.environments.identity import environment_id


def course_at(path: Path) -> Path | None:
    """Return the folder whose course.toml speaks for `path`: a course, its source, or a part."""
    near = path.resolve()
    for folder in (near, near.parent, near.parent.parent):
        if (folder / "course.toml").is_file():
            return folder
    return None


def plain_launcher(settings: Settings) -> DirectLauncher:
    """Return a launcher of sandboxes with the default environment."""
    return DirectLauncher(unsafe=settings.unsafe_grading, environments=settings.environments_dir)


def launcher_in(path: Path, settings: Settings) -> KernelLauncher:
    """Return a launcher of sandboxes with the environment of the course that `path` lies in.

    Raises CourseFileError, and UnavailableError where that environment is not built.
    """
    folder = course_at(path)
    entry = None if folder is None else read_course(folder, today=clock.now().date())
    if folder is None or entry is None:
        return plain_launcher(settings)
    requirements = load_requirements(folder, entry)
    return launcher_with("" if requirements is None else requirements.digest, settings)


def launcher_with(requirements: str, settings: Settings) -> KernelLauncher:
    """Return a launcher with the environment of the requirements; raises UnavailableError."""
    if not requirements:
        return plain_launcher(settings)
    environment = environment_id(requirements)
    try:
        Environments(settings.environments_dir).packages(environment)
    except EnvironmentMissingError as error:
        raise UnavailableError(error.sentence) from error
    return EnvironmentLauncher(plain_launcher(settings), environment)
