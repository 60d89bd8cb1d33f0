"""The split run: tests in a sandbox of their own, the student's code in another.

The student's side runs its cells and answers questions; the tests' side runs the release's cells
and the tests, in notebook order, and its outputs alone make the scores here.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode

from lms.outposts.broker.launcher import Verdict
from lms.outposts.runner.errors import KernelStartError
from lms.outposts.runner.integrity import reasons
from lms.outposts.runner.integrity.apart import Apart, open_program
from lms.outposts.runner.integrity.plan import IN_PROCESS, Owner, Plan, Role, Step, grade_id_of
from lms.outposts.runner.integrity.talks import StudentSide, Talk, TestsEndedError
from lms.outposts.runner.running import Started
from lms.protocol.sentences import Sentence, sentence

#: What a cell that scored nothing gets beyond its limit; one that scored has all there is, since
#: it came to its end before, and may have to wait for its turn at every call.
_SPARE_SECONDS = 10.0
_SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the split run found of one test cell."""

    #: The score of the tests' side; None when it has none.
    score: float | None = None
    #: Why the score proves nothing; None when it does.
    doubt: Sentence | None = None


@dataclass(slots=True, kw_only=True)
class Split:
    """What came of a split run."""

    judged: dict[str, Judged] = field(default_factory=dict)
    #: What only somebody who forges does.
    evidence: Sentence | None = None


def run_split(
    plan: Plan,
    cells: Mapping[str, NotebookNode],
    failed: frozenset[str],
    start: Started,
    apart: Apart,
) -> Split:
    """Run the plan; `cells` are the test cells that scored, `failed` those that failed.

    If `apart` still runs, it is the student's side, as far as it has come.
    Raises KernelStartError when our side is at fault, UnfitError when cells alone do not do.
    """
    with ExitStack() as stack:
        program = apart.program or stack.enter_context(open_program(start))
        student = StudentSide(program, start.limits.cell_seconds + _SPARE_SECONDS)
        student.begin()
        tests = stack.enter_context(open_program(start))
        run = _Run(
            talk=Talk(tests, student),
            cells=cells,
            failed=failed,
            start=start,
            plan=plan,
            done=apart.done,
        )
        split = Split()
        try:
            for place, step in enumerate(plan.steps):
                run.take(step, _used(plan.steps[place + 1 :]))
            student.look()
        except TestsEndedError:
            if tests.usage().verdict is Verdict.ABANDONED:
                raise KernelStartError(
                    sentence("The sandbox was taken away while the notebook ran."),
                ) from None
        for step in (step for step in plan.tests if step.grade_id in cells):
            ended = Judged(doubt=reasons.tests_ended(step.grade_id))
            split.judged[step.grade_id] = run.judged.get(step.grade_id, ended)
        if student.evidence:
            is_line = student.evidence[0] == "line"
            split.evidence = reasons.broken_line() if is_line else reasons.unasked()
        return split


