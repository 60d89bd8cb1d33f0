"""`lms course`: check a course folder; its other commands stand in files of their own."""

import json
import sys
from pathlib import Path

import click

from lms.cli.checking import check_path
from lms.cli.held import held, practice
from lms.cli.publish import import_courses, publish
from lms.cli.regrade import regrade
from lms.foundation.errors import UnavailableError
from lms.foundation.settings import load_settings
from lms.outposts.broker.launcher import SandboxUnavailableError
from lms.outposts.runner.check import (
    QUICK,
    THOROUGH,
    AssignmentReport,
    Effort,
    find_assignments,
)
from lms.outposts.runner.report import CourseReport, Progress, table_of_tests
from lms.protocol.sentences import sentence


@click.group()
def course() -> None:
    """Check, import and publish courses."""


course.add_command(import_courses)
course.add_command(publish)
course.add_command(held)
course.add_command(practice)
course.add_command(regrade)


@course.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--red-team", is_flag=True, help="Try many more wrong answers; takes minutes.")
def check(path: Path, *, as_json: bool, red_team: bool) -> None:
    """Check PATH, any nbgrader course folder or one assignment's folder.

    Runs the reference solutions, the unanswered release, wrong answers and known cheats in
    sandboxes. The exit status is 1 when something has to be mended.
    """
    try:
        report = _checked(path, effort=THOROUGH if red_team else QUICK, quiet=as_json)
    except SandboxUnavailableError as error:
        raise UnavailableError(
            sentence("No sandbox can be started here: %(problem)s", problem=str(error)),
        ) from error
    if as_json:
        click.echo(json.dumps(report.to_json(), ensure_ascii=False, indent=2))
    else:
        for problem in report.problems:
            click.echo(f"{problem.severity}: {problem.where}: {problem.message}")
        for assignment in report.assignments:
            _print(assignment)
    sys.exit(0 if report.ok else 1)


def _checked(path: Path, *, effort: Effort, quiet: bool) -> CourseReport:
    settings = load_settings()
    count = len(find_assignments(path))
    if quiet or not count or not sys.stderr.isatty():
        return check_path(path, settings, effort=effort)
    progress = Progress(count)
    with click.progressbar(length=progress.length, label="Checking", file=sys.stderr) as shown:
        return check_path(
            path,
            settings,
            effort=effort,
            on_progress=lambda name, share: shown.update(progress.more(name, share)),
            on_checked=lambda report: shown.update(progress.done(report.name)),
        )


def _print(report: AssignmentReport) -> None:
    click.echo(
        f"{report.name}: notebooks {len(report.notebooks)}, graded cells {report.cells}, "
        f"points {report.points:g} ({report.manual_points:g} by hand)"
    )
    if report.reference_score is not None and report.blank_score is not None:
        machine = report.points - report.manual_points
        click.echo(
            f"  reference {report.reference_score:g} of {machine:g}, "
            f"unanswered {report.blank_score:g}"
        )
    for line in table_of_tests(report):
        click.echo(f"  {line}")
    for problem in report.problems:
        click.echo(f"  {problem.severity}: {problem.where}: {problem.message}")
    if not report.problems:
        click.echo("  no problems")
