"""Forged scores are never verified, honest ones are, and no student's code stops the grader."""

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.protocol.grading import Integrity
from tests.factories.judged import JudgedNotebook, judge
from tests.integration.grading.forgeries import (
    FORGERIES,
    LIMITS,
    NAME,
    RIGHT,
    SOURCE,
    WRONG,
    submission,
)

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]

_SAMPLE = ("strips asserts", "equal to everything", "asked: answers ten times", "patches unittest")


def _judged(launcher: DirectLauncher, code: str) -> JudgedNotebook:
    return judge(SOURCE, submission(code), launcher, LIMITS)[NAME]


def _verified(judged: JudgedNotebook) -> set[str]:
    cells = judged.report.cells
    return {name for name in cells if cells[name].integrity is Integrity.VERIFIED}


def _assert_nothing_forged(judged: JudgedNotebook) -> None:
    for name, cell in judged.report.cells.items():
        forged = (judged.scores[name] or 0) > 0
        assert not (forged and cell.integrity is Integrity.VERIFIED), name
        assert cell.integrity is Integrity.VERIFIED or cell.reason is not None


def test_right_answers_are_verified(launcher: DirectLauncher) -> None:
    judged = _judged(launcher, RIGHT)
    assert {*judged.scores.values()} == {2, 1.5}
    # The last one shows a value of the student's own as its score.
    assert not _verified(judged).symmetric_difference({*judged.scores} - {"t_value"})


def test_wrong_answers_score_nothing_and_are_no_forgery(launcher: DirectLauncher) -> None:
    judged = _judged(launcher, WRONG)
    assert judged.report.integrity is Integrity.VERIFIED
    assert not any(judged.scores.values())


@pytest.mark.parametrize("name", _SAMPLE)
def test_sample_of_forgeries_is_not_verified(launcher: DirectLauncher, name: str) -> None:
    judged = _judged(launcher, FORGERIES[name])
    _assert_nothing_forged(judged)
    assert any(judged.scores.values())
    assert judged.report.integrity is Integrity.TAMPERED


@pytest.mark.slow
@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_is_verified(launcher: DirectLauncher, name: str) -> None:
    _assert_nothing_forged(_judged(launcher, FORGERIES[name]))
