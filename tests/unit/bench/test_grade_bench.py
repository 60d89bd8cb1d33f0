"""A benchmark that says nothing it has not measured: its checks, its meter, its figures."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from lms.cli.bench.answers import ANSWERS
from lms.cli.bench.checks import (
    SUBMISSIONS,
    UntrueError,
    check_alternations,
    check_engine,
    check_scores,
    check_size,
    count_differences,
)
from lms.cli.bench.children import Child
from lms.cli.bench.course import answers_of
from lms.cli.bench.figures import figures_of, table_of
from lms.cli.bench.measure import Bench, Measured, Turn
from lms.cli.bench.meter import tree_seconds
from lms.cli.bench.picture import draw
from lms.cli.bench.sets import Assignment, CourseSet, given
from lms.cli.main import cli
from lms.foundation.errors import InvalidError


def course(folder: Path, *contents: bytes) -> CourseSet:
    submissions = {}
    for number, content in enumerate(contents):
        place = folder / "submitted" / f"s{number}" / "a"
        place.mkdir(parents=True)
        (place / "n.ipynb").write_bytes(content)
        submissions[f"s{number}"] = place
    found = Assignment(name="a", source=folder / "source" / "a", submissions=submissions)
    return CourseSet(name="c", assignments=(found,))


def test_the_same_bytes_twice_are_one_submission(tmp_path: Path) -> None:
    found = course(tmp_path, b"1", b"1", b"2", b"3")
    assert found.distinct == 3
    check_size(found, 2, minimum=3)
    with pytest.raises(UntrueError, match="c has 3 different submissions; at least 4"):
        check_size(found, 2, minimum=4)
    with pytest.raises(UntrueError, match="a has too few submissions for 3"):
        check_size(found, 3, minimum=3)


def test_too_few_turns_are_refused() -> None:
    check_alternations(5, minimum=5)
    with pytest.raises(UntrueError, match="4 alternations are too few; at least 5"):
        check_alternations(4, minimum=5)


SCORES: dict[str, Any] = {"n/t": (2.0, 2.0, False, None), "n/m": (None, 3.0, True, "No response.")}


@pytest.mark.parametrize(
    ("change", "different"),
    [
        ({}, 0),
        ({"n/t": [1.0, 2.0, False, None]}, 1),
        ({"n/t": [2.0, 1.0, False, None]}, 1),
        ({"n/t": [2.0, 2.0, True, None]}, 1),
        ({"n/m": [None, 3.0, True, None]}, 1),
        ({"n/m": [0.0, 3.0, True, "No response."]}, 1),
        ({"n/other": [0.0, 1.0, False, None]}, 1),
    ],
)
def test_every_part_of_every_cell_is_compared(change: dict[str, Any], different: int) -> None:
    ours = {name: list(score) for name, score in SCORES.items()} | change
    assert count_differences({"s": SCORES}, {"s": {"scores": ours}}) == (different, len(ours))


def test_one_difference_or_nothing_compared_is_too_much() -> None:
    check_scores(0, 1)
    with pytest.raises(UntrueError, match="1 of 200 cells"):
        check_scores(1, 200)
    with pytest.raises(UntrueError, match="0 of 0 cells"):
        check_scores(0, 0)


class FakeWorker:
    """Answers as a worker that sees what it likes and meters as it likes."""

    def __init__(self, second: float, *, sees: bool) -> None:
        self._second = second
        self._sees = sees

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        text = (Path(job["submissions"]["s"]) / "n.ipynb").read_text()
        burnt = self._second if "process_time() + 1.0" in text else 0.0
        words = f"sees the machine: {self._sees}\n"
        return {"cpu_seconds": 0.05 + burnt, "graded": {"s": {"printed": [words, ""]}}}


@pytest.mark.parametrize(
    ("second", "sees", "words"),
    [
        (1.0, False, ""),
        (0.5, False, "metered as 0.50"),
        (1.6, False, "metered as 1.60"),
        (1.0, True, "without a sandbox"),
    ],
)
def test_a_worker_is_tried_before_it_is_measured(
    tmp_path: Path, second: float, words: str, *, sees: bool
) -> None:
    worker = cast("Child", FakeWorker(second, sees=sees))
    if not words:
        assert check_engine(worker, tmp_path) == pytest.approx(1)
        return
    with pytest.raises(UntrueError, match=words):
        check_engine(worker, tmp_path)


BURN = (
    "import os, time\n"
    "def burn(seconds):\n"
    "    end = time.process_time() + seconds\n"
    "    while time.process_time() < end: pass\n"
    "child = os.fork()\n"
    "if not child:\n"
    "    grandchild = os.fork()\n"
    "    burn(0.15)\n"
    "    if grandchild: os.waitpid(grandchild, 0)\n"
    "    os._exit(0)\n"
    "os.waitpid(child, 0)\n"
)


def test_the_meter_counts_the_living_the_dead_and_their_children() -> None:
    before = tree_seconds()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", BURN + "print(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as burner:
        assert burner.stdout is not None
        burner.stdout.readline()
        alive = tree_seconds() - before
        assert tree_seconds(burner.pid) >= 0.28
        burner.communicate(b"\n")
    assert 0.28 <= alive < 1.5
    assert tree_seconds() - before >= alive


def test_a_program_is_metered_with_what_it_leaves_behind() -> None:
    orphan = "import os\nif os.fork(): os._exit(0)\n"
    done = subprocess.run(
        [sys.executable, "-m", "lms.cli.bench.metered", sys.executable, "-S", "-c", orphan + BURN],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    cpu, wall = map(float, done.stdout.split())
    assert 0.28 <= cpu < 1.5
    assert wall > 0


@pytest.mark.parametrize("assignment", ANSWERS)
def test_no_two_students_of_the_made_course_answer_alike(assignment: str) -> None:
    answers = answers_of(assignment, 50, seed=7)
    assert len({tuple(answer.items()) for answer in answers}) == 50
    assert answers == answers_of(assignment, 50, seed=7)
    assert answers[0] == {name: variants[0] for name, variants in ANSWERS[assignment].items()}


def test_a_given_course_needs_its_two_folders(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no source and submitted"):
        given(tmp_path, 10)
    (tmp_path / "source" / "a").mkdir(parents=True)
    course(tmp_path, b"1", b"2", b"3")
    (found,) = given(tmp_path, 2).assignments
    assert list(found.submissions) == ["s0", "s1"]


def measured() -> Measured:
    def turn(nbgrader: float, ours: float) -> Turn:
        kinds = {"all": ours, "clean": ours - 0.02, "erring": ours + 0.02}
        return Turn(
            submissions=10,
            nbgrader=nbgrader,
            bare={"all": 0.02, "clean": 0.02, "erring": 0.01},
            ours={"scored": kinds, "verified": {kind: 2 * cost for kind, cost in kinds.items()}},
        )

    return Measured(
        name="np1",
        submissions=30,
        turns=[turn(1.0, 0.1), turn(1.2, 0.08), turn(1.4, 0.1)],
        compared=300,
        verified=27,
    )


def test_figures_are_medians_of_turns_with_their_spread() -> None:
    found = figures_of(measured())
    assert found["nbgrader"]["cpu_seconds_per_submission"] == {
        "median": 1.2,
        "min": 1.0,
        "max": 1.4,
    }
    assert found["scored"]["submissions_per_second_core"]["median"] == pytest.approx(10)
    assert found["scored"]["times_nbgrader"]["median"] == pytest.approx(14)
    assert found["scored"]["overhead_over_bare_seconds"]["median"] == pytest.approx(0.06)
    with_errors = found["scored"]["overhead_over_bare_seconds_with_errors"]
    assert with_errors["median"] == pytest.approx(0.11)
    assert found["verified_share"] == pytest.approx(0.9)
    shown = table_of({"np1": found})
    assert "14.0" in shown
    assert "0.110" in shown


class FakeBench(Bench):
    """Has measured everything already."""

    def _start(self) -> None:
        self.seconds = {"scored": 1.0, "verified": 1.0}

    def measure(
        self, course: CourseSet, alternations: int, *, minimum: int = SUBMISSIONS
    ) -> list[Measured]:
        self._tell(f"{course.name} {alternations} {minimum}")
        return [measured()]


def test_the_command_prints_a_table_or_json_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lms.cli.bench.grade.Bench", FakeBench)
    (tmp_path / "source" / "a").mkdir(parents=True)
    course(tmp_path, b"1", b"2")
    arguments = ["bench", "grade", "--course", str(tmp_path), "--image", str(tmp_path / "a.svg")]
    shown = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "30 submissions, 27 of them verified; 300 cells compared, 0 different." in shown.stdout
    assert "14.0" in shown.stdout
    assert f"{tmp_path.name} 5 50" in shown.stderr
    assert (tmp_path / "a.svg").read_bytes().startswith(b"<?xml")
    printed = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False).stdout
    report = json.loads(printed)
    figures = report["courses"][tmp_path.name]["np1"]
    assert figures["score_differences"] == 0
    assert figures["verified"]["times_nbgrader"]["median"] == pytest.approx(7)
    assert report["a_known_second_metered_as"] == {"scored": 1.0, "verified": 1.0}
    assert report["machine"]["cores"] >= 1


def test_the_same_figures_give_the_same_picture(tmp_path: Path) -> None:
    found = figures_of(measured())
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, {"np1": found}, "2 cores")
    first = (tmp_path / "a.svg").read_bytes()
    assert first == (tmp_path / "b.svg").read_bytes()
    assert b"submissions a second and core" in first
    assert b"np1" in first
