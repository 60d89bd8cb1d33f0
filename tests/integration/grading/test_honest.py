"""Honest work on the project's own courses: never `tampered`, and nearly all of it `verified`.

`pytest -m slow tests/integration/grading/test_honest.py -s` grades all of it and prints the table.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission
from lms.outposts.runner.source import load_source
from lms.protocol.grading import Integrity, Limits, RunStatus
from tests.integration.grading.fidelity.figures import Figures
from tests.integration.grading.fidelity.honest import FOLDERS, submissions_of

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

EACH = 130
SAMPLE_EACH = 4
SUBMISSIONS = 500
#: Share that must be verified, so that it is released without a person.
VERIFIED = 0.9


@pytest.fixture(scope="module")
def figures() -> Iterator[Figures]:
    kept = Figures(title="assignment")
    yield kept
    if kept.rows:
        kept.save("honest")
        submitted = kept.total("submissions")
        if submitted >= SUBMISSIONS:
            assert kept.total("verified") / submitted >= VERIFIED


def _graded(name: str, count: int, launcher: DirectLauncher) -> list[NotebookOutcome]:
    source = load_source(FOLDERS[name])

    def grade(files: dict[str, bytes]) -> NotebookOutcome:
        (outcome,) = grade_submission(source, files, limits=Limits(), launcher=launcher)
        return outcome

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(grade, submissions_of(name, count).values()))


def _reasons(outcomes: list[NotebookOutcome]) -> Counter[str]:
    """Count why cells are not verified, by cell."""
    return Counter(
        f"{cell.grade_id}: {cell.integrity}: {cell.integrity_reason}"
        for outcome in outcomes
        for cell in outcome.result.cells
        if cell.integrity not in {None, Integrity.VERIFIED}
    )


def _row(outcomes: list[NotebookOutcome]) -> dict[str, float]:
    kinds = Counter(outcome.result.integrity for outcome in outcomes)
    passed = sum(any(cell.auto_score for cell in outcome.result.cells) for outcome in outcomes)
    return {
        "submissions": len(outcomes),
        "with points": passed,
        **{str(kind): kinds[kind] for kind in Integrity},
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_a_sample_of_honest_work_is_verified(name: str, launcher: DirectLauncher) -> None:
    outcomes = _graded(name, SAMPLE_EACH, launcher)
    assert _reasons(outcomes) == Counter()
    assert {outcome.result.integrity for outcome in outcomes} == {Integrity.VERIFIED}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_honest_work_is_never_called_tampered(
    name: str, launcher: DirectLauncher, figures: Figures
) -> None:
    outcomes = _graded(name, EACH, launcher)
    assert len(outcomes) == EACH
    figures.add(name, **_row(outcomes))
    figures.notes += [
        f"{name}: {count}x {reason}" for reason, count in _reasons(outcomes).most_common(20)
    ]
    assert Integrity.TAMPERED not in {outcome.result.integrity for outcome in outcomes}
    unfinished = [one.result for one in outcomes if one.result.status is not RunStatus.GRADED]
    assert all(result.reason is not None for result in unfinished)


def test_there_is_as_much_honest_work_as_promised() -> None:
    every = {
        content
        for name in FOLDERS
        for files in submissions_of(name, EACH).values()
        for path, content in files.items()
        if path == f"{name}.ipynb"
    }
    assert len(every) == EACH * len(FOLDERS) >= SUBMISSIONS
