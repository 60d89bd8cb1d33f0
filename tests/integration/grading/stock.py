"""The oracle: stock `nbgrader autograde`, run as its own program, and its gradebook read back."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission
from lms.outposts.runner.source import load_source
from lms.protocol.grading import Limits

Submissions = Mapping[str, Mapping[str, bytes]]


class Key(NamedTuple):
    student: str
    notebook: str
    grade_id: str


class Score(NamedTuple):
    auto_score: float | None
    max_score: float
    needs_manual: bool
    comment: str | None


class Graded(NamedTuple):
    #: Every graded cell of every student.
    cells: dict[Key, Score]
    #: Score and maximum of every notebook.
    totals: dict[tuple[str, str], tuple[float, float]]


def nbgrader(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run stock nbgrader in a course folder, with a home of its own."""
    folder = Path(sys.executable).parent
    home = course.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [folder / "nbgrader", *arguments],
        cwd=course,
        env={
            "PATH": f"{folder}:/usr/bin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "JUPYTER_PLATFORM_DIRS": "0",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def grade_stock(course: Path, assignment: str, submissions: Submissions, *options: str) -> Graded:
    """Grade copies of `submissions` with stock nbgrader; the course's own folder stays as it is."""
    with tempfile.TemporaryDirectory(prefix="stock-") as temporary:
        copy = Path(temporary, "course")
        copy.mkdir()
        shutil.copytree(course / "source", copy / "source")
        config = course / "nbgrader_config.py"
        if config.exists():
            shutil.copy(config, copy)
        made = nbgrader(copy, "generate_assignment", assignment)
        assert made.returncode == 0, made.stderr
        for student, files in submissions.items():
            folder = copy / "submitted" / student / assignment
            folder.mkdir(parents=True)
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        nbgrader(copy, "autograde", assignment, *options)
        return _read(copy, assignment, list(submissions))


def _read(course: Path, assignment: str, students: list[str]) -> Graded:
    from nbgrader.api import Gradebook, MissingEntry

    graded = Graded({}, {})
    # A Gradebook asks alembic for a version only when the database is new; this one is not.
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        for student in students:
            try:
                submitted = gradebook.find_submission(assignment, student)
            except MissingEntry:
                continue
            for notebook in submitted.notebooks:
                comments = {comment.name: comment.comment for comment in notebook.comments}
                graded.totals[student, notebook.name] = (notebook.score, notebook.max_score)
                for grade in notebook.grades:
                    graded.cells[Key(student, notebook.name, grade.name)] = Score(
                        grade.auto_score,
                        grade.max_score,
                        bool(grade.needs_manual_grade),
                        comments.get(grade.name),
                    )
    return graded


def outcomes_of(
    course: Path,
    assignment: str,
    submissions: Submissions,
    launcher: KernelLauncher,
    limits: Limits | None = None,
) -> dict[str, tuple[NotebookOutcome, ...]]:
    """Grade `submissions` with ours."""
    source = load_source(course / "source" / assignment)

    def grade(files: Mapping[str, bytes]) -> tuple[NotebookOutcome, ...]:
        return grade_submission(source, dict(files), limits=limits or Limits(), launcher=launcher)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(submissions, pool.map(grade, submissions.values()), strict=True))


def as_graded(outcomes: Mapping[str, tuple[NotebookOutcome, ...]]) -> Graded:
    """Bring our results into the oracle's shape."""
    graded = Graded({}, {})
    for student, notebooks in outcomes.items():
        for result in (outcome.result for outcome in notebooks):
            graded.totals[student, result.notebook] = (result.score, result.max_score)
            for cell in result.cells:
                graded.cells[Key(student, result.notebook, cell.grade_id)] = Score(
                    cell.auto_score, cell.max_score, cell.needs_manual, cell.comment
                )
    return graded
