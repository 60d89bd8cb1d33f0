"""The exchange for machines: list, fetch, submit, feedback; release and collect for instructors.

nbgrader's exchange classes in people's notebook servers and `lms submit` speak it. Only a token
counts here, never a cookie: who submits is whose token it is, when is this server's clock.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import wraps

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from sqlalchemy.orm import Session

from lms.api.archives import received_files, zip_response
from lms.api.bearers import (
    OWN_PREFIX,
    NoBearerError,
    bearer_actor,
    bearer_username,
    init_bearers,
    own_token,
)
from lms.api.database import reading, system, transaction
from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment
from lms.catalogue.publishing import publish
from lms.enrolment.rules import EnrolmentState
from lms.enrolment.service import list_enrolled
from lms.exchange import service as exchange
from lms.exchange.corrections import correction, find_base
from lms.exchange.errors import NotReleasedError, SubmissionNotFoundError
from lms.exchange.models import Submission
from lms.foundation import clock
from lms.foundation.errors import InvalidError
from lms.foundation.settings import Settings
from lms.grading import service as grading
from lms.grading.models import Run
from lms.identity import service as identity
from lms.identity.access import machine
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.release import build
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import sentence

bp = Blueprint("exchange", __name__, url_prefix="/api/exchange")

#: Where a submission may say it comes from.
VIAS = frozenset({"notebook", "command"})
#: Hours that a token of `lms submit` stands; the command ends it itself.
TOKEN_HOURS = 1

View = Callable[..., ResponseReturnValue]


def init_exchange(app: Flask, settings: Settings) -> None:
    """Add the exchange's addresses to `app`."""
    init_bearers(app, settings)
    app.register_blueprint(bp)
    app.register_error_handler(NoBearerError, _answer_no_bearer)


def _answer_no_bearer(error: NoBearerError) -> ResponseReturnValue:
    message = gettext(error.sentence.template)
    body = jsonify({"error": {"status": 401, "message": message}})
    return body, 401, {"WWW-Authenticate": "Bearer"}


@contextmanager
def _acting() -> Iterator[tuple[Session, Person, Actor]]:
    """Open a reading session for whose token the request carries."""
    # The Hub is asked before a connection is taken: it may be slow.
    username = bearer_username()
    with reading() as session:
        yield (session, *bearer_actor(session, username))


def _recognised(view: View) -> View:
    """Refuse a request without a good token before its body is read."""

    @wraps(view)
    def checked(**names: str | int) -> ResponseReturnValue:
        with _acting():
            pass
        return view(**names)

    return checked


# --- tokens of our own, for `lms submit` outside a notebook server ---


@bp.post("/token")
@machine
def issue_token() -> ResponseReturnValue:
    """Give a short-lived token for a username and a password; limited like the log-in page."""
    given = request.get_json(silent=True)
    given = given if isinstance(given, dict) else {}
    username, password = given.get("username"), given.get("password")
    if not isinstance(username, str) or not isinstance(password, str):
        raise InvalidError(sentence("Please give both username and password."))
    address = request.remote_addr or "unknown"
    with transaction() as session:
        identity.open_attempt(session, username, address, now=clock.now())
    with reading() as session:
        person = identity.authenticate(session, username, password)
    with transaction() as session:
        token = identity.start_sign_in(
            session, person, now=clock.now(), hours=TOKEN_HOURS, address=address
        )
    return jsonify(token=OWN_PREFIX + token), 201, {"Cache-Control": "no-store"}


@bp.delete("/token")
@machine
def end_token() -> ResponseReturnValue:
    """End the token that the request carries; one that has ended already changes nothing."""
    token = own_token()
    if token is not None:
        with transaction() as session:
            identity.end_sign_in(session, token, now=clock.now())
    return "", 204


# --- students ---


@bp.get("/courses")
@machine
def list_courses() -> ResponseReturnValue:
    """Return the offerings that the person takes part in."""
    with _acting() as (session, person, _actor):
        enrolled = [
            offering
            for enrolment, offering in list_enrolled(session, person.id)
            if enrolment.state == EnrolmentState.ACTIVE
        ]
        found = catalogue.list_offerings(session, [offering.id for offering in enrolled])
        courses = [{"key": o.key, "title": o.course.title[person.locale]} for o in found]
    return jsonify(courses=sorted(courses, key=lambda course: course["key"]))


@bp.get("/<offering>/assignments")
@machine
def list_assignments(offering: str) -> ResponseReturnValue:
    """Return the offering's released assignments with the person's own attempts."""
    with _acting() as (session, person, actor):
        found = catalogue.get_offering(session, offering)
        actor.require("course:read", found.id)
        tasks = sorted(found.tasks, key=lambda task: task.assignment.position)
        assignments = [_assignment(session, task, person) for task in tasks if task.release]
    return jsonify(assignments=assignments)


@bp.get("/<offering>/<assignment>/release")
@machine
def fetch_release(offering: str, assignment: str) -> ResponseReturnValue:
    """Return the files that students get."""
    with _acting() as (session, _person, actor):
        task = catalogue.get_task(session, offering, assignment)
        actor.require("release:fetch", task.offering_id)
        if task.release is None:
            raise NotReleasedError
        files = catalogue.read_release(system().blobs, task.release, "student")
        digest = task.release.digest
    return zip_response(files, X_Release=digest)


