"""`lms grade`: its JSON, its table, its feedback folder and its exit status."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lms.cli.main import cli
from lms.foundation.errors import InvalidError
from lms.outposts.runner.release import build_release
from tests.factories.notebooks import answered
from tests.integration.grading import broken

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

RIGHT = {"f": "def f():\n    return 1"}


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course with two students' work, one of it no notebook."""
    root = tmp_path / "course"
    broken.write(root / "source" / "ps1", broken.good())
    released = build_release(root / "source" / "ps1").student_files["n.ipynb"]
    broken.write(root / "submitted" / "ann" / "ps1", answered(released, RIGHT))
    broken.write(root / "submitted" / "bob" / "ps1", b"no notebook")
    return root


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["grade", *map(str, arguments)], catch_exceptions=False)
    return result.exit_code, result.stdout


@pytest.mark.parametrize("tree", [".", "submitted"])
def test_a_tree_is_graded_as_json(course: Path, tree: str) -> None:
    code, printed = run(course / "source" / "ps1", course / tree, "--json")
    assert code == 0
    right, wrong = json.loads(printed)["results"]
    assert right == {
        "student": "ann",
        "notebook": "n",
        "status": "graded",
        "integrity": "verified",
        "integrity_reason": None,
        "score": 2.0,
        "max_score": 2.0,
        "reason": None,
        "cells": [
            {
                "grade_id": "t",
                "auto_score": 2.0,
                "max_score": 2.0,
                "needs_manual": False,
                "comment": None,
                "integrity": "verified",
                "integrity_reason": None,
            }
        ],
    }
    assert (wrong["student"], wrong["status"], wrong["score"]) == ("bob", "rejected", 0)
    assert wrong["reason"] == "This file is not a Jupyter notebook."
    assert wrong["cells"][0]["auto_score"] is None


def test_one_submission_is_graded_as_a_table_with_feedback(course: Path, tmp_path: Path) -> None:
    out = tmp_path / "feedback"
    code, printed = run(
        course / "source" / "ps1", course / "submitted" / "ann" / "ps1", "--feedback", out
    )
    assert code == 0
    assert "ann" in printed
    assert "2 / 2" in printed
    assert "graded" in printed
    assert "Score: 2.0 / 2.0" in (out / "ann" / "ps1" / "n.html").read_text()


def test_the_seed_settles_random_numbers_and_hashes_are_always_the_same(
    course: Path, tmp_path: Path
) -> None:
    released = build_release(course / "source" / "ps1").student_files["n.ipynb"]
    shown = (
        "import random\nimport numpy\n"
        "def f():\n"
        "    print('HASH', hash('x'))\n"
        "    print('DRAWN', random.random(), numpy.random.random(), '.')\n"
        "    return 1"
    )
    broken.write(tmp_path / "cem", answered(released, {"f": shown}))
    hashes, drawn = [], []
    for seed in (1, 1, 2):
        run(course / "source" / "ps1", tmp_path / "cem", "--seed", seed, "--feedback", tmp_path)
        page = (tmp_path / "cem" / "ps1" / "n.html").read_text()
        hashes.append(page.partition("HASH -")[2][:12] or page.partition("HASH ")[2][:12])
        drawn.append(page.partition("DRAWN ")[2].partition(" .")[0])
    assert len(set(hashes)) == 1
    assert hashes[0]
    assert drawn[0] == drawn[1] != drawn[2]
    assert "0." in drawn[0]


def test_a_broken_source_or_a_missing_submission_is_one_sentence(course: Path) -> None:
    broken.write(course / "source" / "ps2", b"nothing")
    with pytest.raises(InvalidError, match="n: This file is not a Jupyter notebook"):
        run(course / "source" / "ps2", course)
    with pytest.raises(InvalidError, match="There is no folder"):
        run(course / "source" / "ps1", course / "nowhere")
