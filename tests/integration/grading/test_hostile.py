"""Hostile submissions end in a status with a reason, score nothing and leave nothing behind."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission
from lms.protocol.grading import RunStatus
from tests.integration.grading import hostile

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]


def run(submission: Mapping[str, bytes] | Path, launcher: DirectLauncher) -> NotebookOutcome:
    (outcome,) = grade_submission(
        hostile.SOURCE, submission, limits=hostile.LIMITS, launcher=launcher
    )
    return outcome


def scores(outcome: NotebookOutcome) -> dict[str, float | None]:
    return {cell.grade_id: cell.auto_score for cell in outcome.result.cells}


@pytest.mark.parametrize("case", hostile.UNREADABLE)
def test_what_is_no_notebook_of_the_assignment_is_rejected(
    case: str, launcher: DirectLauncher
) -> None:
    result = run(hostile.UNREADABLE[case], launcher).result
    assert result.status is RunStatus.REJECTED
    assert str(result.reason)
    assert result.score == 0
    assert result.max_score == 4
    assert [cell.auto_score for cell in result.cells] == [None, None]


def test_what_is_no_regular_file_is_rejected(tmp_path: Path, launcher: DirectLauncher) -> None:
    victim = tmp_path / "victim.ipynb"
    victim.write_bytes(hostile.code(hostile.RIGHT)[f"{hostile.NAME}.ipynb"])
    for label, folder in hostile.make_strange_files(tmp_path, victim).items():
        result = run(folder, launcher).result
        assert result.status is RunStatus.REJECTED, label
        assert str(result.reason), label


@pytest.mark.parametrize("case", hostile.TRICKS)
def test_tricks_with_the_file_earn_nothing(case: str, launcher: DirectLauncher) -> None:
    outcome = run(hostile.TRICKS[case], launcher)
    assert outcome.result.status is RunStatus.GRADED
    assert scores(outcome) == {"t_one": 0.0, "t_share": 0.75}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("skip-execution tags", "tags"),
        ("duplicate ids", "more than once"),
        ("tests left out", "was missing"),
        ("own numpy", "numpy.py was not used"),
        ("own ipykernel", "ipykernel_launcher.py was not used"),
    ],
)
def test_a_trick_that_an_honest_person_may_stumble_into_is_named(
    case: str, words: str, launcher: DirectLauncher
) -> None:
    assert words in str(run(hostile.TRICKS[case], launcher).result.reason)


@pytest.mark.parametrize("case", hostile.BOMBS)
def test_code_that_attacks_ends_in_a_status(case: str, launcher: DirectLauncher) -> None:
    answer, status, words = hostile.BOMBS[case]
    result = run(hostile.code(answer), launcher).result
    assert status in {"any", result.status.value}, result
    assert words in str(result.reason or ""), result
    if result.status is not RunStatus.GRADED:
        assert result.reason is not None
    assert result.score <= result.max_score


@pytest.mark.parametrize("case", hostile.SPIES)
def test_code_sees_nothing_that_is_not_its_own(case: str, launcher: DirectLauncher) -> None:
    outcome = run(hostile.code(hostile.SPIES[case] + hostile.WRONG), launcher)
    assert outcome.result.status is RunStatus.GRADED
    assert scores(outcome) == {"t_one": 0.0, "t_share": 0.75}
    assert outcome.autograded is not None
    cells = hostile.notebook_in(outcome.autograded)["cells"]
    printed = "".join(str(output.get("text", "")) for output in cells[0]["outputs"])
    assert "FOUND" not in printed


def test_a_bad_notebook_does_not_stop_the_next_one(launcher: DirectLauncher) -> None:
    for submission in (
        hostile.UNREADABLE["not JSON"],
        hostile.code(hostile.BOMBS["os._exit"][0]),
        hostile.code(hostile.RIGHT),
    ):
        outcome = run(submission, launcher)
    assert scores(outcome)["t_one"] == 2.0
