"""What an attack says when integrity verdicts are there, and how a check is shown."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.errors import KernelStartError
from lms.outposts.runner.grade import NotebookOutcome
from lms.outposts.runner.redteam import attack
from lms.outposts.runner.redteam.questions import Question, TestCell
from lms.outposts.runner.redteam.trials import QUICK, Tried
from lms.outposts.runner.redteam.verdicts import Judged, cell_reports, problems
from lms.outposts.runner.release import build
from lms.outposts.runner.report import AssignmentReport, CellReport, Progress, table_of_tests
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import CellResult, Integrity, Limits, NotebookResult, RunStatus
from lms.protocol.sentences import sentence
from tests.factories.notebooks import checked, notebook, solution, to_bytes

IMAGES = sentence("the test looks at pictures.")


def outcome(**cells: tuple[float, Integrity | None]) -> NotebookOutcome:
    results = tuple(
        CellResult(
            grade_id=name,
            auto_score=score,
            max_score=2.0,
            needs_manual=False,
            integrity=integrity,
            integrity_reason=IMAGES if integrity is Integrity.UNVERIFIED else None,
        )
        for name, (score, integrity) in cells.items()
    )
    return NotebookOutcome(
        result=NotebookResult(
            notebook="n",
            status=RunStatus.GRADED,
            integrity=Integrity.UNVERIFIED,
            score=sum(score for score, _ in cells.values()),
            max_score=4.0,
            cells=results,
        )
    )


def judged(*, tags: frozenset[str] = frozenset(), **cheats: NotebookOutcome) -> Judged:
    good, shared = Integrity.VERIFIED, Integrity.UNVERIFIED
    return Judged(
        notebook="n",
        tests=(
            TestCell(grade_id="t", source="", tags=frozenset({"call-style"})),
            TestCell(grade_id="u", source="", tags=tags),
        ),
        tried=(),
        reference=outcome(t=(2.0, good), u=(2.0, shared)),
        blank=outcome(t=(0.0, None), u=(0.5, None)),
        cheats=tuple(cheats.items()),
    )


def said(found: Judged) -> list[tuple[str, str, str]]:
    return [(p.severity, p.where, str(p.message)) for p in problems(found)]


def test_a_cheat_with_a_verified_score_is_an_error_and_a_held_one_a_note() -> None:
    works = outcome(t=(2.0, Integrity.VERIFIED), u=(2.0, Integrity.UNVERIFIED))
    caught = outcome(t=(2.0, Integrity.TAMPERED), u=(0.5, Integrity.VERIFIED))
    found = judged(equal=works, silent=caught)
    assert said(found) == [
        (
            "error",
            "n:t",
            "A known cheat gets points here that would be given out: equal.",
        )
    ]
    first, second = cell_reports(found)
    assert (first.verified, first.reason, first.held_cheats) == (True, None, ())
    assert (second.verified, second.reason, second.held_cheats) == (False, IMAGES, ("equal",))


def test_points_that_an_empty_cell_gets_too_are_not_won_by_cheating() -> None:
    works = outcome(t=(2.0, Integrity.VERIFIED), u=(0.0, None))
    found = judged(equal=works)
    assert said(found) != []
    free = Tried(Question(answers=(), tests=found.tests[:1]), free={"t"})
    assert said(replace(found, tried=(free,))) == []


def test_a_call_style_test_that_cannot_be_verified_is_an_error() -> None:
    assert said(judged()) == []
    assert said(judged(tags=frozenset({"call-style"}))) == [
        (
            "error",
            "n:u",
            "This test has the tag call-style and cannot be verified: the test looks at pictures.",
        )
    ]


def test_the_table_shows_each_test_cell() -> None:
    report = AssignmentReport(
        name="ps1",
        notebooks=("n", "m"),
        tests=(
            CellReport(notebook="n", grade_id="t", mutants=12, killed=9, verified=True),
            CellReport(
                notebook="m",
                grade_id="long-name",
                mutants=2,
                killed=0,
                verified=False,
                reason=IMAGES,
                untried=3,
            ),
        ),
    )
    assert list(table_of_tests(report)) == [
        "test         wrong answers found   score",
        "n:t          9 of 12               verified",
        "m:long-name  0 of 2 (3 not tried)  unverified: the test looks at pictures.",
    ]
    assert list(table_of_tests(AssignmentReport(name="ps1"))) == []


def test_progress_never_goes_back_and_ends_full() -> None:
    progress = Progress(2)
    steps = [progress.more("a", 0.5), progress.more("a", 0.7), progress.done("a")]
    assert steps == [50, 49, 1]
    assert progress.done("b") == 100
    assert progress.length == 200


def test_a_run_that_does_not_begin_is_untried_and_stops_no_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object, **__: object) -> None:
        raise KernelStartError(sentence("No kernel came up."))

    monkeypatch.setattr(attack, "grade_submission", never)
    cells = (solution("f", "def f(x):\n    return x + 1"), checked("t", 2, "assert f(1) == 2"))
    source = AssignmentSource(name="ps1", files={"n.ipynb": to_bytes(notebook(*cells))})
    target = attack.Target(
        source=source,
        release=build(source),
        reference=(outcome(t=(2.0, Integrity.VERIFIED)),),
        blank=(outcome(t=(0.0, None)),),
        reference_seconds=0.1,
        limits=Limits(),
    )
    with ThreadPoolExecutor(1) as pool:
        means = attack.Means(launcher=DirectLauncher(), pool=pool, effort=QUICK)
        (report,), found = attack.red_team(target, means)
    assert (report.mutants, report.untried > 3, found) == (0, True, [])
