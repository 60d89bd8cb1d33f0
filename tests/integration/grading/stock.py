"""The oracle: stock `nbgrader autograde`, run as its own program, and its gradebook read back."""

import json
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

#: nbgrader's current metadata schema.
_SCHEMA = 3


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
    return grade_course(course, {assignment: submissions}, *options)[assignment]


def grade_course(
    course: Path, submissions: Mapping[str, Submissions], *options: str, as_is: bool = False
) -> dict[str, Graded]:
    """Grade submissions by assignment with one batch `nbgrader autograde` over a copy of a course.

    Metadata of old schemas is brought up to date by `nbgrader update`, as nbgrader asks for, and
    twins are unmarked, unless the submissions are to be graded `as_is`.
    """
    with tempfile.TemporaryDirectory(prefix="stock-") as temporary:
        copy = Path(temporary, "course")
        copy.mkdir()
        (copy / "source").mkdir()
        for entry in (course / "source").iterdir():
            if entry.name in submissions:
                shutil.copytree(entry, copy / "source" / entry.name)
            elif entry.is_file():
                shutil.copy(entry, copy / "source")
        config = course / "nbgrader_config.py"
        if config.exists():
            shutil.copy(config, copy)
        for assignment, by_student in submissions.items():
            _hand_in(copy / "submitted", assignment, by_student, as_is=as_is)
        _add_kernels(copy)
        if not as_is and _has_old_metadata(copy):
            nbgrader(copy, "update", ".")
        (one,) = submissions if len(submissions) == 1 else ("*",)
        made = nbgrader(copy, "generate_assignment", one)
        assert made.returncode == 0, made.stderr
        nbgrader(copy, "autograde", one, "--Execute.startup_timeout=300", *options)
        return {name: _read(copy, name, list(found)) for name, found in submissions.items()}


def _hand_in(submitted: Path, assignment: str, by_student: Submissions, *, as_is: bool) -> None:
    for student, files in by_student.items():
        folder = submitted / student / assignment
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content if as_is else without_twins(name, content))


def without_twins(path: str, content: bytes) -> bytes:
    """Return a notebook in which a grade_id occurs once, at its last cell.

    That is what nbgrader's own DeduplicateIds wants; it leaves empty metadata behind instead,
    which nbgrader takes for an old schema, and stops the whole batch.
    """
    if not path.endswith(".ipynb"):
        return content
    notebook = json.loads(content)
    cells = [*notebook.get("cells", ())]
    for worksheet in notebook.get("worksheets", ()):
        cells += worksheet["cells"]
    seen: set[str] = set()
    twins = 0
    for cell in reversed(cells):
        nbgrader = cell["metadata"].get("nbgrader", {})
        if nbgrader.get("grade_id") in seen:
            del cell["metadata"]["nbgrader"]
            twins += 1
        elif nbgrader:
            seen.add(nbgrader["grade_id"])
    return json.dumps(notebook).encode() if twins else content


def _add_kernels(course: Path) -> None:
    """Install a Python kernel under every name that the course's sources ask for."""
    for path in (course / "source").rglob("*.ipynb"):
        name = json.loads(path.read_bytes())["metadata"].get("kernelspec", {}).get("name", "")
        folder = course.parent / "home" / ".local" / "share" / "jupyter" / "kernels" / name
        if name in {"", "python3"} or folder.exists():
            continue
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": name, "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))


def _has_old_metadata(course: Path) -> bool:
    return any(
        cell["metadata"]["nbgrader"].get("schema_version") != _SCHEMA
        for path in course.rglob("*.ipynb")
        for cell in json.loads(path.read_bytes()).get("cells", ())
        if cell["metadata"].get("nbgrader")
    )


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
