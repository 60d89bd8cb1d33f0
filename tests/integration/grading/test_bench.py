"""The benchmark of grading on very little, to see that it runs; its figures mean nothing."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lms.cli.bench.figures import figures_of
from lms.cli.bench.measure import Bench
from lms.cli.bench.sets import CourseSet, made, own
from lms.cli.main import cli
from lms.outposts.runner.release import build_release

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]
COURSES = Path(__file__).resolve().parents[3] / "courses"


def test_both_sides_take_turns_and_score_alike(tmp_path: Path) -> None:
    course = made(tmp_path / "course", 4)
    one = CourseSet(name="made", assignments=course.assignments[2:])
    said: list[str] = []
    with Bench.open(said.append) as bench:
        (measured,) = bench.measure(one, 1, minimum=1)
    assert measured.different == 0
    assert measured.compared == 2 * 4 * 2
    found = figures_of(measured)
    assert found["nbgrader"]["cpu_seconds_per_submission"]["median"] > 0
    assert found["scored"]["cpu_seconds_per_submission"]["median"] > 0
    assert found["verified_share"] == 1.0
    assert any("turn 1 of 1" in words for words in said)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--alternations", "4"), "4 alternations are too few"),
        (("--submissions", "12"), "has 20 different submissions; at least 50"),
    ],
)
def test_the_command_refuses_to_measure_too_little(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr(Bench, "_start", lambda _: None)
    result = CliRunner().invoke(cli, ["bench", "grade", *options])
    assert result.exception is not None
    assert words in str(result.exception)
    assert getattr(result.exception, "exit_code", 1) == 1


def test_students_of_our_own_courses_hand_in_different_notebooks(tmp_path: Path) -> None:
    course = own(COURSES, tmp_path, 52)
    assert course.distinct >= 52
    for assignment in course.assignments:
        released = build_release(assignment.source).student_files
        first = next(iter(assignment.submissions.values()))
        for name in released:
            if name.endswith(".ipynb") and "/" not in name:
                answered = json.loads((first / name).read_bytes())
                assert "YOUR CODE HERE" not in json.dumps(answered)
