"""One attempt: where it stands, score and cells, receipt, feedback."""

from typing import Any

from flask import Blueprint, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment, Release
from lms.exchange import service as exchange
from lms.exchange.models import Submission
from lms.gradebook.service import score_of
from lms.grading import service as grading
from lms.grading.holds import told
from lms.grading.models import Run
from lms.grading.receipts import get_receipt
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.grading import Integrity, RunStatus
from lms.web.access import current_actor, signed_in
from lms.web.archives import zip_answer
from lms.web.database import session
from lms.web.dates import due_phrase
from lms.web.parts import (
    Cells,
    blank_cells,
    cells_of,
    is_under_way,
    reason_of,
    seal_of_run,
    state_of_run,
)
from lms.web.student.assignments import attempt_rows
from lms.web.student.results import notebook_blocks, status_block
from lms.web.student.tasks import question_count, task_href
from lms.web.student.work_pages import HoldBlock, ReceiptBlock, SubmissionPage
from lms.web.system import blobs
from lms.web.words import via_word

bp = Blueprint("submissions", __name__)

#: Feedback holds what a student's code printed: it must not run, load or reach anything.
FEEDBACK_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_GRADED = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL})


@bp.get("/submissions/<int:submission_id>")
@signed_in
def show(submission_id: int) -> ResponseReturnValue:
    """Show an attempt to its owner or to who may read the offering's submissions."""
    page = make_submission(session(), submission_id, current_actor())
    return render_template("student/submission.html", page=page)


