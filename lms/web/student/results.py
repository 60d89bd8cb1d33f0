"""What a run found, and what has happened to a submission so far, as the page tells it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from lms.exchange.models import Submission
from lms.grading import service as grading
from lms.grading.models import CellScore, NotebookRun, Run
from lms.grading.queue import PARKED
from lms.grading.rules import Verdict
from lms.protocol.grading import Integrity, RunStatus
from lms.protocol.sentences import sentence
from lms.web.dates import points, seconds
from lms.web.i18n import gettext, ngettext, say
from lms.web.parts import (
    State,
    Step,
    cell_of,
    is_under_way,
    reason_of,
    seal_of,
    state_of,
    state_of_run,
)
from lms.web.student.work_pages import NotebookBlock, QuestionRow, StatusBlock

_BY_PERSON = State("hand", "wait", sentence("A person reads this"))
_NOT_RUN = State("stop", "bad", sentence("Could not run"))
_DECIDED = {
    Verdict.RELEASED: sentence("A person looked at it, and the score stands"),
    Verdict.ZERO: sentence("A person looked at it, and it counts with no points"),
    Verdict.SET_ASIDE: sentence("A person looked at it, and it does not count"),
    Verdict.REGRADED: sentence("A person had it graded again"),
}
#: What nbgrader remarks on a written question that nobody touched, with its zero.
_NO_RESPONSE = "No response."
_UNANSWERED = State("note", "", sentence("Not answered"))
_BY_TESTS = State("check", "", sentence("Marked by tests"))


def notebook_blocks(
    submission: Submission, run: Run, *, for_staff: bool
) -> tuple[NotebookBlock, ...]:
    """Return what a finished run found, notebook by notebook; questions are numbered through."""
    blocks, number = [], 1
    for notebook in run.notebooks:
        blocks.append(_notebook_block(submission, notebook, number, for_staff=for_staff))
        number += len(notebook.cells)
    return tuple(blocks)


def _notebook_block(
    submission: Submission, notebook: NotebookRun, first: int, *, for_staff: bool
) -> NotebookBlock:
    href = f"/submissions/{submission.id}/feedback/{notebook.notebook}"
    return NotebookBlock(
        name=notebook.notebook,
        state=state_of(RunStatus(notebook.status)),
        reason=reason_of(notebook.reason),
        questions=tuple(
            _question(first + place, cell, for_staff=for_staff)
            for place, cell in enumerate(notebook.cells)
        ),
        score=notebook.score,
        max_score=notebook.max_score,
        feedback_href=href if notebook.feedback else None,
        doubt=reason_of(notebook.integrity_reason) if for_staff else None,
        detail=_detail(notebook.detail) if for_staff else (),
    )


def _detail(stored: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return what an instructor wants to know of a run that did not end plainly."""
    facts = stored or {}
    named = (
        (gettext("Cell"), facts.get("cell")),
        (gettext("Limit"), facts.get("limit")),
        (gettext("Last output"), facts.get("last_output")),
    )
    return tuple((name, str(value)) for name, value in named if value)


def _question(number: int, cell: CellScore, *, for_staff: bool) -> QuestionRow:
    score = None if cell.needs_manual else cell.auto_score
    if cell.needs_manual:
        how = _BY_PERSON
    elif cell.auto_score is None:
        how = _NOT_RUN
    elif cell.comment == _NO_RESPONSE:
        how = _UNANSWERED
    else:
        how = seal_of(Integrity(cell.integrity)) if cell.integrity else _BY_TESTS
    found = "–" if score is None else points(score)
    return QuestionRow(
        cell=cell_of(number, cell),
        grade_id=cell.grade_id,
        spoken=gettext(
            "question %(n)s, %(score)s of %(most)s", n=number, score=found,
            most=points(cell.max_score),
        ),
        score=score,
        max_score=cell.max_score,
        how=how,
        comment=cell.comment,
        doubt=reason_of(cell.integrity_reason) if for_staff else None,
    )  # fmt: skip