@dataclass(slots=True, kw_only=True)
class _Run:
    """A split run under way."""

    talk: Talk
    plan: Plan
    cells: Mapping[str, NotebookNode]
    failed: frozenset[str]
    start: Started
    #: How many cells of the student's side have run.
    done: int
    judged: dict[str, Judged] = field(default_factory=dict)
    _owners: dict[str, Owner] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)
    _number: int = 0

    def take(self, step: Step, later: frozenset[str]) -> None:
        """Bring the student's side up to the step, and run the step on the tests' side.

        A test that scored nothing is left out unless a cell after it uses one of its names.
        """
        self._owners |= dict.fromkeys(step.answered, Owner.STUDENT)
        if (
            step.role is Role.TEST
            and step.grade_id not in self.cells
            and not step.facts.bound & later
        ):
            return
        while self.done < step.before:
            self.talk.student.run(self.plan.student[self.done], self.start.limits.cell_seconds)
            self.done += 1
        if step.role is Role.TEST:
            self._test(step)
        else:
            self._give(step)

    def _give(self, step: Step) -> None:
        """Run a cell that tests may need; what it binds is doubtful if it cannot be run here."""
        can_run = step.facts.is_python and not step.facts.unsafe
        is_doubtful = not can_run or bool(self._doubtful(step))
        if can_run:
            bind = {**self._bind(step), "source": step.facts.plain}
            told = self.talk.request(bind, "bound", self.start.limits.wall_seconds)
            has_failed, remarks = told.get("failed") is not False, told.get("remarks")
            is_doubtful |= bool(remarks) or (has_failed and step.grade_id not in self.failed)
        self._own(step, doubtful=is_doubtful)

    def _own(self, step: Step, *, doubtful: bool) -> None:
        owner = Owner.DOUBTFUL if doubtful else Owner.TESTS
        self._owners |= dict.fromkeys(step.facts.bound, owner)
        if not doubtful:
            self._given |= set(step.facts.classes)

    def _test(self, step: Step) -> None:
        refusal = _refusal(step)
        if refusal is not None:
            self.judged[step.grade_id] = Judged(doubt=refusal)
            self._own(step, doubtful=True)
            return
        outputs, remarks = self._execute(step)
        if step.grade_id not in self.cells:
            self._own(step, doubtful=False)
            return
        cell = self.cells[step.grade_id]
        doubt = self._doubt(step, remarks) or _odd_share(cell, outputs)
        if doubt is None and step.facts.shown in self._names(step):
            doubt = reasons.own_share(step.grade_id, step.facts.shown)
        self._own(step, doubtful=False)
        score = _score(cell, outputs)
        self.judged[step.grade_id] = Judged(score=score, doubt=doubt)

    def _doubt(self, step: Step, remarks: list[Any]) -> Sentence | None:
        if remarks:
            code, about = (str(part) for part in remarks[0])
            return reasons.remarked(step.grade_id, code, about)
        doubtful = self._doubtful(step)
        if doubtful:
            return reasons.doubtful(step.grade_id, doubtful[0])
        if self.talk.student.ended and self._names(step):
            return reasons.student_ended(step.grade_id)
        return None

    def _doubtful(self, step: Step) -> list[str]:
        return sorted(name for name in step.facts.used if self._owners.get(name) is Owner.DOUBTFUL)

    def _names(self, step: Step) -> list[str]:
        theirs = {Owner.STUDENT, Owner.DOUBTFUL}
        return sorted(name for name in step.facts.used if self._owners.get(name) in theirs)

    def _bind(self, step: Step) -> dict[str, Any]:
        return {
            "do": "bind",
            "names": self._names(step),
            "allowed": dict(self.plan.classes),
            "given": sorted(self._given),
        }

    def _execute(self, step: Step) -> tuple[list[NotebookNode], list[Any]]:
        limits = self.start.limits
        has_scored = step.grade_id in self.cells
        seconds = limits.wall_seconds if has_scored else limits.cell_seconds + _SPARE_SECONDS
        self.talk.request(self._bind(step), "bound", seconds)
        self._number += 1
        messages: list[dict[str, Any]] = []
        execute = {"do": "execute", "id": self._number, "source": step.source}
        done = self.talk.request(execute, "done", seconds, messages)["done"]
        settled = self.talk.request({"do": "settle"}, "settled", _SETTLE_SECONDS)
        return list(_outputs(messages, done)), list(settled.get("remarks", ()))


def _used(steps: Sequence[Step]) -> frozenset[str]:
    """Return the names that cells use and do not bind themselves."""
    return frozenset().union(*(step.facts.used - step.facts.bound for step in steps))


def _refusal(step: Step) -> Sentence | None:
    """Say why a test is not to be run apart from the student's code."""
    cell, facts = step.grade_id, step.facts
    if IN_PROCESS in step.tags:
        return reasons.marked(cell)
    if not facts.is_python:
        return reasons.not_python(cell)
    if facts.unsafe:
        return reasons.unsafe(cell, facts.unsafe)
    if facts.inside:
        return reasons.looks_inside(cell, facts.inside)
    return None


def _outputs(messages: list[dict[str, Any]], done: dict[str, Any]) -> Iterator[NotebookNode]:
    """Return as outputs what decides a score."""
    failed = False
    for message in messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            yield NotebookNode(output_type=kind, name=content["name"], text="")
        elif kind == "error":
            failed = True
            yield NotebookNode(output_type=kind)
        elif kind == "execute_result":
            # A text that came apart from its message is too long for a number.
            text = str(content["data"].get("text/plain", "")) if not message["parts"] else "long"
            yield NotebookNode(output_type=kind, data=NotebookNode({"text/plain": text}))
    if done.get("status") != "ok" and not failed:
        yield NotebookNode(output_type="error")


def _score(cell: NotebookNode, outputs: list[NotebookNode]) -> float | None:
    """Return what nbgrader gives a test cell with these outputs, or None where it has no score."""
    from nbgrader import utils

    judged = copy.copy(cell)
    judged.outputs = outputs
    try:
        score, _ = utils.determine_grade(judged)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None
    return None if score is None else float(score)


def _odd_share(cell: NotebookNode, outputs: list[NotebookNode]) -> Sentence | None:
    """Say when the last value is a number that is no share of the points.

    nbgrader gives all points for a negative number, and for one that is none.
    """
    points = float(cell.metadata["nbgrader"]["points"])
    for output in outputs:
        if output.output_type == "execute_result":
            try:
                share = float(output.data["text/plain"])
            except ValueError:
                return None
            if not 0 <= share <= points:
                return reasons.odd_share(grade_id_of(cell), output.data["text/plain"][:40])
    return None
