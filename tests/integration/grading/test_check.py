"""`check_course` on good, odd and broken folders: one sentence for each, never a crash."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lms.cli.course import course
from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.check import check_assignment, check_course, find_assignments
from lms.protocol.grading import Limits
from tests.integration.grading import broken, kinds

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]


@pytest.mark.parametrize("case", broken.BROKEN)
def test_a_broken_folder_gets_its_sentence(
    case: str, tmp_path: Path, launcher: DirectLauncher
) -> None:
    make, severity, words = broken.BROKEN[case]
    folder = tmp_path / "course" / "source" / "ps1"
    folder.mkdir(parents=True)
    make(folder)
    report = check_assignment(folder, launcher, Limits(cell_seconds=10))
    said = [str(p.message) for p in report.problems if p.severity == severity]
    assert any(words in message for message in said), report.problems
    assert report.ok is (severity == "warning"), report.problems
    assert all("\n" not in str(problem.message) for problem in report.problems)


@pytest.mark.parametrize("case", broken.FINE)
def test_an_unusual_folder_is_fine(case: str, tmp_path: Path, launcher: DirectLauncher) -> None:
    folder = tmp_path / "course" / "source" / "ps1"
    broken.FINE[case](folder)
    report = check_assignment(folder, launcher, Limits())
    assert report.ok, report.problems
    assert report.reference_score == 2
    assert report.blank_score == 0


def test_a_course_is_counted(tmp_path: Path, launcher: DirectLauncher) -> None:
    kinds.make_course(tmp_path)
    (report,) = check_course(tmp_path, launcher, effort=None).assignments
    assert report.notebooks == ("kinds",)
    assert report.cells == 7
    assert report.points == 14
    assert report.manual_points == 8
    assert report.reference_score == 6


def test_assignments_are_found_from_course_source_and_assignment(tmp_path: Path) -> None:
    one = tmp_path / "course" / "source" / "one"
    broken.write(one, broken.good())
    (tmp_path / "course" / "source" / ".ipynb_checkpoints").mkdir()
    assert find_assignments(tmp_path / "course") == [one]
    assert find_assignments(tmp_path / "course" / "source") == [one]
    assert find_assignments(one) == [one]
    assert find_assignments(tmp_path) == [one]
    assert find_assignments(tmp_path / "nowhere") == []
    assert find_assignments(one / "n.ipynb") == []


def test_the_command_exits_with_one_when_something_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "course" / "source" / "ps1"
    broken.write(folder, b"nothing")
    broken.write(tmp_path / "course" / "source" / "ps2", broken.good())
    result = CliRunner().invoke(course, ["check", str(tmp_path / "course"), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert [item["name"] for item in report["assignments"]] == ["ps1", "ps2"]
    good = report["assignments"][1]
    assert {key: good[key] for key in ("notebooks", "cells", "points", "manual_points")} == {
        "notebooks": 1,
        "cells": 1,
        "points": 2,
        "manual_points": 0,
    }
    assert (good["reference_score"], good["blank_score"], good["problems"]) == (2, 0, [])
    (test,) = good["tests"]
    assert (test["grade_id"], test["killed"]) == ("t", test["mutants"])
    assert test["mutants"] > 3
    plain = CliRunner().invoke(course, ["check", str(tmp_path / "nowhere")])
    assert plain.exit_code == 1
    assert "No assignment was found" in plain.stdout
