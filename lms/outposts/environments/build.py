"""Building an environment: once for each digest, beside what there is, all or nothing."""

import compileall
import json
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from lms.outposts.environments.folder import (
    PACKAGES,
    RECORD,
    UNDER_WAY,
    Built,
    Environments,
    discard,
    settle,
)
from lms.outposts.environments.identity import BUILDER_VERSION, environment_id
from lms.outposts.environments.installing import InstallError, install
from lms.outposts.environments.kernelspec import kernelspec
from lms.outposts.environments.requirements import Requirements
from lms.outposts.environments.stack import conflicts, default_folders, installed, problems_with
from lms.outposts.environments.trial import try_out
from lms.outposts.environments.wheels import lacking
from lms.protocol.sentences import Sentence

#: Hears how much of a build is done, from 0 to 1.
OnProgress = Callable[[float], None]
Trial = Callable[[Path], Sentence | None]
#: The shares of a build at whose end a step stands.
_INSTALLED, _CHECKED, _COMPILED = 0.6, 0.65, 0.8


class BuildError(Exception):
    """An environment could not be built, and nothing of it is left; the sentence says why."""

    def __init__(self, problem: Sentence) -> None:
        super().__init__(str(problem))
        self.sentence = problem


def build(
    environments: Environments,
    requirements: Requirements,
    *,
    wheels: Path | None = None,
    on_progress: OnProgress = lambda _: None,
    trial: Trial = try_out,
) -> Built:
    """Return the environment of the requirements, built now if there is none; raises BuildError.

    Packages come from the folder `wheels`, or from the index that uv or pip is set to. Two builders
    of the same wait for one another; environments that are in use are not touched.
    """
    environment = environment_id(requirements.digest)
    with environments.locked(environment):
        built = environments.find(environment)
        if built is None:
            place = environments.root / f"{UNDER_WAY}{environments.folder(environment).name}"
            # Whoever held the lock before may have been killed at it.
            discard(place)
            try:
                built = _build(environments, requirements, place, (wheels, on_progress, trial))
            finally:
                discard(place)
        _write_kernelspec(environments, built)
        return built


def _build(
    environments: Environments,
    requirements: Requirements,
    place: Path,
    how: tuple[Path | None, OnProgress, Trial],
) -> Built:
    wheels, on_progress, trial = how
    environment = environment_id(requirements.digest)
    final = environments.folder(environment)
    _refuse(problems_with(requirements))
    if wheels is not None:
        _refuse(lacking(requirements, wheels))
    packages = place / PACKAGES
    packages.mkdir(parents=True)
    place.chmod(0o755)
    _install(requirements, packages, wheels, on_progress)
    _refuse(conflicts(packages))
    on_progress(_CHECKED)
    _compile(packages, final / PACKAGES)
    on_progress(_COMPILED)
    size = settle(packages)
    _refuse(filter(None, [trial(packages)]))
    built = _describe(requirements, environment, packages, size)
    (place / RECORD).write_text(json.dumps(built.to_json(), indent=1) + "\n")
    _move(place, final)
    on_progress(1.0)
    return built


def _install(
    requirements: Requirements, packages: Path, wheels: Path | None, on_progress: OnProgress
) -> None:
    file = packages.with_name("requirements.txt")
    file.write_text(requirements.text)
    count = len(requirements.here())
    if not count:
        return  # for other machines only
    try:
        install(
            requirements,
            file,
            packages,
            wheels,
            lambda done: on_progress(_INSTALLED * min(done, count) / count),
        )
    except InstallError as error:
        raise BuildError(error.sentence) from error


def _move(place: Path, final: Path) -> None:
    """Give a finished build its name, once everything of it is on the disk."""
    settle(place)
    os.sync()
    # A folder is moved by who may write in it.
    place.chmod(0o755)
    place.rename(final)
    final.chmod(0o555)
    descriptor = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse(problems: Iterator[Sentence]) -> None:
    for problem in problems:
        raise BuildError(problem)


def _compile(packages: Path, final: Path) -> None:
    """Compile as if the files lay where they will lie: tracebacks name the place."""
    compileall.compile_dir(packages, ddir=str(final), quiet=2, workers=0, maxlevels=64)


def _describe(requirements: Requirements, environment: str, packages: Path, size: int) -> Built:
    found = sorted(f"{name}=={one.version}" for name, one in installed([packages]).items())
    return Built(
        environment=environment,
        requirements=requirements.digest,
        python=f"{sys.implementation.name} {platform.python_version()}",
        platform=sysconfig.get_platform(),
        builder=BUILDER_VERSION,
        packages=tuple(found),
        size_bytes=size,
    )


def _write_kernelspec(environments: Environments, built: Built) -> None:
    """Write the kernelspec that notebooks of this environment ask for, as Jupyter reads it."""
    folder = environments.kernelspec(built.requirements)
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        each.chmod(0o755)
    packages = environments.packages(built.environment)
    temporary = folder / f".kernel.json-{os.getpid()}"
    temporary.write_text(json.dumps(kernelspec(built, packages), indent=1) + "\n")
    temporary.chmod(0o644)
    temporary.replace(folder / "kernel.json")
    _copy_logos(folder)


def _copy_logos(folder: Path) -> None:
    for source in default_folders()[0].glob("ipykernel/resources/logo-*"):
        shutil.copyfile(source, folder / source.name)
        (folder / source.name).chmod(0o644)
