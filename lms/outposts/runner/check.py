"""Checking a course folder: what an instructor should know before students do."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lms.outposts.broker.launcher import KernelLauncher, SandboxUnavailableError
from lms.outposts.runner.errors import KernelStartError, ReleaseError
from lms.outposts.runner.files import SUFFIX, is_ignored
from lms.outposts.runner.grade import NotebookOutcome, prepared
from lms.outposts.runner.lint import DOUBLED, MISSING, lint, lint_release
from lms.outposts.runner.redteam.attack import Means, Target, red_team, timed_grade
from lms.outposts.runner.redteam.leaks import find_leaks
from lms.outposts.runner.redteam.trials import QUICK, THOROUGH, Effort
from lms.outposts.runner.release import BuiltRelease
from lms.outposts.runner.report import AssignmentReport, CourseReport, Problem
from lms.outposts.runner.source import AssignmentSource, load_source
from lms.protocol.grading import Limits, RunStatus
from lms.protocol.sentences import Sentence, sentence

__all__ = [
    "QUICK",
    "THOROUGH",
    "AssignmentReport",
    "CourseReport",
    "Effort",
    "Problem",
    "check_course",
    "find_assignments",
]

_RAN = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL})
_CUT = 200


def check_course(
    path: Path,
    launcher: KernelLauncher,
    *,
    limits: Limits | None = None,
    effort: Effort | None = QUICK,
    on_checked: Callable[[AssignmentReport], None] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> CourseReport:
    """Check every assignment of the course, or the one assignment, at `path`.

    Works on any nbgrader course folder. Runs reference, blank and wrong notebooks in sandboxes;
    raises SandboxUnavailableError where there are none, and nothing for whatever is in the folder.
    Nothing is attacked without `effort`. `on_progress` hears an assignment's folder and how much
    more of its attack is done, 1 in all.
    """
    folders = find_assignments(path)
    if not folders:
        problem = _error(
            path.name, sentence("No assignment was found in %(path)s.", path=str(path))
        )
        return CourseReport(assignments=(AssignmentReport(name=path.name, problems=(problem,)),))

    workers = os.cpu_count() or 1
    # Assignments wait for runs and never the other way round, so two pools cannot lock each other.
    with (
        ThreadPoolExecutor(max_workers=workers) as runs,
        ThreadPoolExecutor(max_workers=workers) as pool,
    ):

        def check(folder: Path) -> AssignmentReport:
            progress = partial(on_progress, folder.name) if on_progress is not None else None
            means = (
                Means(launcher=launcher, pool=runs, effort=effort, on_progress=progress)
                if effort is not None
                else None
            )
            report = check_assignment(folder, launcher, limits or Limits(), means)
            if on_checked is not None:
                on_checked(report)
            return report

        return CourseReport(assignments=tuple(pool.map(check, folders)))


def find_assignments(path: Path) -> list[Path]:
    """Return the assignment folders at `path`.

    `path` is a course, a folder of courses, a course's `source` folder, or one assignment.
    """
    if not path.is_dir():
        return []
    if (path / "source").is_dir():
        return _subfolders(path / "source")
    if path.name != "source" and _has_notebook(path):
        return [path]
    below = _subfolders(path)
    courses = [folder for folder in below if (folder / "source").is_dir()]
    if courses:
        return [found for course in courses for found in find_assignments(course)]
    return [folder for folder in below if _has_notebook(folder)]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and not is_ignored(entry.name) and not entry.name.startswith(".")
    )


def _has_notebook(folder: Path) -> bool:
    return any(entry.name.endswith(SUFFIX) for entry in folder.iterdir())


def check_assignment(
    folder: Path, launcher: KernelLauncher, limits: Limits, means: Means | None = None
) -> AssignmentReport:
    """Check one assignment's folder, and attack it with `means`.

    Raises SandboxUnavailableError, and nothing for whatever is in the folder.
    """
    report = AssignmentReport(name=folder.resolve().name)
    try:
        source = load_source(folder)
        report = replace(report, name=source.name, problems=tuple(lint(source)))
        report, target = _check_built(report, source, launcher, limits)
        return _attacked(report, target, means)
    except ReleaseError as error:
        return _with(report, [_error(report.name, error.sentence)])
    except SandboxUnavailableError:
        raise
    except KernelStartError as error:
        return _with(report, [_error(report.name, error.sentence)])
    except Exception as error:  # noqa: BLE001 (no folder may stop the check of the others)
        unknown = sentence(
            "The assignment could not be checked: %(problem)s",
            problem=f"{type(error).__name__}: {error}"[:_CUT],
        )
        return _with(report, [_error(report.name, unknown)])


def _with(report: AssignmentReport, problems: Iterable[Problem]) -> AssignmentReport:
    """Add problems, each said once: a lint and a failed build may find the same."""
    said = list(report.problems)
    for problem in problems:
        repeated = str(problem.message).partition(":")[2].strip()
        if problem not in said and not any(str(p.message) == repeated for p in said):
            said.append(problem)
    return replace(report, problems=tuple(said))


def _check_built(
    report: AssignmentReport, source: AssignmentSource, launcher: KernelLauncher, limits: Limits
) -> tuple[AssignmentReport, Target | None]:
    if any(problem.message.template == DOUBLED for problem in report.problems):
        return report, None  # nbgrader would say the same without the name
    release = prepared(source)
    report = replace(
        _with(report, [*lint_release(release), *find_leaks(source, release)]),
        notebooks=tuple(facts.name for facts in release.notebooks),
        cells=sum(facts.cells for facts in release.notebooks),
        points=release.points,
        manual_points=release.manual_points,
    )
    reference, seconds = timed_grade(source, release.instructor_files, limits, launcher)
    blank, _ = timed_grade(source, release.student_files, limits, launcher)
    report = _with(report, [*_judge_reference(reference), *_judge_blank(release, blank)])
    report = replace(
        report,
        reference_score=sum(outcome.result.score for outcome in reference),
        blank_score=sum(outcome.result.score for outcome in blank),
    )
    report = _soften(report) if _is_full(reference) else report
    return report, Target(
        source=source,
        release=release,
        reference=reference,
        blank=blank,
        reference_seconds=seconds,
        limits=limits,
    )


def _attacked(
    report: AssignmentReport, target: Target | None, means: Means | None
) -> AssignmentReport:
    if target is None or means is None:
        return report
    cells, problems = red_team(target, means)
    return replace(_with(report, problems), tests=tuple(cells))


def _is_full(outcomes: Iterable[NotebookOutcome]) -> bool:
    return not any(True for _ in _judge_scores(outcomes))


def _soften(report: AssignmentReport) -> AssignmentReport:
    """Turn missing files into warnings when the reference gets along without them."""
    return replace(
        report,
        problems=tuple(
            replace(problem, severity="warning") if problem.message.template == MISSING else problem
            for problem in report.problems
        ),
    )


def _judge_reference(outcomes: tuple[NotebookOutcome, ...]) -> Iterator[Problem]:
    yield from _judge_scores(outcomes)
    for outcome in outcomes:
        for cell in _test_cells(outcome):
            yield from _judge_outputs(outcome.result.notebook, cell)


def _judge_scores(outcomes: Iterable[NotebookOutcome]) -> Iterator[Problem]:
    """Yield the cells for which the reference solution does not get all points."""
    for outcome in outcomes:
        result = outcome.result
        if result.status not in _RAN and result.reason is not None:
            yield _error(
                result.notebook,
                sentence(
                    "The reference solution does not run: %(problem)s", problem=str(result.reason)
                ),
            )
            continue
        errors = {_id_of(cell): _first_error(cell) for cell in _test_cells(outcome)}
        for graded in result.cells:
            if graded.needs_manual or graded.grade_id not in errors:
                continue
            if graded.auto_score is None or graded.auto_score < graded.max_score:
                yield _error(
                    f"{result.notebook}:{graded.grade_id}",
                    sentence(
                        "The reference solution scores %(score)s of %(points)s points.%(problem)s",
                        score=f"{graded.auto_score or 0:g}",
                        points=f"{graded.max_score:g}",
                        problem=errors[graded.grade_id],
                    ),
                )


def _judge_outputs(notebook: str, cell: dict[str, Any]) -> Iterator[Problem]:
    """Yield outputs of a reference's test cell that make its score fragile."""
    where = f"{notebook}:{_id_of(cell)}"
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and output["name"] == "stderr":
            yield Problem(
                severity="warning",
                where=where,
                message=sentence("The test writes to stderr, which nbgrader takes as a failure."),
            )
        elif output["output_type"] == "execute_result" and not _is_number(output):
            yield Problem(
                severity="warning",
                where=where,
                message=sentence(
                    "The test's last line has a value that is no number; nbgrader gives full marks"
                    " for any such value."
                ),
            )


