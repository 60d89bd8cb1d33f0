"""What came in for an assignment: the list, the files, grading one again."""

from flask import Blueprint, Response, flash, redirect, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment
from lms.enrolment import service as enrolment
from lms.enrolment.rules import EnrolmentState
from lms.exchange import service as exchange
from lms.exchange.models import Submission
from lms.grading import service as grading
from lms.grading.models import Run
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.grading import RunStatus
from lms.web.access import current_actor, signed_in
from lms.web.archives import zip_answer
from lms.web.database import session, transaction
from lms.web.dates import due_phrase
from lms.web.i18n import gettext
from lms.web.instructor.corrections import waiting_correction
from lms.web.instructor.pages import ReceivedPage, ReceivedRow, RegradePage
from lms.web.parts import is_under_way, state_of_run
from lms.web.system import blobs, now

bp = Blueprint("marking", __name__)

_GRADED = frozenset({RunStatus.GRADED, RunStatus.NEEDS_MANUAL})


@bp.get("/teach/<offering_key>/assignments/<assignment_key>")
@signed_in
def show(offering_key: str, assignment_key: str) -> ResponseReturnValue:
    """Show the newest attempt of everybody at one assignment."""
    task = catalogue.get_task(session(), offering_key, assignment_key)
    page = make_received(session(), task, current_actor())
    return render_template("instructor/received.html", page=page)


@bp.get("/teach/<offering_key>/assignments/<assignment_key>/files")
@signed_in
def files(offering_key: str, assignment_key: str) -> Response:
    """Send the newest attempts as nbgrader's submitted/ tree."""
    task = catalogue.get_task(session(), offering_key, assignment_key)
    received = exchange.list_received(session(), task.id, actor=current_actor())
    tree = {
        f"submitted/{person.username}/{assignment_key}/{path}": content
        for submission, person in received
        for path, content in exchange.read_submission(blobs(), submission).items()
    }
    return zip_answer(tree, f"{offering_key}-{assignment_key}")


@bp.get("/teach/<offering_key>/submissions/<int:submission_id>/regrade")
@signed_in
def confirm_regrade(offering_key: str, submission_id: int) -> ResponseReturnValue:
    """Ask before a submission is graded again."""
    del offering_key
    actor = current_actor()
    submission, task = exchange.get_submission(session(), submission_id, actor=actor)
    actor.require("submission:regrade", task.offering_id)
    page = make_regrade(session(), submission, task)
    return render_template("instructor/regrade.html", page=page)


@bp.post("/teach/<offering_key>/submissions/<int:submission_id>/regrade")
@signed_in
def regrade(offering_key: str, submission_id: int) -> ResponseReturnValue:
    """Queue one more run of a submission."""
    del offering_key
    with transaction() as database:
        grading.regrade(database, submission_id, actor=current_actor(), now=now(), fresh=True)
    flash(
        gettext("It is in the queue. The result so far stays until the new one is there."), "wait"
    )
    return redirect(f"/submissions/{submission_id}")


def make_received(database: Session, task: OfferedAssignment, actor: Actor) -> ReceivedPage:
    """Return what came in for `task`."""
    received = exchange.list_received(database, task.id, actor=actor)
    runs = grading.runs_of(database, [submission.id for submission, _ in received])
    counts = enrolment.count_by_state(database, [task.offering_id])
    return ReceivedPage(
        offering_key=task.offering.key,
        course=task.offering.course.title,
        title=task.assignment.title,
        href=f"/teach/{task.offering.key}/assignments/{task.assignment.key}",
        due=due_phrase(task.due_at, now()),
        rows=tuple(_row(one, person, runs.get(one.id)) for one, person in received),
        students=counts.get((task.offering_id, EnrolmentState.ACTIVE), 0),
        may_regrade=actor.may("submission:regrade", task.offering_id),
        correction_href=waiting_correction(database, task, actor),
    )


def _row(submission: Submission, person: Person, run: Run | None) -> ReceivedRow:
    status = RunStatus.QUEUED if run is None else RunStatus(run.status)
    scored = run is not None and status in _GRADED
    return ReceivedRow(
        id=submission.id,
        name=person.display_name,
        username=person.username,
        attempt=submission.attempt,
        submitted_at=submission.submitted_at,
        late=submission.late,
        state=state_of_run(run),
        score=run.score if run is not None and scored else None,
        max_score=run.max_score if run is not None and not is_under_way(status) else None,
    )


def make_regrade(database: Session, submission: Submission, task: OfferedAssignment) -> RegradePage:
    """Return the question whether to grade `submission` again."""
    row = _row(
        submission,
        database.get_one(Person, submission.person_id),
        grading.latest_run(database, submission.id),
    )
    return RegradePage(
        offering_key=task.offering.key,
        submission_id=submission.id,
        course=task.offering.course.title,
        title=task.assignment.title,
        task_href=f"/teach/{task.offering.key}/assignments/{task.assignment.key}",
        name=row.name,
        attempt=row.attempt,
        score=row.score,
        max_score=row.max_score,
        state=row.state,
    )
