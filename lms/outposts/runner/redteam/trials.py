"""Trying wrong answers: which to try, several questions in one run, and what each test said."""

import ast
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from nbformat import NotebookNode

from lms.outposts.runner.grade import NotebookOutcome
from lms.outposts.runner.redteam.answers import SEEN, hard_coded, recorder, thoughtless
from lms.outposts.runner.redteam.mutations import Mutant, mutate, parse
from lms.outposts.runner.redteam.questions import AnswerCell, Question, independent
from lms.protocol.grading import RunStatus

_RAN = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL})
#: How many thoughtless answers come before the first mutants.
_FIRST = 3
_EMPTY = "empty"

#: Grades one notebook with these answers by grade_id, or None when there is no time left.
Grade = Callable[[Mapping[str, str]], NotebookOutcome | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard to try; `seconds` are of one assignment."""

    #: Wrong answers to a question.
    mutants: int
    seconds: int
    #: Known cheats, the most telling first.
    cheats: int = 100


#: What every check does, and what `--red-team` does.
QUICK = Effort(mutants=12, seconds=120)
THOROUGH = Effort(mutants=100, seconds=1800)


@dataclass(frozen=True, slots=True)
class Trial:
    """A wrong answer that was graded: the tests that it lost points in."""

    mutant: Mutant
    lost: frozenset[str]


@dataclass(slots=True)
class Tried:
    """What was tried on one question."""

    question: Question
    trials: list[Trial] = field(default_factory=list)
    #: Wrong answers there was no time for.
    untried: int = 0
    #: Tests that give points to an empty cell: one that expects an error may take a missing name
    #: for it. A cheat wins nothing there.
    free: set[str] = field(default_factory=set)


def choose(
    question: Question,
    visible: Mapping[str, str],
    seen: Mapping[str, set[str]],
    count: int,
) -> list[Mutant]:
    """Return at most `count` wrong answers to a question, after its empty cells."""
    shown = [visible.get(test.grade_id, "") for test in question.tests]
    lists = [_for_cell(answer, shown, dict(seen)) for answer in question.answers]
    empty = [
        Mutant(cell=answer.grade_id, kind=_EMPTY, note="the cell is empty", source="")
        for answer in question.answers
    ]
    return [*empty, *list(chain.from_iterable(_turns(lists)))[:count]]


def _for_cell(answer: AnswerCell, shown: list[str], seen: dict[str, set[str]]) -> list[Mutant]:
    copied = hard_coded(answer, seen)
    lazy = list(thoughtless(answer, shown))
    mutants = list(mutate(answer.grade_id, answer.source))
    made = [*lazy[:_FIRST], *([copied] if copied else [])]
    made += chain.from_iterable(_turns([mutants, lazy[_FIRST:]]))
    reference = _canonical(answer.source)
    unique = {_canonical(mutant.source): mutant for mutant in reversed(made)}
    unique.pop(reference, None)
    kept = set(map(id, unique.values()))
    return [mutant for mutant in made if id(mutant) in kept]


def _turns(lists: Sequence[Iterable[Mutant]]) -> Iterator[list[Mutant]]:
    for turn in zip_longest(*lists):
        yield [mutant for mutant in turn if mutant is not None]


def _canonical(source: str) -> str:
    tree = parse(source)
    return source if tree is None else ast.unparse(tree)


def attack(
    chosen: Sequence[tuple[Question, list[Mutant]]], grade: Grade, pool: Executor
) -> list[Tried]:
    """Grade every wrong answer; questions that do not touch one another share runs.

    A run that did not end plainly says nothing about the others in it, so each is tried alone.
    """
    tried = {id(question): Tried(question) for question, _ in chosen}
    again: list[list[Mutant]] = []
    by_mutant = {id(m): tried[id(question)] for question, mutants in chosen for m in mutants}
    for alone in (False, True):
        lanes = again if alone else list(_lanes(chosen))
        for lane, outcome in zip(lanes, pool.map(lambda x: _run(x, grade), lanes), strict=True):
            if outcome is not None and len(lane) > 1 and outcome.result.status not in _RAN:
                again += [[mutant] for mutant in lane]
                continue
            for mutant in lane:
                _note(by_mutant[id(mutant)], mutant, outcome)
    return [tried[id(question)] for question, _ in chosen]


def _run(lane: list[Mutant], grade: Grade) -> NotebookOutcome | None:
    return grade({mutant.cell: mutant.source for mutant in lane})


def _note(tried: Tried, mutant: Mutant, outcome: NotebookOutcome | None) -> None:
    is_empty = mutant.kind == _EMPTY
    if outcome is None:
        tried.untried += not is_empty
        return
    scores = {cell.grade_id: cell for cell in outcome.result.cells}
    lost = {
        test.grade_id
        for test in tried.question.tests
        if (scores[test.grade_id].auto_score or 0) < scores[test.grade_id].max_score
    }
    if is_empty:
        tried.free |= {test.grade_id for test in tried.question.tests} - lost
    else:
        tried.trials.append(Trial(mutant, frozenset(lost)))


def _lanes(chosen: Sequence[tuple[Question, list[Mutant]]]) -> Iterator[list[Mutant]]:
    """Yield mutants to put into one notebook together, each of another question."""
    mutants = {id(question): found for question, found in chosen}
    for group in independent(question for question, _ in chosen):
        lists = [mutants[id(question)] for question in group]
        together = [[m for m in found if not m.alone] for found in lists]
        yield from (lane for lane in _turns(together) if lane)
        yield from ([m] for found in lists for m in found if m.alone)


def seen_calls(questions: Iterable[Question], record: Grade) -> dict[str, set[str]]:
    """Return the calls that the visible tests make, by function; `record` grades those alone."""
    recorders = {
        answer.grade_id: source
        for question in questions
        for answer in question.answers
        if (source := recorder(answer))
    }
    outcome = record(recorders) if recorders else None
    seen: dict[str, set[str]] = {}
    if outcome is not None and outcome.autograded is not None:
        for name, key in SEEN.findall(outcome.autograded.decode()):
            seen.setdefault(name, set()).add(key)
    return seen


def visible_sources(released: NotebookNode) -> dict[str, str]:
    """Return what students see of each marked cell, by grade_id."""
    return {
        str(cell.metadata.nbgrader.grade_id): cell.source
        for cell in released.cells
        if isinstance(cell.metadata.get("nbgrader"), dict)
    }


class Deadline:
    """A span of time that has passed or not."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """The time is up."""
        return time.monotonic() >= self._ends
