"""`lms environment`: build, list and remove the environments of courses on this machine."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from lms.bootstrap import build as build_system
from lms.catalogue.course_file import read_course
from lms.catalogue.environments import load_requirements
from lms.catalogue.errors import CourseFileError
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import ConflictError, InvalidError, UnavailableError
from lms.foundation.settings import Settings, load_settings
from lms.grading.environments import used_environments
from lms.outposts.environments.build import BuildError
from lms.outposts.environments.build import build as build_environment
from lms.outposts.environments.folder import Built, Environments
from lms.outposts.environments.requirements import Requirements, RequirementsError, parse
from lms.protocol.sentences import sentence

_STEPS = 100
_SHORT = 12
_LEAST = 4
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@click.group()
def environment() -> None:
    """Build, list and remove the environments of courses on this machine."""


@environment.command()
@click.argument("source")
@click.option(
    "--wheels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Take packages from the wheels in DIR and ask no index.",
    metavar="DIR",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON.")
def build(source: str, *, wheels: Path | None, as_json: bool) -> None:
    """Build what SOURCE declares: a course, a folder of courses, or a requirements file.

    SOURCE may also be the digest of requirements that a release of this site names. What is built
    already stays as it is. Whoever builds trusts the packages: kernels of this machine import them.
    """
    settings = load_settings()
    environments = Environments(settings.environments_dir)
    built = [
        _build(environments, name, requirements, wheels, quiet=as_json)
        for name, requirements in _wanted(source, settings)
    ]
    if as_json:
        click.echo(json.dumps({"environments": [_shape(one) for one in built]}, indent=2))
        return
    for one in built:
        click.echo(f"{_short(one.environment)}  {', '.join(one.packages)}")


@environment.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_built(*, as_json: bool) -> None:
    """List the environments of this machine and who uses them."""
    settings = load_settings()
    used = _used(settings)
    built = Environments(settings.environments_dir).list()
    if as_json:
        shapes = [{**_shape(one), "used_by": used.get(one.requirements, [])} for one in built]
        click.echo(json.dumps({"environments": shapes}, indent=2))
        return
    for one in built:
        users = ", ".join(used.get(one.requirements, [])) or "nobody"
        click.echo(
            f"{_short(one.environment)}  {one.size_bytes / 1e6:8.1f} MB  "
            f"{len(one.packages):3d} packages  used by {users}"
        )
    for digest in sorted(used.keys() - {one.requirements for one in built}):
        click.echo(f"not built: {digest}, used by {', '.join(used[digest])}")


@environment.command()
@click.argument("name", metavar="ENVIRONMENT")
def remove(name: str) -> None:
    """Remove ENVIRONMENT, by the first digits of its name; what is in use stays."""
    settings = load_settings()
    environments = Environments(settings.environments_dir)
    one = _find(environments, name)
    users = _used(settings).get(one.requirements, [])
    if users:
        raise ConflictError(
            sentence(
                "%(name)s is in use by %(users)s and stays.",
                name=_short(one.environment),
                users=", ".join(users),
            )
        )
    environments.remove(one.environment)
    click.echo(f"{_short(one.environment)} is removed.")


def _wanted(source: str, settings: Settings) -> Iterator[tuple[str, Requirements]]:
    """Yield what to build, each with a name for people."""
    path = Path(source)
    if _DIGEST.fullmatch(source):
        blobs = BlobStore(settings.blobs_dir)
        if source not in blobs:
            raise InvalidError(sentence("This site knows no requirements %(name)s.", name=source))
        yield _short(source), _parse(source, blobs.get(source))
    elif path.is_file():
        yield path.name, _parse(path.name, path.read_bytes())
    elif (path / "course.toml").is_file():
        yield from _of_course(path, must_have=True)
    else:
        folders = [file.parent for file in sorted(path.glob("*/course.toml"))]
        if not folders:
            raise CourseFileError(source, "no course and no requirements file lies here")
        for folder in folders:
            yield from _of_course(folder, must_have=False)


def _of_course(folder: Path, *, must_have: bool) -> Iterator[tuple[str, Requirements]]:
    entry = read_course(folder, today=clock.now().date())
    requirements = load_requirements(folder, entry)
    if requirements is not None:
        yield entry.key, requirements
    elif must_have:
        raise InvalidError(
            sentence(
                "%(course)s has the default environment; there is nothing to build.",
                course=entry.key,
            )
        )


def _parse(name: str, content: bytes) -> Requirements:
    try:
        return parse(content)
    except RequirementsError as error:
        raise CourseFileError(name, str(error.problems[0]).rstrip(".")) from error


def _build(
    environments: Environments,
    name: str,
    requirements: Requirements,
    wheels: Path | None,
    *,
    quiet: bool,
) -> Built:
    try:
        if quiet or not sys.stderr.isatty():
            return build_environment(environments, requirements, wheels=wheels)
        with click.progressbar(length=_STEPS, label=f"Building {name}", file=sys.stderr) as shown:
            return build_environment(
                environments,
                requirements,
                wheels=wheels,
                on_progress=lambda share: shown.update(int(share * _STEPS) - shown.pos),
            )
    except BuildError as error:
        raise InvalidError(error.sentence) from error
    except OSError as error:
        raise UnavailableError(
            sentence("The environment cannot be built: %(problem)s", problem=str(error))
        ) from error


def _find(environments: Environments, name: str) -> Built:
    digits = name.removeprefix("sha256:")
    found = [
        one
        for one in environments.list()
        if one.environment.removeprefix("sha256:").startswith(digits)
    ]
    if len(found) != 1 or len(digits) < _LEAST:
        raise InvalidError(
            sentence(
                "%(name)s is not the name of one environment here; lms environment list shows "
                "them.",
                name=name,
            )
        )
    return found[0]


def _used(settings: Settings) -> dict[str, list[str]]:
    system = build_system(settings)
    try:
        with system.sessions() as session:
            return used_environments(session, today=clock.now().date())
    except SQLAlchemyError as error:
        raise UnavailableError(
            sentence("The database does not answer, so nobody knows what is in use.")
        ) from error
    finally:
        system.engine.dispose()


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_SHORT]


def _shape(one: Built) -> dict[str, object]:
    return {name: value for name, value in one.to_json().items() if name != "format"}
