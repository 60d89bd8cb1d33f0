"""`lms bench grade`: grading against stock nbgrader, and against the cells alone."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from lms.cli.bench.checks import ALTERNATIONS
from lms.cli.bench.figures import figures_of, table_of
from lms.cli.bench.machine import describe, machine
from lms.cli.bench.measure import Bench
from lms.cli.bench.picture import draw
from lms.cli.bench.sets import CourseSet, given, made, own

_METHOD = (
    "CPU seconds of each side's whole process tree. nbgrader: one batch process at marginal cost, "
    "the same process over one submission taken off. Ours: a worker that lives on, no kept "
    "results, every notebook in a sandbox. Bare: a fork that executes the cells."
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--course",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Measure this course, with source/ and submitted/; its code runs without a sandbox too.",
)
@click.option(
    "--submissions", default=60, show_default=True, help="How many of each large assignment."
)
@click.option("--alternations", default=ALTERNATIONS, show_default=True, help="Turns of each side.")
@click.option("--image", type=click.Path(path_type=Path, dir_okay=False), help="Draw into an SVG.")
def grade(
    *, as_json: bool, course: Path | None, submissions: int, alternations: int, image: Path | None
) -> None:
    """Grade the same submissions with nbgrader and with this system, in turn.

    Without --course it makes one, and measures this project's own courses after it. It fails, with
    a sentence, when there are fewer than 50 different submissions or 5 alternations, when a run
    has no sandbox, when a known second of CPU is not metered, or when one score differs.
    """
    with ExitStack() as stack:
        bench = stack.enter_context(Bench.open(_tell))
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-course-")))
        courses = {
            found.name: {
                measured.name: figures_of(measured)
                for measured in bench.measure(found, alternations)
            }
            for found in _sets(root, course, submissions)
        }
        report = _report(bench, courses)
    if image is not None:
        every = {name: found for named in courses.values() for name, found in named.items()}
        draw(image, every, describe(report["machine"]).splitlines()[0])
    click.echo(json.dumps(report, indent=2) if as_json else _as_text(report))


def _tell(words: str) -> None:
    click.echo(words, err=True)


def _sets(root: Path, course: Path | None, submissions: int) -> list[CourseSet]:
    if course is not None:
        return [given(course.resolve(), submissions)]
    sets = [made(root / "made", submissions)]
    courses = Path("courses")
    if courses.is_dir():
        sets.append(own(courses.resolve(), root / "own", submissions))
    return sets


def _report(bench: Bench, courses: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    return {
        "machine": machine(),
        "method": _METHOD,
        "a_known_second_metered_as": bench.seconds,
        "courses": courses,
    }


def _as_text(report: dict[str, Any]) -> str:
    parts = []
    for name, assignments in report["courses"].items():
        parts.append(f"Course: {name}\n{table_of(assignments)}")
        compared = sum(found["cells_compared"] for found in assignments.values())
        different = sum(found["score_differences"] for found in assignments.values())
        graded = sum(found["submissions"] for found in assignments.values())
        verified = sum(
            found["submissions"] * found["verified_share"] for found in assignments.values()
        )
        parts.append(
            f"{graded} submissions, {verified:.0f} of them verified; "
            f"{compared} cells compared, {different} different."
        )
    return "\n\n".join([*parts, report["method"], describe(report["machine"])])