def status_block(database: Session, submission: Submission, run: Run | None) -> StatusBlock:
    """Return where a submission stands and what happened to it."""
    status = RunStatus.QUEUED if run is None else RunStatus(run.status)
    ahead = 0
    is_parked = run is not None and run.resource == PARKED
    if run is not None and status is RunStatus.QUEUED and not is_parked:
        ahead = grading.queue_position(database, run)
    return StatusBlock(
        href=f"/submissions/{submission.id}/status",
        page_href=f"/submissions/{submission.id}",
        stamp=f"{run.id if run else 0}-{status}-{ahead}{'-parked' if is_parked else ''}",
        state=state_of_run(run),
        under_way=is_under_way(status),
        hint=_parked_words() if is_parked else _hint(status, ahead),
        steps=tuple(_steps(submission, run, status, ahead)),
    )


def _hint(status: RunStatus, ahead: int) -> str:
    if status is RunStatus.QUEUED:
        return _queue_words(ahead) + " " + gettext("You can close this page.")
    if status is RunStatus.RUNNING:
        return gettext("This usually takes less than a minute. You can close this page.")
    return ""


def _parked_words() -> str:
    return gettext(
        "The packages of this course are not set up here yet. Marking begins by itself once they "
        "are, and the wait costs you nothing. You can close this page."
    )


def _queue_words(ahead: int) -> str:
    if not ahead:
        return gettext("You are next in line.")
    return ngettext("%(num)s submission is ahead of you.", "%(num)s submissions are ahead of you.",
                    ahead)  # fmt: skip


def _steps(
    submission: Submission, run: Run | None, status: RunStatus, ahead: int
) -> Sequence[Step]:
    received = Step(
        text=gettext("Received, attempt %(n)s", n=submission.attempt),
        happened_at=submission.submitted_at,
    )
    to_come = Step(text=gettext("Result shown here"), mark="to")
    if run is None or status is RunStatus.QUEUED:
        waiting = (
            gettext("Queued, next in line")
            if not ahead
            else gettext("Queued, %(n)s ahead", n=ahead)
        )
        if run is not None and run.resource == PARKED:
            waiting = gettext("Waiting for the course's packages")
        return [received, Step(text=waiting, mark="at"), Step(text=gettext("Marking"), mark="to"),
                to_come]  # fmt: skip
    queued = Step(text=_queued_words(run), happened_at=run.queued_at)
    if status is RunStatus.RUNNING:
        now_marking = Step(text=gettext("Marking now"), happened_at=run.started_at, mark="at")
        return [received, queued, now_marking, to_come]
    return [received, queued, *_finished_steps(run, status)]


def _queued_words(run: Run) -> str:
    if run.number > 1:
        return gettext("Queued again, run %(n)s", n=run.number)
    return gettext("Queued")


def _finished_steps(run: Run, status: RunStatus) -> Sequence[Step]:
    ran = Step(text=_ran_words(run.started_at, run.finished_at), happened_at=run.finished_at)
    if run.held:
        return [
            ran,
            Step(text=gettext("A person looks at it first"), mark="at"),
            Step(text=gettext("Result shown here"), mark="to"),
        ]
    if run.verdict is not None:
        decided = Step(text=say(_DECIDED[Verdict(run.verdict)]), happened_at=run.released_at)
        return [ran, decided, *_last_steps(run, status)]
    return [ran, *_last_steps(run, status)]


def _last_steps(run: Run, status: RunStatus) -> Sequence[Step]:
    if status is RunStatus.NEEDS_MANUAL:
        return [
            Step(text=gettext("A person reads the rest"), mark="at"),
            Step(text=gettext("All points given"), mark="to"),
        ]
    if status is RunStatus.GRADED:
        shown_at = run.released_at or run.finished_at
        return [Step(text=gettext("Result shown here"), happened_at=shown_at)]
    word = say(state_of(status).word)
    return [Step(text=word, happened_at=run.finished_at, mark="at")]


def _ran_words(started_at: datetime | None, finished_at: datetime | None) -> str:
    if started_at is None or finished_at is None:
        return gettext("Tests ran")
    spent = (finished_at - started_at).total_seconds()
    return gettext("Tests ran, %(time)s", time=seconds(spent))
