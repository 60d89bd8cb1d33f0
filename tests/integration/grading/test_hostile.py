"""Hostile submissions end in a status with a reason, score nothing and leave nothing behind."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission
from lms.protocol.grading import Integrity, RunStatus
from tests.factories.notebooks import answered
from tests.integration.grading import hostile
from tests.integration.grading.fidelity.figures import Figures
from tests.integration.grading.hostile_cases import escapes, forging
from tests.integration.grading.hostile_cases.cases import CASES, SAMPLED, Case, faults

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


@pytest.fixture(scope="module")
def figures(launcher: DirectLauncher) -> Iterator[Figures]:
    """Counts by kind of attack; after all of them the grader is as well as before."""
    kept = Figures(title="attack")
    yield kept
    if kept.rows:
        kept.save("hostile")
    (outcome,) = grade_submission(
        hostile.SOURCE, hostile.code(hostile.RIGHT), limits=hostile.LIMITS, launcher=launcher
    )
    assert scores(outcome) == {"t_one": 2.0, "t_share": 1.5}
    assert _names_of_processes().isdisjoint({escapes.DAEMON_NAME})


def _count(figures: Figures, case: Case, outcome: NotebookOutcome, found: list[str]) -> None:
    counted = {"submissions": 0.0} | {str(kind): 0.0 for kind in Integrity} | {"faults": 0.0}
    row = figures.rows.get(case.group, counted)
    row["submissions"] += 1
    row[str(outcome.result.integrity)] += 1
    row["faults"] += bool(found)
    figures.add(case.group, **row)


def _marks(name: str) -> list[pytest.MarkDecorator]:
    return [] if name in SAMPLED else [pytest.mark.slow]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=_marks(name)) for name in CASES],
)
def test_an_attack_releases_no_score_leaks_nothing_and_says_what_happened(
    name: str, launcher: DirectLauncher, figures: Figures
) -> None:
    case = CASES[name]
    outcomes = grade_submission(
        case.source, case.submission, limits=hostile.LIMITS, launcher=launcher
    )
    for outcome in outcomes:
        found = faults(case, outcome)
        _count(figures, case, outcome, found)
        assert found == []


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(CASES) + len(hostile.BOMBS) + len(hostile.TRICKS) + len(hostile.SPIES) >= 200
    assert {case.group for case in CASES.values()} == {
        "forging", "channel", "floods", "escapes", "formats", "leaks", "scripts"
    }  # fmt: skip


def _names_of_processes() -> set[str]:
    names = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            names.add(path.read_text().strip())
        except OSError:
            continue
    return names


def test_a_process_does_not_outlive_its_run(launcher: DirectLauncher) -> None:
    outcome = run(hostile.code(escapes.DAEMON + hostile.WRONG), launcher)
    assert outcome.result.status is RunStatus.GRADED
    for _ in range(50):
        if escapes.DAEMON_NAME not in _names_of_processes():
            break
        time.sleep(0.1)
    assert escapes.DAEMON_NAME not in _names_of_processes()


def test_a_run_finds_nothing_that_another_left(launcher: DirectLauncher) -> None:
    run(hostile.code(escapes.LITTER + hostile.WRONG), launcher)
    spy = escapes.SPIES["what the last one left"]
    case = Case(group="escapes", submission=hostile.code(spy + hostile.WRONG), is_spy=True)
    assert faults(case, run(case.submission, launcher)) == []


def test_right_answers_to_the_attacked_assignments_score_in_full(launcher: DirectLauncher) -> None:
    submission = {"scale.ipynb": answered(forging.RELEASED, {"answer": forging.SCALE_RIGHT})}
    (outcome,) = grade_submission(
        forging.SCALE, submission, limits=hostile.LIMITS, launcher=launcher
    )
    assert scores(outcome) == {"t_helper": 2.0, "t_np": 2.0, "t_file": 2.0, "t_plain": 1.0}
    (wrong,) = grade_submission(
        forging.SCALE,
        {"scale.ipynb": answered(forging.RELEASED, {"answer": forging.SCALE_WRONG})},
        limits=hostile.LIMITS,
        launcher=launcher,
    )
    assert scores(wrong) == {name: forging.HONEST[name] for name in scores(wrong)}
