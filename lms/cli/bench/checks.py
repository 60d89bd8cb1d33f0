"""What must be true of a benchmark of grading before any of its figures is printed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lms.cli.bench.children import Child
from lms.cli.bench.course import write_burner
from lms.cli.bench.peer import Scores
from lms.cli.bench.sets import CourseSet
from lms.foundation.errors import LmsError
from lms.protocol.sentences import sentence

SUBMISSIONS = 50
ALTERNATIONS = 5
#: The meter may be this far from a known second.
_SECOND = (0.9, 1.25)


class UntrueError(LmsError):
    """The benchmark would say something that is not so; nothing is printed but why."""


def check_size(course: CourseSet, alternations: int, *, minimum: int) -> None:
    """Raise UntrueError unless there is enough to measure."""
    if course.distinct < minimum:
        raise UntrueError(
            sentence(
                "%(course)s has %(count)s different submissions; at least %(minimum)s are needed.",
                course=course.name,
                count=course.distinct,
                minimum=minimum,
            )
        )
    for assignment in course.assignments:
        if len(assignment.submissions) < 2 * alternations:
            raise UntrueError(
                sentence(
                    "%(assignment)s has too few submissions for %(count)s alternations.",
                    assignment=assignment.name,
                    count=alternations,
                )
            )


def check_alternations(alternations: int, *, minimum: int) -> None:
    """Raise UntrueError when the two sides would take turns too seldom."""
    if alternations < minimum:
        raise UntrueError(
            sentence(
                "%(count)s alternations are too few; at least %(minimum)s are needed.",
                count=alternations,
                minimum=minimum,
            )
        )


def check_engine(engine: Child, folder: Path) -> float:
    """Raise UntrueError unless runs are sandboxed and metered; return what a second measured.

    A cell burns no time, then a second; it also says what of this machine it sees.
    """
    found = {}
    # The first run starts the zygote and imports what grading needs.
    for seconds in (0.0, 0.0, 1.0):
        source, submission = write_burner(folder, seconds)
        job = {"source": str(source), "submissions": {"s": str(submission)}, "verify": False}
        found[seconds] = engine.ask({**job, "cell_seconds": 30, "printed": True})
    printed = "".join(found[1.0]["graded"]["s"]["printed"])
    if "sees the machine: False" not in printed:
        raise UntrueError(sentence("The engine ran a notebook without a sandbox."))
    second = float(found[1.0]["cpu_seconds"]) - float(found[0.0]["cpu_seconds"])
    if not _SECOND[0] <= second <= _SECOND[1]:
        raise UntrueError(
            sentence(
                "A second of CPU in a sandbox was metered as %(seconds)s.", seconds=f"{second:.2f}"
            )
        )
    return second


def count_differences(
    theirs: Mapping[str, Scores], ours: Mapping[str, Mapping[str, Any]]
) -> tuple[int, int]:
    """Return how many cells differ in score, points, need of a person or remark; and of how many.

    Every cell that either side has is looked at.
    """
    different = compared = 0
    for student, scores in theirs.items():
        mine = ours[student]["scores"]
        for cell in scores.keys() | mine.keys():
            compared += 1
            different += list(scores.get(cell, ())) != list(mine.get(cell, ()))
    return different, compared


def check_scores(different: int, compared: int) -> None:
    """Raise UntrueError when a single cell differs, or none was looked at."""
    if different or not compared:
        raise UntrueError(
            sentence(
                "%(count)s of %(all)s cells were scored otherwise than by nbgrader.",
                count=different,
                all=compared,
            )
        )
