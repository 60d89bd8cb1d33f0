"""The whole attack on one assignment: wrong answers, cheats, and what each test cell did."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nbformat import NotebookNode

from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner.errors import KernelStartError
from lms.outposts.runner.grade import NotebookOutcome, grade_submission
from lms.outposts.runner.notebooks import read_source
from lms.outposts.runner.redteam import verdicts
from lms.outposts.runner.redteam.cheats import CHEATS, Cheat, cheating_answers
from lms.outposts.runner.redteam.questions import Question, judged_by, questions_of
from lms.outposts.runner.redteam.trials import (
    Deadline,
    Effort,
    Tried,
    attack,
    choose,
    seen_calls,
    visible_sources,
)
from lms.outposts.runner.release import BuiltRelease, to_bytes
from lms.outposts.runner.report import CellReport, Problem
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits

#: A mutant may take this many times what the reference took, and no less than so many seconds.
_PATIENCE, _LEAST_SECONDS = 5, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An assignment whose reference and unanswered notebooks were graded already."""

    source: AssignmentSource
    release: BuiltRelease
    reference: tuple[NotebookOutcome, ...]
    blank: tuple[NotebookOutcome, ...]
    #: Seconds that grading the reference took.
    reference_seconds: float
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an attack is made with."""

    launcher: KernelLauncher
    pool: Executor
    effort: Effort
    #: Called after each run with the share of the attack that is done.
    on_progress: Callable[[float], None] | None = None


def red_team(target: Target, means: Means) -> tuple[list[CellReport], list[Problem]]:
    """Attack every notebook; returns what was found of each test cell, and what to mend."""
    cells: list[CellReport] = []
    problems: list[Problem] = []
    deadline = Deadline(means.effort.seconds)
    for reference, blank in zip(target.reference, target.blank, strict=True):
        found = _Notebook(target, means, deadline, reference, blank)
        reports, said = found.attack()
        cells += reports
        problems += said
    return cells, problems


class _Notebook:
    """One notebook under attack."""

    def __init__(
        self,
        target: Target,
        means: Means,
        deadline: Deadline,
        reference: NotebookOutcome,
        blank: NotebookOutcome,
    ) -> None:
        self._target = target
        self._means = means
        self._deadline = deadline
        self._reference = reference
        self._blank = blank
        self._name = reference.result.notebook
        self._node, _ = read_source(self._name, target.source.files[f"{self._name}.ipynb"])
        self._limits = _tight(target.limits, target.reference_seconds)
        self._runs = 0

    def attack(self) -> tuple[list[CellReport], list[Problem]]:
        """Try wrong answers and cheats, and judge."""
        tests = judged_by(self._node)
        full = verdicts.full_cells(self._reference)
        questions = [self._fair(question, full) for question in questions_of(self._node)]
        questions = [question for question in questions if question.tests and question.answers]
        tried = self._try_answers(questions)
        cheats = self._try_cheats(questions)
        judged = verdicts.Judged(
            notebook=self._name,
            tests=tuple(test for test, _ in tests),
            tried=tuple(tried),
            reference=self._reference,
            blank=self._blank,
            cheats=tuple(cheats),
        )
        return verdicts.cell_reports(judged), list(verdicts.problems(judged))

    def _fair(self, question: Question, full: set[str]) -> Question:
        """Return the question without tests that the reference itself fails."""
        tests = tuple(test for test in question.tests if test.grade_id in full)
        return replace(question, tests=tests)

    def _try_answers(self, questions: Sequence[Question]) -> list[Tried]:
        if not questions:
            return []
        visible = visible_sources(self._target.release.released[self._name])
        shown = AssignmentSource(
            name=self._target.source.name, files=dict(self._target.release.student_files)
        )
        seen = seen_calls(questions, partial(self._grade, shown))
        count = self._means.effort.mutants
        chosen = [(question, choose(question, visible, seen, count)) for question in questions]
        cheats = len(CHEATS[: self._means.effort.cheats])
        self._runs = max((len(mutants) for _, mutants in chosen), default=0) + cheats
        return attack(chosen, partial(self._grade, self._target.source), self._means.pool)

    def _try_cheats(self, questions: Sequence[Question]) -> list[tuple[str, NotebookOutcome]]:
        names = {
            answer.grade_id: answer.names for question in questions for answer in question.answers
        }
        tests = [test.grade_id for question in questions for test in question.tests]
        if not names:
            return []

        def cheat_once(cheat: Cheat) -> tuple[str, NotebookOutcome | None]:
            answers = cheating_answers(cheat, names)
            edit = cheat.edit
            change = None if edit is None else (lambda notebook: edit(notebook, tests))
            return cheat.name, self._grade(self._target.source, answers, change, verify=True)

        outcomes = self._means.pool.map(cheat_once, CHEATS[: self._means.effort.cheats])
        return [(name, outcome) for name, outcome in outcomes if outcome is not None]

    def _grade(
        self,
        source: AssignmentSource,
        answers: Mapping[str, str],
        edit: Callable[[dict[str, Any]], None] | None = None,
        *,
        verify: bool = False,
    ) -> NotebookOutcome | None:
        if self._deadline.is_over:
            return None
        try:
            outcomes = grade_submission(
                source,
                {f"{self._name}.ipynb": _submission(self._node, answers, edit)},
                limits=self._limits,
                launcher=self._means.launcher,
                verify=verify,
            )
        except KernelStartError:
            # The reference ran a moment ago: one run that did not begin stops no check.
            return None
        if self._means.on_progress is not None and self._runs:
            self._means.on_progress(1 / self._runs / len(self._target.reference))
        return next(o for o in outcomes if o.result.notebook == self._name)


def _submission(
    node: NotebookNode,
    answers: Mapping[str, str],
    edit: Callable[[dict[str, Any]], None] | None,
) -> bytes:
    """Return the reference as handed in, with some answers in the place of its own."""
    notebook = json.loads(to_bytes(node))
    for cell in notebook["cells"]:
        nbgrader = cell["metadata"].get("nbgrader")
        grade_id = str(nbgrader.get("grade_id")) if isinstance(nbgrader, dict) else ""
        if grade_id in answers:
            cell["source"] = answers[grade_id]
    if edit is not None:
        edit(notebook)
    return json.dumps(notebook).encode()


def _tight(limits: Limits, reference_seconds: float) -> Limits:
    """Return limits for mutants: one that never ends should not cost half a minute."""
    patience = max(_LEAST_SECONDS, math.ceil(_PATIENCE * reference_seconds))
    return replace(
        limits,
        cell_seconds=min(limits.cell_seconds, patience),
        wall_seconds=min(limits.wall_seconds, 4 * patience),
    )


def timed_grade(
    target: AssignmentSource, files: Mapping[str, bytes], limits: Limits, launcher: KernelLauncher
) -> tuple[tuple[NotebookOutcome, ...], float]:
    """Grade `files` and return the outcomes and the seconds it took."""
    started = time.monotonic()
    outcomes = grade_submission(target, files, limits=limits, launcher=launcher)
    return outcomes, time.monotonic() - started
