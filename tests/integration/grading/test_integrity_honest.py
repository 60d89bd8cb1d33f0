"""Honest work on the project's own courses: never tampered, and verified without a person."""

from collections import Counter
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.source import load_source
from lms.protocol.grading import Integrity
from tests.courses.mutants import MUTANTS
from tests.factories.judged import judge
from tests.factories.notebooks import answered

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox, pytest.mark.slow]

COURSES = Path(__file__).resolve().parents[3] / "courses"
FOLDERS = sorted(COURSES.glob("*/source/*"))
_ENOUGH = 0.9


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_right_and_wrong_answers_are_verified(launcher: DirectLauncher, folder: Path) -> None:
    source = load_source(folder)
    path = f"{folder.name}.ipynb"
    reference = source.files[path]
    submissions = [reference]
    submissions += [
        answered(reference, {mutant.cell: mutant.source}) for mutant in MUTANTS[folder.name]
    ]
    verdicts: Counter[Integrity] = Counter()
    said = []
    for submission in submissions:
        report = judge(source, {path: submission}, launcher)[folder.name].report
        verdicts[report.integrity] += 1
        said += [str(report.reason)] if report.reason else []
    assert not verdicts[Integrity.TAMPERED], said
    assert verdicts[Integrity.VERIFIED] >= _ENOUGH * len(submissions), said
