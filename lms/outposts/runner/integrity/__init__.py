"""How far a score can be trusted: the split run, the canaries, and the verdict."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nbformat import NotebookNode

from lms.outposts.runner.errors import RunStoppedError
from lms.outposts.runner.integrity import reasons
from lms.outposts.runner.integrity.apart import Apart, run_apart
from lms.outposts.runner.integrity.canaries import Suspect, find_passing
from lms.outposts.runner.integrity.plan import (
    CALL_STYLE,
    IN_PROCESS,
    Notebooks,
    Plan,
    grade_id_of,
    is_test,
    make_plan,
)
from lms.outposts.runner.integrity.shown import ShowPlan, plan_shown
from lms.outposts.runner.integrity.split import Split, run_split
from lms.outposts.runner.program import CellProgram, UnfitError
from lms.outposts.runner.running import Started
from lms.protocol.grading import Integrity
from lms.protocol.sentences import Sentence

__all__ = [
    "CALL_STYLE",
    "IN_PROCESS",
    "CellIntegrity",
    "IntegrityReport",
    "Notebooks",
    "ShowPlan",
    "plan_shown",
    "run_apart",
    "verify",
]

_CANARY_SECONDS = 10
_WORST = (Integrity.TAMPERED, Integrity.UNVERIFIED, Integrity.VERIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellIntegrity:
    """The verdict on one test cell's score; the reason is for instructors."""

    integrity: Integrity
    reason: Sentence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityReport:
    """The verdict on a notebook: its weakest cell's, and every test cell's by grade_id."""

    integrity: Integrity
    reason: Sentence | None = None
    cells: Mapping[str, CellIntegrity] = field(default_factory=dict)


def verify(
    notebooks: Notebooks,
    scores: Mapping[str, float | None],
    start: Started,
    apart: Apart | None = None,
) -> IntegrityReport:
    """Judge the scores that the notebook got when it was run in one process.

    `apart` is the run that feedback shows, if there is one. A score of zero is taken as it is:
    nobody forges a zero. Raises KernelStartError, and nothing for whatever the student's code does.
    """
    tests = {grade_id_of(cell): cell for cell in notebooks.executed.cells if is_test(cell)}
    gained = {name: score for name in tests if (score := scores.get(name) or 0.0) > 0}
    cells = {name: CellIntegrity(integrity=Integrity.VERIFIED) for name in tests}
    if gained:
        plan = make_plan(notebooks)
        scored = {name: tests[name] for name in gained}
        cells |= _split(plan, notebooks, scored, gained, start, apart or Apart())
        doubted = [name for name in gained if cells[name].integrity is Integrity.UNVERIFIED]
        if doubted:
            cells |= _canaries(plan, notebooks, cells, doubted, start)
    return _report(cells)


def _split(
    plan: Plan,
    notebooks: Notebooks,
    tests: Mapping[str, NotebookNode],
    gained: Mapping[str, float],
    start: Started,
    apart: Apart,
) -> dict[str, CellIntegrity]:
    """Ask the run that feedback shows; and one that goes cell by cell where that may differ."""
    failed = frozenset(
        grade_id_of(cell)
        for cell in notebooks.executed.cells
        if any(output.get("output_type") == "error" for output in cell.get("outputs", ()))
    )
    try:
        if apart.program is not None and plan.can_ask_late(apart.done):
            cells = _judged(run_split(plan, tests, failed, start, apart), gained)
            if not any(_may_be_late(cell) for cell in cells.values()):
                return cells
        return _judged(run_split(plan, tests, failed, start, Apart()), gained)
    except UnfitError as error:
        reason = reasons.cannot_run(str(error))
        whole = CellIntegrity(integrity=Integrity.UNVERIFIED, reason=reason)
        return dict.fromkeys(gained, whole)


def _may_be_late(cell: CellIntegrity) -> bool:
    """Say whether asking before the later cells ran could have come out otherwise."""
    if cell.integrity is not Integrity.UNVERIFIED or cell.reason is None:
        return False
    return cell.reason.template in reasons.OF_THE_MOMENT


def _judged(split: Split, gained: Mapping[str, float]) -> dict[str, CellIntegrity]:
    if split.evidence is not None:
        whole = CellIntegrity(integrity=Integrity.TAMPERED, reason=split.evidence)
        return dict.fromkeys(gained, whole)
    cells = {}
    for name, score in gained.items():
        judged = split.judged[name]
        reason = judged.doubt
        if reason is None and judged.score != score:
            reason = reasons.scores_differ(name, score, judged.score or 0.0)
        integrity = Integrity.VERIFIED if reason is None else Integrity.UNVERIFIED
        cells[name] = CellIntegrity(integrity=integrity, reason=reason)
    return cells


def _canaries(
    plan: Plan,
    notebooks: Notebooks,
    cells: Mapping[str, CellIntegrity],
    doubted: list[str],
    start: Started,
) -> dict[str, CellIntegrity]:
    origins: dict[str, str] = {}
    answered: set[str] = set()
    suspects = []
    for step in plan.steps:
        origins |= step.facts.origins
        answered |= step.answered
        if step.grade_id in doubted:
            suspects.append(
                Suspect(grade_id=step.grade_id, source=step.source, answered=frozenset(answered))
            )
    seconds = min(_CANARY_SECONDS, start.limits.cell_seconds)
    found = _found_again(notebooks, suspects, origins, start, seconds)
    tampered = {name: found[key] for key in found for name in ([key] if key else doubted)}
    return {
        name: CellIntegrity(integrity=Integrity.TAMPERED, reason=reasons.canary_passed(name, what))
        for name, what in tampered.items()
        if name in cells
    }


def _found_again(
    notebooks: Notebooks,
    suspects: list[Suspect],
    origins: Mapping[str, str],
    start: Started,
    seconds: int,
) -> dict[str, str]:
    """Run the notebook once more as it was scored, and the canaries after it."""
    program = CellProgram(start.launcher, start.files, start.limits, start.seed, start.fonts)
    try:
        with program:
            for source in _executed_sources(notebooks.executed):
                program.execute(source, start.limits.cell_seconds)
            return find_passing(program, suspects, origins, seconds)
    except (RunStoppedError, UnfitError):
        return {}


def _executed_sources(executed: NotebookNode) -> Iterator[str]:
    for cell in executed.cells:
        if cell.cell_type == "code" and cell.source.strip():
            yield cell.source


def _report(cells: Mapping[str, CellIntegrity]) -> IntegrityReport:
    for integrity in _WORST:
        found = [cell for cell in cells.values() if cell.integrity is integrity]
        if found:
            # A disagreement is said before what merely could not be looked at.
            found.sort(key=lambda cell: not _is_disagreement(cell.reason))
            return IntegrityReport(integrity=integrity, reason=found[0].reason, cells=cells)
    return IntegrityReport(integrity=Integrity.VERIFIED, cells=cells)


def _is_disagreement(reason: Sentence | None) -> bool:
    return reason is not None and reason.template == reasons.SCORES_DIFFER
