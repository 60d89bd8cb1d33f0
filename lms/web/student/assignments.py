"""An assignment: its deadline and questions, opening its notebook, handing it in, own attempts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flask import Blueprint, current_app, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment
from lms.enrolment.rules import is_closed
from lms.exchange import service as exchange
from lms.exchange.errors import NotReleasedError
from lms.exchange.models import Submission
from lms.foundation.errors import InvalidError, LmsError, UnavailableError
from lms.gradebook.service import choose, score_of
from lms.grading.models import Run
from lms.grading.service import runs_of
from lms.identity.scopes import Actor
from lms.protocol.grading import Limits
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import current_actor, signed_in
from lms.web.database import session, transaction
from lms.web.dates import due_phrase, time_left
from lms.web.errors import status_of
from lms.web.i18n import gettext
from lms.web.launch import launch_url
from lms.web.parts import blank_cells, state_of_run
from lms.web.student.offerings import turn_away
from lms.web.student.tasks import question_count, task_href
from lms.web.student.work_pages import AttemptRow, TaskPage
from lms.web.system import blobs, current_system, now

bp = Blueprint("assignments", __name__)

#: What browsers add to the name of a file that is downloaded a second time.
_AGAIN = re.compile(r"\s*\(\d{1,3}\)(?=\.ipynb\Z)")


@bp.get("/offerings/<offering_key>/assignments/<assignment_key>")
@signed_in
def show(offering_key: str, assignment_key: str) -> ResponseReturnValue:
    """Show an assignment and the person's attempts."""
    actor = current_actor()
    task = catalogue.get_task(session(), offering_key, assignment_key)
    if not actor.may("course:read", task.offering_id):
        return turn_away(task.offering)
    return render_template("student/task.html", page=make_task(session(), task, actor))


@bp.get("/offerings/<offering_key>/assignments/<assignment_key>/open")
@signed_in
def open_notebook(offering_key: str, assignment_key: str) -> ResponseReturnValue:
    """Lead to the person's notebook server, or say on the page why it cannot be opened now."""
    actor = current_actor()
    task = catalogue.get_task(session(), offering_key, assignment_key)
    if not actor.may("release:fetch", task.offering_id):
        return turn_away(task.offering)
    try:
        return redirect(_launch(task))
    except (UnavailableError, NotReleasedError) as error:
        page = make_task(session(), task, actor, trouble=error.sentence)
        return render_template("student/task.html", page=page), status_of(error)


@bp.post("/offerings/<offering_key>/assignments/<assignment_key>/submissions")
@signed_in
def submit(offering_key: str, assignment_key: str) -> ResponseReturnValue:
    """Take uploaded files as the person's next attempt; a refusal stands beside the form."""
    actor = current_actor()
    try:
        files = _uploaded_files()
        with transaction() as database:
            task = catalogue.get_task(database, offering_key, assignment_key)
            receipt = exchange.submit(
                database, blobs(), task, files, actor=actor, now=now(), via="page"
            )
    except LmsError as error:
        task = catalogue.get_task(session(), offering_key, assignment_key)
        if not actor.may("course:read", task.offering_id):
            raise
        page = make_task(session(), task, actor, errors={"files": error.sentence})
        return render_template("student/task.html", page=page), status_of(error)
    _say_received(receipt)
    return redirect(f"/submissions/{receipt.submission_id}")


def _launch(task: OfferedAssignment) -> str:
    if task.release is None:
        raise NotReleasedError
    return launch_url(current_system(), task)


def make_task(
    database: Session,
    task: OfferedAssignment,
    actor: Actor,
    *,
    errors: Mapping[str, Sentence] | None = None,
    trouble: Sentence | None = None,
) -> TaskPage:
    """Return the page of an assignment for `actor`."""
    at, release, assignment = now(), task.release, task.assignment
    limits = replace(Limits(), **assignment.limits)
    attempts = exchange.list_submissions(database, task.id, actor.person_id)
    runs = runs_of(database, [one.id for one in attempts])
    return TaskPage(
        offering_key=task.offering.key,
        course=task.offering.course.title,
        title=assignment.title,
        summary=assignment.summary,
        href=task_href(task),
        due_at=task.due_at,
        due=due_phrase(task.due_at, at),
        left=time_left(task.due_at, at) if task.due_at else None,
        is_overdue=task.due_at is not None and task.due_at <= at,
        is_released=release is not None,
        release="" if release is None else release.digest.removeprefix("sha256:")[:8],
        points=0 if release is None else release.points,
        manual_points=0 if release is None else release.manual_points,
        minutes=assignment.minutes,
        cell_seconds=limits.cell_seconds,
        memory_bytes=limits.memory_bytes,
        notebooks=() if release is None else tuple(f"{n['name']}.ipynb" for n in release.notebooks),
        cells=blank_cells(question_count(release)),
        attempts=attempt_rows(attempts, runs),
        may_submit=actor.may("submission:write", task.offering_id),
        is_over=is_closed(task.offering.ends_on, at),
        upload_limit=current_app.config["MAX_CONTENT_LENGTH"],
        hub_trouble=trouble,
        errors=errors or {},
    )


def attempt_rows(attempts: Sequence[Submission], runs: Mapping[int, Run]) -> tuple[AttemptRow, ...]:
    """Return the rows of a person's attempts at one task, newest first."""
    counted = choose(attempts, runs)
    return tuple(
        _attempt_row(
            one,
            runs.get(one.id),
            counts=counted is not None and counted.submission is one and not counted.held,
        )
        for one in attempts
    )


def _attempt_row(submission: Submission, run: Run | None, *, counts: bool) -> AttemptRow:
    return AttemptRow(
        number=submission.attempt,
        href=f"/submissions/{submission.id}",
        submitted_at=submission.submitted_at,
        late=submission.late,
        state=state_of_run(run),
        score=None if run is None else score_of(run),
        max_score=run.max_score if run is not None else None,
        counts=counts,
    )


def _uploaded_files() -> dict[str, bytes]:
    files = {}
    for upload in request.files.getlist("files"):
        if upload.filename:
            # Folders of the person's own computer say nothing about the assignment.
            name = upload.filename.replace("\\", "/").rsplit("/", 1)[-1]
            files[_AGAIN.sub("", name)] = upload.read()
    if not files:
        raise InvalidError(
            sentence("No file was chosen, so nothing was submitted. Choose the notebook first.")
        )
    if not any(files.values()):
        raise InvalidError(
            sentence(
                "The chosen file is empty, so nothing was submitted. "
                "Save the notebook and choose it again."
            )
        )
    return files


def _say_received(receipt: exchange.Receipt) -> None:
    if receipt.duplicate:
        flash(
            gettext(
                "These are the same files as attempt %(n)s, so it stays one attempt.",
                n=receipt.attempt,
            )
        )
    elif receipt.late:
        flash(
            gettext(
                "Received as attempt %(n)s, after the deadline: it is marked late.",
                n=receipt.attempt,
            ),
            "wait",
        )
    else:
        flash(gettext("Received as attempt %(n)s.", n=receipt.attempt), "ok")
