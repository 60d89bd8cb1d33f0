"""`lms grade`: grade submissions against an instructor's folder, outside any database."""

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from lms.cli.launching import launcher_in
from lms.cli.verify import asked, verify, verify_options
from lms.foundation.errors import InvalidError, UnavailableError
from lms.foundation.settings import load_settings
from lms.outposts.broker.launcher import KernelLauncher, SandboxUnavailableError
from lms.outposts.runner.errors import KernelStartError, ReleaseError, RunnerError
from lms.outposts.runner.grade import NotebookOutcome, grade_submission, prepared
from lms.outposts.runner.source import AssignmentSource, load_source
from lms.outposts.runner.submissions import FoundSubmission, find_submissions
from lms.protocol.grading import Limits
from lms.protocol.sentences import sentence

Graded = tuple[FoundSubmission, tuple[NotebookOutcome, ...]]


@click.command()
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.argument("submission", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON.")
@click.option(
    "--feedback",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write feedback to DIR/STUDENT/ASSIGNMENT/NOTEBOOK.html.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the run's random numbers.")
@verify_options
def grade(
    source: Path | None,
    submission: Path | None,
    *,
    as_json: bool,
    feedback: Path | None,
    seed: int,
) -> None:
    """Grade SUBMISSION against SOURCE, an instructor's folder such as source/ps1.

    SUBMISSION is one submission's folder, nbgrader's submitted/ or the course's root. Nothing is
    read from or written to a database. The exit status is 0 when every submission was processed,
    whatever its score.

    With --verify RECEIPT instead, checks the receipt's signature, compares source and submission
    with the digests it names, grades again and compares cell by cell. The exit status is 0 only
    when all of it holds.
    """
    wanted = asked()
    if wanted.receipt is not None:
        verify(wanted, wanted.receipt, as_json=as_json)
        return
    if source is None or submission is None:
        raise click.UsageError("SOURCE and SUBMISSION are needed, or --verify RECEIPT.")
    try:
        assignment = load_source(source)
        prepared(assignment)
        found = find_submissions(submission, assignment.name)
    except RunnerError as error:
        raise InvalidError(error.sentence) from error
    results: list[Graded] = []
    launcher = launcher_in(source, load_settings())
    grading = _grade_all(assignment, found, seed, launcher)
    for graded in _with_progress(grading, len(found), quiet=as_json):
        results.append(graded)
        if feedback is not None:
            _write_feedback(feedback, assignment.name, graded)
    if as_json:
        click.echo(json.dumps({"results": _json(results)}, ensure_ascii=False, indent=2))
    else:
        _print_table(results)


def _grade_all(
    assignment: AssignmentSource, found: list[FoundSubmission], seed: int, launcher: KernelLauncher
) -> Iterator[Graded]:
    """Grade in parallel, one run a core; results come in the order of `found`."""

    def grade_one(submission: FoundSubmission) -> Graded:
        return submission, grade_submission(
            assignment, submission.content, limits=Limits(), launcher=launcher, seed=seed
        )

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        try:
            yield from pool.map(grade_one, found)
        except SandboxUnavailableError as error:
            pool.shutdown(cancel_futures=True)
            raise UnavailableError(
                sentence("No sandbox can be started here: %(problem)s", problem=str(error)),
            ) from error
        except (KernelStartError, ReleaseError) as error:
            pool.shutdown(cancel_futures=True)
            raise UnavailableError(error.sentence) from error


def _with_progress(graded: Iterator[Graded], count: int, *, quiet: bool) -> Iterator[Graded]:
    if quiet or count < 2 or not sys.stderr.isatty():  # noqa: PLR2004 (one is no progress)
        yield from graded
        return
    with click.progressbar(graded, length=count, label="Grading", file=sys.stderr) as shown:
        yield from shown


def _json(results: list[Graded]) -> list[dict[str, object]]:
    return [
        {"student": submission.student, **outcome.result.to_json()}
        for submission, outcomes in results
        for outcome in outcomes
    ]


def _write_feedback(folder: Path, assignment: str, graded: Graded) -> None:
    submission, outcomes = graded
    for outcome in outcomes:
        if outcome.feedback_html is not None:
            target = folder / submission.student / assignment / f"{outcome.result.notebook}.html"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(outcome.feedback_html)


def _print_table(results: list[Graded]) -> None:
    rows = [
        (
            submission.student,
            outcome.result.notebook,
            f"{outcome.result.score:g} / {outcome.result.max_score:g}",
            outcome.result.status.value.replace("_", " "),
            outcome.result.integrity.value,
            str(outcome.result.reason or ""),
        )
        for submission, outcomes in results
        for outcome in outcomes
    ]
    heads = ("student", "notebook", "score", "status", "integrity", "")
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads) - 1)]
    for row in [heads, *rows]:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*padded, row[-1]]).rstrip())
