"""Stock nbgrader's side of `lms bench grade`: one batch `nbgrader autograde` process."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from lms.foundation.errors import UnavailableError
from lms.protocol.sentences import sentence

#: A cell's score as both sides have it: automatic score, points, whether a person has to, remark.
Score = tuple[float | None, float, bool, str | None]
#: By notebook and grade_id.
Scores = dict[str, Score]
#: One thread in numeric libraries, as in our sandboxes.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
_CELLS = """
SELECT submitted_assignment.student_id, notebook.name, base_cell.name, grade.auto_score,
       coalesce(grade_cells.max_score, task_cells.max_score), grade.needs_manual_grade,
       (SELECT coalesce(comment.manual_comment, comment.auto_comment) FROM comment
        WHERE comment.notebook_id = submitted_notebook.id
          AND comment.cell_id IN (SELECT other.id FROM base_cell AS other
                                  WHERE other.notebook_id = notebook.id
                                    AND other.name = base_cell.name))
FROM grade
JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
JOIN notebook ON notebook.id = submitted_notebook.notebook_id
JOIN base_cell ON base_cell.id = grade.cell_id
LEFT JOIN grade_cells ON grade_cells.id = base_cell.id
LEFT JOIN task_cells ON task_cells.id = base_cell.id
"""


class Batch(NamedTuple):
    """What a batch cost, its start included, and what it scored, by student."""

    cpu_seconds: float
    wall_seconds: float
    scores: dict[str, Scores]


class Nbgrader:
    """A course folder of nbgrader's own, where an assignment's batches are run."""

    def __init__(self, folder: Path, source: Path) -> None:
        self._folder = folder
        self._assignment = source.name
        (folder / "source").mkdir(parents=True)
        shutil.copytree(source, folder / "source" / source.name)
        self._run("generate_assignment", source.name)
        self._blank = (folder / "gradebook.db").read_bytes()

    def grade(self, submissions: Mapping[str, Path]) -> Batch:
        """Grade `submissions` with one process that starts from an empty gradebook."""
        for name in ("submitted", "autograded"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        (self._folder / "gradebook.db").write_bytes(self._blank)
        for student, folder in submissions.items():
            shutil.copytree(folder, self._folder / "submitted" / student / self._assignment)
        cpu, wall = self._run("autograde", self._assignment)
        return Batch(cpu, wall, self._scores(submissions))

    def _run(self, *words: str) -> tuple[float, float]:
        folder = Path(sys.executable).parent
        home = self._folder.parent / "home"
        home.mkdir(exist_ok=True)
        program = str(folder / "nbgrader")
        metered = [sys.executable, "-m", "lms.cli.bench.metered", program, *words]
        done = subprocess.run(
            metered,
            cwd=self._folder,
            env={
                "PATH": f"{folder}:/usr/bin:/bin",
                "PYTHONPATH": os.pathsep.join(sys.path),
                "HOME": str(home),
                "LANG": "C.UTF-8",
                "TZ": "UTC",
                "JUPYTER_PLATFORM_DIRS": "0",
                **ONE_THREAD,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UnavailableError(
                sentence(
                    "nbgrader stopped: %(problem)s",
                    problem=(done.stderr.strip().splitlines() or ["no word"])[-1],
                )
            )
        cpu, wall = done.stdout.split()[-2:]
        return float(cpu), float(wall)

    def _scores(self, students: Iterable[str]) -> dict[str, Scores]:
        scores: dict[str, Scores] = {student: {} for student in students}
        with sqlite3.connect(self._folder / "gradebook.db") as database:
            rows = database.execute(_CELLS).fetchall()
        database.close()
        for student, notebook, cell, auto, points, manual, comment in rows:
            scores[student][f"{notebook}/{cell}"] = (auto, points, bool(manual), comment)
        return scores
