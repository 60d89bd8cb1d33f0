"""An attack finds the tests that let wrong answers through, and is quiet about the others."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lms.outposts.broker.launcher import DirectLauncher
from lms.outposts.runner.check import check_assignment, check_course
from lms.outposts.runner.redteam.attack import Means
from lms.outposts.runner.redteam.trials import Effort
from lms.outposts.runner.report import AssignmentReport, CellReport
from lms.protocol.grading import Limits
from tests.factories.notebooks import checked, manual, notebook, solution
from tests.integration.grading.broken import write

pytestmark = [pytest.mark.kernel, pytest.mark.sandbox]


def solved(grade_id: str, head: str, body: str) -> dict[str, object]:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return solution(grade_id, f"{head}\n    ### BEGIN SOLUTION\n{lines}\n    ### END SOLUTION")


def hidden(shown: str, more: str) -> str:
    return f"{shown}\n### BEGIN HIDDEN TESTS\n{more}\n### END HIDDEN TESTS"


MEAN = "assert mean([2, 4]) == 3"
CELLS = (
    # A test that is as it should be.
    solved("mean-code", "def mean(xs):", "if not xs:\n    return 0\nreturn sum(xs) / len(xs)"),
    checked("mean", 2, hidden(MEAN, "assert mean([]) == 0\nassert mean([1, 2, 6]) == 3")),
    # Looks at nothing.
    solved("blind-code", "def low(xs):", "return min(xs)"),
    checked("blind", 1, "low"),
    # Anything but None will do.
    solved("lazy-code", "def high(xs):", "return max(xs)"),
    checked("lazy", 1, "assert high([1, 2]) is not None"),
    # Only what students see.
    solved("shown-code", "def twice(x, y):", "return 2 * x + y"),
    checked("shown", 1, "assert twice(3, 1) == 7\nassert twice(4, 2) == 10"),
    # Accepts most mistakes.
    solved("loose-code", "def order(xs):", "ys = list(xs)\nys.sort(reverse=1 < 2)\nreturn ys[0:3]"),
    checked("loose", 1, hidden("assert order([1])", "assert isinstance(order((4,)), list)")),
    manual("why", 3, "Why?"),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> AssignmentReport:
    folder = tmp_path_factory.mktemp("attacked") / "course" / "source" / "ps1"
    write(folder, notebook(*CELLS))
    with ThreadPoolExecutor(2) as pool:
        means = Means(
            launcher=DirectLauncher(), pool=pool, effort=Effort(mutants=11, seconds=120, cheats=2)
        )
        return check_assignment(folder, DirectLauncher(), Limits(), means)


def cell(report: AssignmentReport, grade_id: str) -> CellReport:
    return next(test for test in report.tests if test.grade_id == grade_id)


def said(report: AssignmentReport, grade_id: str) -> list[tuple[str, str]]:
    return [(p.severity, str(p.message)) for p in report.problems if p.where == f"n:{grade_id}"]


def test_each_test_cell_is_reported_in_order(report: AssignmentReport) -> None:
    assert [test.grade_id for test in report.tests] == ["mean", "blind", "lazy", "shown", "loose"]
    assert all(test.mutants > 3 and not test.untried for test in report.tests)
    assert not report.ok


def test_a_test_that_finds_wrong_answers_is_fine(report: AssignmentReport) -> None:
    assert said(report, "mean") == []
    assert cell(report, "mean").killed == cell(report, "mean").mutants


def test_a_test_that_no_wrong_answer_fails_is_an_error(report: AssignmentReport) -> None:
    assert cell(report, "blind").killed == 0
    messages = said(report, "blind")
    assert ("error", "An unanswered notebook gets all points here.") in messages
    (blind,) = [text for severity, text in messages if "No wrong answer fails" in text]
    assert "such as “low always returns None”" in blind


def test_a_constant_that_passes_is_an_error(report: AssignmentReport) -> None:
    found, cheat = [text for severity, text in said(report, "lazy") if severity == "error"]
    assert found.startswith("An answer that works nothing out gets all points: “high always")
    # An object that is equal to everything is not None either, wherever the test runs.
    assert cheat.startswith("A known cheat gets points here that would be given out: always-equal")
    assert 0 < cell(report, "lazy").killed < cell(report, "lazy").mutants


def test_answers_learned_by_heart_are_a_warning(report: AssignmentReport) -> None:
    (found,) = said(report, "shown")
    assert found[0] == "warning"
    assert "right for the visible tests' inputs alone" in found[1]
    assert cell(report, "shown").survivors == ("right for the inputs of the visible tests alone",)


def test_a_test_that_lets_most_mistakes_through_is_a_warning(report: AssignmentReport) -> None:
    assert any(
        severity == "warning" and "small mistakes keep all points, such as" in text
        for severity, text in said(report, "loose")
    )


def test_wrong_answers_that_never_end_or_die_are_found_and_stop_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "course" / "source" / "ps1"
    halve = "steps = 0\nwhile n > 1:\n    n = n // 2\n    steps += 1\nreturn steps"
    write(
        folder,
        notebook(
            solved("f-code", "def halvings(n):", halve),
            checked("f", 1, hidden("assert halvings(1) == 0", "assert halvings(9) == 3")),
            solved("g-code", "def one(n):", "return n + 1"),
            checked("g", 1, hidden("assert one(1) == 2", "assert one(5) == 6")),
        ),
    )
    progress: list[float] = []
    (found,) = check_course(
        tmp_path,
        DirectLauncher(),
        effort=Effort(mutants=6, seconds=120, cheats=0),
        on_progress=lambda _, share: progress.append(share),
    ).assignments
    assert found.ok, found.problems
    assert [(t.grade_id, t.killed == t.mutants) for t in found.tests] == [("f", True), ("g", True)]
    assert 0.5 < sum(progress) <= 1.5


def test_an_attack_ends_when_its_time_is_up(tmp_path: Path) -> None:
    folder = tmp_path / "course" / "source" / "ps1"
    write(folder, notebook(*CELLS[:2]))
    (found,) = check_course(
        tmp_path, DirectLauncher(), effort=Effort(mutants=9, seconds=0)
    ).assignments
    (test,) = found.tests
    assert (test.mutants, test.killed) == (0, 0)
    assert test.untried > 3
    assert found.ok
