"""Shared pieces of the look as values: states, cells, seals, steps. Templates only draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from lms.gradebook.service import Standing
from lms.grading.models import CellScore, Run
from lms.grading.rules import Verdict
from lms.protocol.grading import Integrity, RunStatus
from lms.protocol.sentences import Sentence, sentence
from lms.web.i18n import gettext, ngettext

Tone = Literal["", "ok", "wait", "bad", "live"]
CellKind = Literal["", "full", "part", "none", "hand"]


@dataclass(frozen=True, slots=True)
class State:
    """Where something stands: a shape, a tone and a word."""

    icon: str
    tone: Tone
    word: Sentence


@dataclass(frozen=True, slots=True)
class Cell:
    """One question as a manuscript cell; `fill` is the share of its points, 0 to 100."""

    label: str
    kind: CellKind
    fill: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A row of cells and the sentence that says the same."""

    cells: tuple[Cell, ...]
    spoken: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One event in the life of a submission; `at` marks the present one, `to` those to come."""

    text: str
    happened_at: datetime | None = None
    mark: Literal["", "at", "to"] = ""


#: What a person decides before the score is shown; says nothing about the work.
HELD = State("hand", "wait", sentence("A person looks at it first"))
NOT_SUBMITTED = State("note", "", sentence("Not submitted"))

_STATES: dict[RunStatus, State] = {
    RunStatus.QUEUED: State("clock", "", sentence("Queued")),
    RunStatus.RUNNING: State("turn", "live", sentence("Marking now")),
    RunStatus.GRADED: State("check", "ok", sentence("Graded")),
    RunStatus.NEEDS_MANUAL: State("hand", "wait", sentence("Waiting for a person")),
    RunStatus.TIMED_OUT: State("clock", "bad", sentence("Timed out")),
    RunStatus.OUT_OF_MEMORY: State("chip", "bad", sentence("Out of memory")),
    RunStatus.CRASHED: State("stop", "bad", sentence("Stopped unexpectedly")),
    RunStatus.REJECTED: State("stop", "bad", sentence("Not accepted")),
}

_VERDICTS: dict[Verdict, State] = {
    Verdict.ZERO: State("stop", "bad", sentence("Counts with no points")),
    Verdict.SET_ASIDE: State("stop", "bad", sentence("Does not count")),
}

_SEALS: dict[Integrity, State] = {
    Integrity.VERIFIED: State("seal", "ok", sentence("Verified")),
    Integrity.UNVERIFIED: State("seal-q", "wait", sentence("Unverified")),
    Integrity.TAMPERED: State("seal-x", "bad", sentence("Tampered with")),
}


def state_of(status: RunStatus) -> State:
    """Return the state to draw for a status, of a run or of one notebook in it."""
    return _STATES[status]


def state_of_run(run: Run | None) -> State:
    """Return the state of a run as its student and its graders see it; None waits for its run."""
    if run is None:
        return _STATES[RunStatus.QUEUED]
    if run.held:
        return HELD
    decided = None if run.verdict is None else _VERDICTS.get(Verdict(run.verdict))
    return decided or _STATES[RunStatus(run.status)]


def state_of_standing(standing: Standing | None) -> State:
    """Return the state of a person's result for a task; None is nothing handed in."""
    return NOT_SUBMITTED if standing is None else state_of_run(standing.run)


def seal_of_run(run: Run) -> State | None:
    """Return the seal of a whole run: the weakest verdict, and how many questions are better."""
    tested = [
        cell.integrity
        for notebook in run.notebooks
        for cell in notebook.cells
        if cell.integrity is not None
    ]
    verified = tested.count(Integrity.VERIFIED)
    if run.integrity == Integrity.UNVERIFIED and verified:
        words = sentence("%(n)s of %(total)s verified", n=verified, total=len(tested))
        return replace(_SEALS[Integrity.UNVERIFIED], word=words)
    return None if run.integrity is None else _SEALS[Integrity(run.integrity)]


def seal_of(integrity: Integrity) -> State:
    """Return the seal to press beside a score."""
    return _SEALS[integrity]


def reason_of(stored: Mapping[str, Any] | None) -> Sentence | None:
    """Return a stored reason as a sentence."""
    return None if stored is None else Sentence.from_json(dict(stored))


def is_under_way(status: RunStatus) -> bool:
    """Say whether a run still changes by itself."""
    return status in {RunStatus.QUEUED, RunStatus.RUNNING}


def cell_of(number: int, score: CellScore) -> Cell:
    """Return the cell of one graded question."""
    label = str(number)
    if score.needs_manual:
        return Cell(label, "hand")
    if score.auto_score is None:
        return Cell(label, "none")
    if score.auto_score >= score.max_score:
        return Cell(label, "full", 100)
    if score.auto_score <= 0:
        return Cell(label, "")
    return Cell(label, "part", round(100 * score.auto_score / score.max_score))


def cells_of(run: Run) -> Cells:
    """Return the questions of all notebooks of a run, numbered through."""
    scores = [score for notebook in run.notebooks for score in notebook.cells]
    return _spoken([cell_of(number, score) for number, score in enumerate(scores, 1)])


def cells_for_student(run: Run) -> Cells:
    """Return the questions of a run as its student may see them: blank while it is held."""
    if run.held:
        return blank_cells(sum(len(notebook.cells) for notebook in run.notebooks))
    return cells_of(run)


def blank_cells(count: int) -> Cells:
    """Return cells for questions that nobody has answered yet."""
    return Cells(
        cells=tuple(Cell(str(number), "") for number in range(1, count + 1)),
        spoken=ngettext("%(num)s question", "%(num)s questions", count),
    )


def _spoken(cells: Sequence[Cell]) -> Cells:
    counted = {
        kind: sum(c.kind == kind for c in cells) for kind in ("full", "part", "hand", "none")
    }
    words = {
        "full": gettext("%(n)s full marks", n=counted["full"]),
        "part": gettext("%(n)s partial", n=counted["part"]),
        "hand": gettext("%(n)s for a person", n=counted["hand"]),
        "none": gettext("%(n)s could not run", n=counted["none"]),
    }
    total = ngettext("%(num)s question", "%(num)s questions", len(cells))
    found = ", ".join(words[kind] for kind, count in counted.items() if count)
    return Cells(cells=tuple(cells), spoken=f"{total}: {found}" if found else total)
