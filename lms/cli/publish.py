"""`lms course import` and `lms course publish`: course files become rows and releases."""

import json
from pathlib import Path

import click

from lms.bootstrap import System, build
from lms.catalogue.loading import Loaded, import_tree
from lms.cli.checking import check_path
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.foundation.settings import load_settings
from lms.identity.scopes import SYSTEM
from lms.migrations.run import upgrade
from lms.protocol.sentences import sentence


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print what was loaded as JSON.")
def import_courses(path: Path, *, as_json: bool) -> None:
    """Load PATH, a course folder or a folder of them, without checking it first."""
    _print(_load(build(load_settings()), path), as_json=as_json)


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print what was published as JSON.")
def publish(path: Path, *, as_json: bool) -> None:
    """Check PATH, a course folder, and publish immutable releases of its assignments.

    The same files published again change nothing. An error in the check stops it.
    """
    settings = load_settings()
    report = check_path(path, settings)
    if not report.ok:
        first = next(iter(report.errors()), None)
        raise InvalidError(
            sentence(
                "%(path)s was not published: %(problem)s. Run lms course check for all problems.",
                path=str(path),
                problem=str(first.message).rstrip(".") if first else "the check failed",
            )
        )
    _print(_load(build(settings), path), as_json=as_json)


def _load(system: System, path: Path) -> Loaded:
    upgrade(system.engine)
    with transaction(system.sessions) as session:
        return import_tree(session, system.blobs, path, actor=SYSTEM, now=clock.now())


def _print(loaded: Loaded, *, as_json: bool) -> None:
    releases = {
        name: {"number": release.number, "digest": release.digest, "points": release.points}
        for name, release in loaded.releases.items()
    }
    if as_json:
        document = {
            "programmes": loaded.programmes,
            "courses": loaded.courses,
            "releases": releases,
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    click.echo(f"{len(loaded.courses)} courses, {len(loaded.programmes)} programmes")
    for name, release in loaded.releases.items():
        click.echo(
            f"  {name}: release {release.number}, {release.points:g} points, {release.digest}"
        )