@bp.get("/submissions/<int:submission_id>/status")
@signed_in
def status(submission_id: int) -> ResponseReturnValue:
    """Answer the page's polling: the result as it is now, or 204 when nothing has changed."""
    page = make_submission(session(), submission_id, current_actor())
    if request.args.get("seen") == page.status.stamp:
        return Response(status=204)
    response = make_response(render_template("student/_result.html", page=page, is_update=True))
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/submissions/<int:submission_id>/feedback/<path:notebook>")
@signed_in
def feedback(submission_id: int, notebook: str) -> Response:
    """Send the feedback page of one notebook as it is, shut in by its headers."""
    submission, task = exchange.get_submission(session(), submission_id, actor=current_actor())
    run = grading.latest_run(session(), submission.id)
    content = b""
    if run is not None:
        for_staff = current_actor().may("submission:read", task.offering_id)
        content = grading.find_feedback(session(), blobs(), run, notebook, for_staff=for_staff)
    response = Response(content, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = FEEDBACK_POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.get("/submissions/<int:submission_id>/receipt.json")
@signed_in
def receipt(submission_id: int) -> Response:
    """Send the receipt as a file to keep."""
    database = session()
    submission, task = exchange.get_submission(database, submission_id, actor=current_actor())
    text = exchange.receipt_text(exchange.receipt_of(database, submission, task))
    name = f"receipt-{task.assignment.key}-{submission.attempt}.json"
    response = Response(text, content_type="application/json; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@bp.get("/submissions/<int:submission_id>/grade-receipt.json")
@signed_in
def grade_receipt(submission_id: int) -> Response:
    """Send the signed record of the grade, byte for byte as it was signed."""
    database, actor = session(), current_actor()
    signed = get_receipt(database, submission_id, actor=actor)
    submission, task = exchange.get_submission(database, submission_id, actor=actor)
    name = f"grade-{task.assignment.key}-{submission.attempt}.json"
    response = Response(signed.document, content_type="application/json; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.get("/submissions/<int:submission_id>/files")
@signed_in
def files(submission_id: int) -> Response:
    """Send what was handed in as one archive."""
    submission, task = exchange.get_submission(session(), submission_id, actor=current_actor())
    name = f"{task.assignment.key}-{submission.person_id}-{submission.attempt}"
    return zip_answer(exchange.read_submission(blobs(), submission), name)


def make_submission(database: Session, submission_id: int, actor: Actor) -> SubmissionPage:
    """Return the page of an attempt; raises SubmissionNotFoundError."""
    submission, task = exchange.get_submission(database, submission_id, actor=actor)
    task = catalogue.load_task(database, task.id)
    attempts = exchange.list_submissions(database, task.id, submission.person_id)
    runs = grading.runs_of(database, [one.id for one in attempts])
    run = runs.get(submission.id)
    if run is not None:
        grading.load_results(database, run)
    run_status = RunStatus.QUEUED if run is None else RunStatus(run.status)
    finished = run is not None and not is_under_way(run_status)
    is_own = submission.person_id == actor.person_id
    return SubmissionPage(
        id=submission.id,
        offering_key=task.offering.key,
        course=task.offering.course.title,
        task_href=task_href(task),
        title=task.assignment.title,
        student="" if is_own else _student_name(database, submission),
        is_own=is_own,
        may_regrade=actor.may("submission:regrade", task.offering_id),
        attempt=submission.attempt,
        attempts=attempt_rows(attempts, runs),
        status=status_block(database, submission, run),
        points=_release_of(submission, task).points,
        due=due_phrase(task.due_at, submission.submitted_at),
        due_at=task.due_at,
        waits_for_person=run_status is RunStatus.NEEDS_MANUAL,
        is_failed=finished and run_status not in _GRADED,
        hold=None if run is None else _hold_block(database, run, task, actor),
        **_found(submission, task, run, actor),
    )


def _found(
    submission: Submission, task: OfferedAssignment, run: Run | None, actor: Actor
) -> dict[str, Any]:
    """Return what a run found, as far as this reader may see it."""
    is_staff = actor.may("submission:read", task.offering_id)
    is_hidden = run is not None and run.held and not is_staff
    shown = None if run is None or is_hidden or run.finished_at is None else run
    return {
        "is_hidden": is_hidden,
        "receipt": _receipt_block(submission, task, has_grade=shown is not None),
        "score": None if shown is None else _score(shown, is_staff=is_staff),
        "max_score": None if run is None or run.finished_at is None else run.max_score,
        "cells": _cells(submission, task, shown),
        "seal": None if shown is None else seal_of_run(shown),
        "is_unverified": run is not None and run.integrity == Integrity.UNVERIFIED,
        "is_unsafe": run is not None and run.unsafe,
        "reason": None if run is None else reason_of(run.reason),
        "notebooks": ()
        if shown is None
        else notebook_blocks(submission, shown, for_staff=is_staff),
    }


def _score(run: Run, *, is_staff: bool) -> float | None:
    """Return the score to show: staff see also what is held."""
    if is_staff and run.verdict is None:
        return run.score if run.status in _GRADED else None
    return score_of(run)


def _hold_block(
    database: Session, run: Run, task: OfferedAssignment, actor: Actor
) -> HoldBlock | None:
    if not run.held and run.verdict is None:
        return None
    is_staff = actor.may("submission:read", task.offering_id)
    decider = None
    if is_staff and run.released_by is not None:
        decider = database.get(Person, run.released_by)
    may_decide = run.held and actor.may("submission:decide", task.offering_id)
    return HoldBlock(
        reason=reason_of(run.hold_reason) if is_staff else None,
        told=told(run),
        is_held=run.held,
        decided=None if run.verdict is None else state_of_run(run),
        decided_at=run.released_at,
        decided_by="" if decider is None else decider.display_name,
        href=f"/teach/{task.offering.key}/runs/{run.id}/decision" if may_decide else "",
        run_id=run.id,
    )


def _cells(submission: Submission, task: OfferedAssignment, run: Run | None) -> Cells:
    if run is not None and run.notebooks:
        return cells_of(run)
    return blank_cells(question_count(_release_of(submission, task)))


def _release_of(submission: Submission, task: OfferedAssignment) -> Release:
    return next(one for one in task.assignment.releases if one.id == submission.release_id)


def _student_name(database: Session, submission: Submission) -> str:
    return database.get_one(Person, submission.person_id).display_name


def _receipt_block(
    submission: Submission, task: OfferedAssignment, *, has_grade: bool
) -> ReceiptBlock:
    release = _release_of(submission, task)
    entries = tuple((entry["path"], int(entry["bytes"])) for entry in submission.files)
    return ReceiptBlock(
        attempt=submission.attempt,
        submitted_at=submission.submitted_at,
        files=entries,
        total_bytes=sum(count for _, count in entries),
        digest=submission.digest,
        release=f"{task.assignment.key} {release.number}",
        late=submission.late,
        via=via_word(submission.via),
        href=f"/submissions/{submission.id}/receipt.json",
        files_href=f"/submissions/{submission.id}/files",
        grade_href=f"/submissions/{submission.id}/grade-receipt.json" if has_grade else "",
    )
