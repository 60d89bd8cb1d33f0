"""How `lms bench grade` measures: nbgrader and ours in turn, over the same submissions.

Every alternation takes another part of the submissions. nbgrader grades it with one batch process
and its start is taken off: the same process over one of them, measured in the same alternation.
Ours are two workers, one that scores and one that also verifies; neither has seen the part before,
so that what they keep of pages helps as little as it does in a class.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lms.cli.bench.checks import (
    ALTERNATIONS,
    SUBMISSIONS,
    check_alternations,
    check_engine,
    check_scores,
    check_size,
    count_differences,
)
from lms.cli.bench.children import Child
from lms.cli.bench.peer import Batch, Nbgrader
from lms.cli.bench.sets import Assignment, CourseSet
from lms.outposts.runner.release import build_release

#: Far from what honest cells take, so that a busy machine scores as an idle one.
CELL_SECONDS = 120
MODES = ("scored", "verified")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One alternation over one assignment: CPU seconds a submission.

    By kind of submission: "all", "clean" where no cell raises, "erring" where one does; a kind
    that does not occur is left out.
    """

    submissions: int
    nbgrader: float
    bare: Mapping[str, float]
    #: By mode.
    ours: Mapping[str, Mapping[str, float]]


@dataclass(slots=True, kw_only=True)
class Measured:
    """What was measured of one assignment."""

    name: str
    submissions: int
    turns: list[Turn] = field(default_factory=list)
    different: int = 0
    compared: int = 0
    #: Submissions whose every notebook was verified.
    verified: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The submissions of one alternation."""

    assignment: Assignment
    students: list[str]
    survey: Mapping[str, Mapping[str, Any]]
    limit: Path
    peer: Nbgrader
    ours_first: bool

    def split(self) -> tuple[list[str], list[str]]:
        """Return the students whose cells raise nothing, and the others."""
        erring = [student for student in self.students if self.survey[student]["has_errors"]]
        return [student for student in self.students if student not in erring], erring

    def batch(self) -> tuple[float, Batch]:
        """Grade with nbgrader; return its CPU seconds a submission, its start taken off."""
        folders = {student: self.assignment.submissions[student] for student in self.students}
        start = self.peer.grade({self.students[0]: folders[self.students[0]]})
        whole = self.peer.grade(folders)
        return (whole.cpu_seconds - start.cpu_seconds) / (len(folders) - 1), whole


class Bench:
    """The two sides and the limit, ready to take turns."""

    def __init__(self, folder: Path, *, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._stack = ExitStack()

    @classmethod
    @contextlib.contextmanager
    def open(cls, tell: Callable[[str], None]) -> Iterator["Bench"]:
        """Start what lives through the benchmark, in a folder of its own."""
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            bench = cls(Path(name), tell=tell)
            with bench._stack:
                bench._start()
                yield bench

    def _start(self) -> None:
        self._tell("Starting both workers and the limit")
        self.workers = {mode: self._child("lms.cli.bench.engine", f"{mode}.log") for mode in MODES}
        self._bare = self._child("lms.cli.bench.bare", "bare.log")
        #: What a second of CPU in a sandbox was metered as, by mode.
        self.seconds = {
            mode: check_engine(worker, self._folder / f"burner-{mode}")
            for mode, worker in self.workers.items()
        }

    def _child(self, module: str, log: str) -> Child:
        return self._stack.enter_context(Child(module, self._folder / log))

    def measure(
        self, course: CourseSet, alternations: int, *, minimum: int = SUBMISSIONS
    ) -> list[Measured]:
        """Measure every assignment of `course`; raises UntrueError."""
        check_alternations(alternations, minimum=min(ALTERNATIONS, minimum))
        check_size(course, alternations, minimum=minimum)
        return [
            self._assignment(course, assignment, alternations) for assignment in course.assignments
        ]

    def _assignment(self, course: CourseSet, assignment: Assignment, alternations: int) -> Measured:
        self._tell(f"{course.name}/{assignment.name}: looking at every submission once")
        survey = self._surveyed(assignment)
        peer = Nbgrader(self._folder / course.name / assignment.name, assignment.source)
        limit = self._folder / course.name / f"{assignment.name}-files"
        _write_data(assignment.source, limit)
        measured = Measured(name=assignment.name, submissions=len(assignment.submissions))
        students = list(assignment.submissions)
        for number in range(alternations):
            self._tell(f"{course.name}/{assignment.name}: turn {number + 1} of {alternations}")
            part = _Part(
                assignment=assignment,
                students=students[number::alternations],
                survey=survey,
                limit=limit,
                peer=peer,
                ours_first=bool(number % 2),
            )
            self._turn(part, measured)
        check_scores(measured.different, measured.compared)
        return measured

    def _surveyed(self, assignment: Assignment) -> dict[str, dict[str, Any]]:
        """Grade everything in a worker that is then ended, to know whose cells raise."""
        with Child("lms.cli.bench.engine", self._folder / "survey.log") as worker:
            job = _job(assignment, list(assignment.submissions), verify=False)
            return dict(worker.ask({**job, "sources": True})["graded"])

    def _turn(self, part: "_Part", measured: Measured) -> None:
        theirs = None if part.ours_first else part.batch()
        graded = {mode: self._graded(part, mode) for mode in MODES}
        cost, batch = theirs or part.batch()
        for mode in MODES:
            different, compared = count_differences(batch.scores, graded[mode]["graded"])
            measured.different += different
            measured.compared += compared
        measured.verified += sum(
            set(facts["integrity"]) == {"verified"}
            for facts in graded["verified"]["graded"].values()
        )
        limits = [self._limit(part, group) for group in part.split()]
        measured.turns.append(_as_turn(part, cost, graded, limits))

    def _graded(self, part: "_Part", mode: str) -> dict[str, Any]:
        """Grade those without errors and those with, apart, and put both together."""
        seconds: list[float] = []
        graded: dict[str, Any] = {}
        for group in part.split():
            job = _job(part.assignment, group, verify=mode == "verified")
            answer = self.workers[mode].ask(job) if group else {}
            seconds.append(float(answer.get("cpu_seconds", 0.0)))
            graded |= answer.get("graded", {})
        return {"cpu_seconds": seconds, "graded": graded}

    def _limit(self, part: "_Part", students: list[str]) -> float:
        notebooks = [cells for student in students for cells in part.survey[student]["sources"]]
        job = {"folder": str(part.limit), "notebooks": notebooks}
        return float(self._bare.ask(job)["cpu_seconds"]) if notebooks else 0.0


def _job(assignment: Assignment, students: list[str], *, verify: bool) -> dict[str, Any]:
    return {
        "source": str(assignment.source),
        "submissions": {student: str(assignment.submissions[student]) for student in students},
        "verify": verify,
        "cell_seconds": CELL_SECONDS,
    }


def _write_data(source: Path, folder: Path) -> None:
    """Write what lies beside the notebooks."""
    folder.mkdir(parents=True)
    for name, content in build_release(source).data_files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _as_turn(
    part: _Part, nbgrader: float, graded: Mapping[str, dict[str, Any]], bare: list[float]
) -> Turn:
    sizes = [len(group) for group in part.split()]
    return Turn(
        submissions=sum(sizes),
        nbgrader=nbgrader,
        bare=_by_kind(bare, sizes),
        ours={mode: _by_kind(graded[mode]["cpu_seconds"], sizes) for mode in MODES},
    )


def _by_kind(seconds: list[float], sizes: list[int]) -> dict[str, float]:
    kinds = {"all": (sum(seconds), sum(sizes))}
    kinds |= zip(("clean", "erring"), zip(seconds, sizes, strict=True), strict=True)
    return {kind: spent / size for kind, (spent, size) in kinds.items() if size}