def _judge_blank(release: BuiltRelease, outcomes: tuple[NotebookOutcome, ...]) -> Iterator[Problem]:
    for outcome in outcomes:
        for graded in outcome.result.cells:
            if graded.auto_score:
                yield Problem(
                    severity="warning",
                    where=f"{outcome.result.notebook}:{graded.grade_id}",
                    message=sentence(
                        "An unanswered notebook gets %(score)s of %(points)s points here.",
                        score=f"{graded.auto_score:g}",
                        points=f"{graded.max_score:g}",
                    ),
                )
    if (
        outcomes
        and release.points
        and all(outcome.result.score >= outcome.result.max_score for outcome in outcomes)
    ):
        yield _error(release.name, sentence("An unanswered submission gets full marks."))


def _test_cells(outcome: NotebookOutcome) -> list[dict[str, Any]]:
    if outcome.autograded is None:
        return []
    cells: list[dict[str, Any]] = json.loads(outcome.autograded)["cells"]
    return [
        cell
        for cell in cells
        if cell["cell_type"] == "code"
        and cell["metadata"].get("nbgrader", {}).get("grade")
        and not cell["metadata"]["nbgrader"].get("solution")
    ]


def _id_of(cell: dict[str, Any]) -> str:
    return str(cell["metadata"]["nbgrader"]["grade_id"])


def _first_error(cell: dict[str, Any]) -> str:
    for output in cell["outputs"]:
        if output["output_type"] == "error":
            return f" {output['ename']}: {output['evalue']}"[:_CUT].rstrip(": \n")
        if output["output_type"] == "stream" and output["name"] == "stderr":
            lines = str(output["text"]).strip().splitlines()
            return f" stderr: {lines[-1] if lines else ''}"[:_CUT]
    return ""


def _is_number(output: dict[str, Any]) -> bool:
    try:
        float(output["data"].get("text/plain", ""))
    except ValueError:
        return False
    return True


def _error(where: str, message: Sentence) -> Problem:
    return Problem(severity="error", where=where, message=message)
