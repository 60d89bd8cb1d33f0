"""What an attack says of each test cell: what it let through, and what has to be mended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lms.outposts.runner.grade import NotebookOutcome
from lms.outposts.runner.redteam.questions import TestCell
from lms.outposts.runner.redteam.trials import Trial, Tried
from lms.outposts.runner.report import CellReport, Problem
from lms.protocol.grading import CellResult, Integrity
from lms.protocol.sentences import Sentence, sentence

#: Mutants that change nothing are a tenth to a third of all; more than this share are holes.
_HOLES = 0.4
_LEAST_TRIALS = 5
_EXAMPLES = 5
_LAZY = frozenset({"constant answer", "returns its argument"})
#: Answers that take the place of the whole cell, where others change one thing in it.
_WHOLE = _LAZY | {"hard-coded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A notebook after its attack."""

    notebook: str
    tests: tuple[TestCell, ...]
    tried: tuple[Tried, ...]
    reference: NotebookOutcome
    blank: NotebookOutcome
    cheats: tuple[tuple[str, NotebookOutcome], ...]


def full_cells(outcome: NotebookOutcome) -> set[str]:
    """Return the cells that got all of their points, and have some."""
    return {
        cell.grade_id
        for cell in outcome.result.cells
        if cell.auto_score is not None and cell.auto_score >= cell.max_score > 0
    }


def cell_reports(judged: Judged) -> list[CellReport]:
    """Return one report for each test cell, in order."""
    results = _by_id(judged.reference)
    return [_cell_report(judged, test, results[test.grade_id]) for test in judged.tests]


def problems(judged: Judged) -> Iterator[Problem]:
    """Yield what has to be mended in this notebook."""
    for tried in judged.tried:
        yield from _judge_question(judged, tried)
    yield from _judge_blank(judged)
    yield from _judge_cheats(judged)
    yield from _judge_tags(judged)


def _cell_report(judged: Judged, test: TestCell, result: CellResult) -> CellReport:
    trials = _trials_of(judged, test.grade_id)
    survivors = [trial for trial in trials if test.grade_id not in trial.lost]
    return CellReport(
        notebook=judged.notebook,
        grade_id=test.grade_id,
        mutants=len(trials),
        killed=len(trials) - len(survivors),
        verified=result.integrity is Integrity.VERIFIED,
        reason=result.integrity_reason,
        survivors=tuple(trial.mutant.note for trial in survivors[:_EXAMPLES]),
        held_cheats=tuple(
            name
            for name, outcome in judged.cheats
            if _gains(judged, outcome, test.grade_id)
            and _verdict(outcome, test.grade_id) is Integrity.UNVERIFIED
        ),
        untried=sum(
            tried.untried
            for tried in judged.tried
            if test.grade_id in {known.grade_id for known in tried.question.tests}
        ),
    )


def _trials_of(judged: Judged, grade_id: str) -> list[Trial]:
    return [
        trial
        for tried in judged.tried
        if any(test.grade_id == grade_id for test in tried.question.tests)
        for trial in tried.trials
    ]


def _by_id(outcome: NotebookOutcome) -> dict[str, CellResult]:
    return {cell.grade_id: cell for cell in outcome.result.cells}


def _judge_question(judged: Judged, tried: Tried) -> Iterator[Problem]:
    blind: set[str] = set()
    for test in tried.question.tests:
        if tried.trials and not any(test.grade_id in trial.lost for trial in tried.trials):
            blind.add(test.grade_id)
            yield Problem(
                severity="error",
                where=f"{judged.notebook}:{test.grade_id}",
                message=sentence(
                    "No wrong answer fails this test: all %(count)s that were tried pass, such as"
                    " “%(example)s”.",
                    count=len(tried.trials),
                    example=tried.trials[0].mutant.note,
                ),
            )
    if blind < {test.grade_id for test in tried.question.tests}:
        yield from _judge_survivors(judged, tried)


