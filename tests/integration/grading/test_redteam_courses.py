"""The project's own assignments stand up to their own red team."""

from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.check import check_course
from tests.courses.notebooks import ASSIGNMENTS, load

pytestmark = [pytest.mark.slow, pytest.mark.kernel, pytest.mark.sandbox]


@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.parent.name)
def test_every_test_cell_finds_wrong_answers_and_nothing_leaks(path: Path) -> None:
    (report,) = check_course(path.parent, DirectLauncher()).assignments
    assert report.problems == ()
    assert {test.grade_id for test in report.tests} == set(load(path).tests)
    for test in report.tests:
        assert test.mutants - test.untried > 5
        assert test.killed >= 0.75 * test.mutants, test.survivors
        assert test.verified, test.reason