@bp.get("/<offering>/<assignment>/correction")
@machine
def fetch_correction(offering: str, assignment: str) -> ResponseReturnValue:
    """Return what a copy of the release `since` needs to become the current one; 204 if nothing."""
    with _acting() as (session, _person, actor):
        task = catalogue.get_task(session, offering, assignment)
        actor.require("release:fetch", task.offering_id)
        base = find_base(task, request.args.get("since", ""))
        current = task.release or base
        if current.digest == base.digest:
            return "", 204, {"X-Release": current.digest}
        files = correction(system().blobs, base, current)
        digest = current.digest
    return zip_response(files, X_Release=digest)


@bp.post("/<offering>/<assignment>/submissions")
@machine
@_recognised
def submit(offering: str, assignment: str) -> ResponseReturnValue:
    """Take the files as the person's next attempt and return the receipt."""
    via = request.args.get("via", "notebook")
    if via not in VIAS:
        raise InvalidError(sentence("A submission comes from “notebook” or “command”."))
    username, files = bearer_username(), received_files()
    with transaction() as session:
        _person, actor = bearer_actor(session, username)
        task = catalogue.get_task(session, offering, assignment)
        receipt = exchange.submit(
            session, system().blobs, task, files, actor=actor, now=clock.now(), via=via
        )
    url = f"{system().settings.lms_url}/submissions/{receipt.submission_id}"
    return jsonify({**receipt.to_json(), "url": url}), 200 if receipt.duplicate else 201


@bp.get("/<offering>/<assignment>/submissions/<int:attempt>/feedback")
@machine
def fetch_feedback(offering: str, assignment: str, attempt: int) -> ResponseReturnValue:
    """Return the feedback pages of one of the person's own attempts."""
    with _acting() as (session, person, _actor):
        task = catalogue.get_task(session, offering, assignment)
        attempts = exchange.list_submissions(session, task.id, person.id)
        submission = next((s for s in attempts if s.attempt == attempt), None)
        if submission is None:
            raise SubmissionNotFoundError
        run = grading.latest_run(session, submission.id)
        grading.check_shown(run)
        digests = _feedback(run)
        pages = {f"{name}.html": system().blobs.get(d) for name, d in digests.items()}
    return zip_response(pages)


# --- instructors ---


@bp.post("/<offering>/<assignment>/release")
@machine
@_recognised
def publish_release(offering: str, assignment: str) -> ResponseReturnValue:
    """Make the sent source/<assignment> the newest release."""
    username = bearer_username()
    with reading() as session:
        _person, actor = bearer_actor(session, username)
        task = catalogue.get_task(session, offering, assignment)
        actor.require("release:write", task.offering_id)
    source = AssignmentSource(name=task.assignment.key, files=received_files())
    try:
        built = build(source)
    except ReleaseError as error:
        raise InvalidError(error.sentence) from error
    with transaction() as session:
        _person, actor = bearer_actor(session, username)
        task = catalogue.get_task(session, offering, assignment)
        release = publish(
            session, system().blobs, task.assignment, built, actor=actor, now=clock.now()
        )
        answer = {"number": release.number, "digest": release.digest, "points": release.points}
    return jsonify(answer), 201


@bp.get("/<offering>/<assignment>/submissions")
@machine
def list_received(offering: str, assignment: str) -> ResponseReturnValue:
    """Return each student's newest attempt."""
    with _acting() as (session, _person, actor):
        task = catalogue.get_task(session, offering, assignment)
        submissions = [
            {
                "id": submission.id,
                "student": person.username,
                "attempt": submission.attempt,
                "digest": submission.digest,
                "submitted_at": _instant(submission.submitted_at),
                "late": submission.late,
            }
            for submission, person in exchange.list_received(session, task.id, actor=actor)
        ]
    return jsonify(submissions=submissions)


@bp.get("/<offering>/<assignment>/submissions/<int:submission_id>/files")
@machine
def fetch_submission(offering: str, assignment: str, submission_id: int) -> ResponseReturnValue:
    """Return the files of one submission."""
    with _acting() as (session, _person, actor):
        task = catalogue.get_task(session, offering, assignment)
        submission, found = exchange.get_submission(session, submission_id, actor=actor)
        if found.id != task.id:
            raise SubmissionNotFoundError
        files = exchange.read_submission(system().blobs, submission)
        digest = submission.digest
    return zip_response(files, X_Submission=digest)


# --- shapes ---


def _assignment(session: Session, task: OfferedAssignment, person: Person) -> dict[str, object]:
    submissions = exchange.list_submissions(session, task.id, person.id)
    runs = grading.runs_of(session, [submission.id for submission in submissions])
    release = task.release
    return {
        "name": task.assignment.key,
        "title": task.assignment.title[person.locale],
        "due_at": None if task.due_at is None else _instant(task.due_at),
        "release": None if release is None else release.digest,
        "notebooks": [] if release is None else [nb["name"] for nb in release.notebooks],
        "submissions": [_attempt(s, runs.get(s.id)) for s in reversed(submissions)],
    }


def _attempt(submission: Submission, run: Run | None) -> dict[str, object]:
    return {
        "attempt": submission.attempt,
        "digest": submission.digest,
        "submitted_at": _instant(submission.submitted_at),
        "late": submission.late,
        "status": RunStatus.QUEUED.value if run is None else run.status,
        "feedback": _feedback(run),
    }


def _feedback(run: Run | None) -> dict[str, str]:
    """Return the digests of a run's feedback pages by notebook; none while it is held."""
    if run is None or run.held:
        return {}
    return {nb.notebook: nb.feedback for nb in run.notebooks if nb.feedback is not None}


def _instant(at: datetime) -> str:
    return at.isoformat()