def _judge_survivors(judged: Judged, tried: Tried) -> Iterator[Problem]:
    """Judge the wrong answers that got all points of their question."""
    passed = [trial.mutant for trial in tried.trials if not trial.lost]
    where = f"{judged.notebook}:{tried.question.tests[-1].grade_id}"
    lazy = next((mutant for mutant in passed if mutant.kind in _LAZY), None)
    if lazy is not None:
        yield Problem(
            severity="error",
            where=where,
            message=sentence(
                "An answer that works nothing out gets all points: “%(example)s”.",
                example=lazy.note,
            ),
        )
    if any(mutant.kind == "hard-coded" for mutant in passed):
        yield Problem(
            severity="warning",
            where=where,
            message=sentence(
                "An answer that is right for the visible tests' inputs alone gets all points; add"
                " hidden tests with other inputs."
            ),
        )
    tried_small = [trial for trial in tried.trials if trial.mutant.kind not in _WHOLE]
    small = [trial.mutant for trial in tried_small if not trial.lost]
    if len(tried_small) >= _LEAST_TRIALS and len(small) > _HOLES * len(tried_small):
        yield Problem(
            severity="warning",
            where=where,
            message=sentence(
                "%(passed)s of %(count)s small mistakes keep all points, such as “%(example)s”.",
                passed=len(small),
                count=len(tried_small),
                example=small[0].note,
            ),
        )


def _judge_blank(judged: Judged) -> Iterator[Problem]:
    attacked = {test.grade_id for tried in judged.tried for test in tried.question.tests}
    blank = full_cells(judged.blank)
    for grade_id in sorted(blank & attacked):
        yield Problem(
            severity="error",
            where=f"{judged.notebook}:{grade_id}",
            message=sentence("An unanswered notebook gets all points here."),
        )


def _judge_cheats(judged: Judged) -> Iterator[Problem]:
    for test in judged.tests:
        works = [
            name
            for name, outcome in judged.cheats
            if _gains(judged, outcome, test.grade_id)
            and _verdict(outcome, test.grade_id) is Integrity.VERIFIED
        ]
        if works:
            yield Problem(
                severity="error",
                where=f"{judged.notebook}:{test.grade_id}",
                message=sentence(
                    "A known cheat gets points here that would be given out: %(cheats)s.",
                    cheats=", ".join(works),
                ),
            )


def _judge_tags(judged: Judged) -> Iterator[Problem]:
    from lms.outposts.runner.integrity import CALL_STYLE

    results = _by_id(judged.reference)
    for test in judged.tests:
        result = results[test.grade_id]
        if CALL_STYLE in test.tags and result.integrity is Integrity.UNVERIFIED:
            yield Problem(
                severity="error",
                where=f"{judged.notebook}:{test.grade_id}",
                message=sentence(
                    "This test has the tag call-style and cannot be verified: %(reason)s",
                    reason=str(result.integrity_reason or _unknown()),
                ),
            )


def _unknown() -> Sentence:
    return sentence("the test needs the student's own interpreter.")


def _gains(judged: Judged, outcome: NotebookOutcome, grade_id: str) -> bool:
    """Say whether a cheat has won points that an unanswered or empty cell does not get."""
    is_free = any(grade_id in tried.free for tried in judged.tried)
    return not is_free and _score(outcome, grade_id) > _score(judged.blank, grade_id)


def _score(outcome: NotebookOutcome, grade_id: str) -> float:
    return _by_id(outcome)[grade_id].auto_score or 0.0


def _verdict(outcome: NotebookOutcome, grade_id: str) -> Integrity:
    """Return how far a score is trusted: the cell's own verdict, else the notebook's."""
    return _by_id(outcome)[grade_id].integrity or outcome.result.integrity


def untried(cells: Sequence[CellReport]) -> int:
    """Return how many wrong answers there was no time for."""
    return sum(cell.untried for cell in cells)
