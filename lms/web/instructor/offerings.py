"""The offerings that a person teaches: who is in, who waits to be let in, what came in."""

from collections.abc import Sequence

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment, Offering
from lms.enrolment import service as enrolment
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.exchange import service as exchange
from lms.foundation.errors import ForbiddenError
from lms.grading import holds
from lms.grading import service as grading
from lms.identity.models import Person
from lms.identity.scopes import Actor, Role
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import current_actor, signed_in
from lms.web.chrome import teaches
from lms.web.database import session, transaction
from lms.web.dates import due_phrase
from lms.web.i18n import gettext
from lms.web.instructor.pages import (
    RosterRow,
    TaskSummary,
    TaughtOffering,
    TeachOfferingPage,
    TeachPage,
)
from lms.web.parts import State, is_under_way
from lms.web.system import now

bp = Blueprint("teach", __name__)

_ROLES = {
    Role.STUDENT: sentence("Student"),
    Role.GRADER: sentence("Grader"),
    Role.INSTRUCTOR: sentence("Instructor"),
    Role.OBSERVER: sentence("Observer"),
}
_STATES = {
    EnrolmentState.ACTIVE: State("check", "ok", sentence("In the course")),
    EnrolmentState.PENDING: State("clock", "wait", sentence("Waits for you")),
    EnrolmentState.DECLINED: State("x", "bad", sentence("Declined")),
    EnrolmentState.WITHDRAWN: State("door", "", sentence("Left")),
}


@bp.get("/teach")
@signed_in
def show_all() -> ResponseReturnValue:
    """Show the offerings that the person looks after."""
    actor = current_actor()
    if not teaches(actor):
        raise ForbiddenError(sentence("You teach no course here."))
    return render_template("instructor/teach.html", page=make_teach(session(), actor))


@bp.get("/teach/<key>")
@signed_in
def show(key: str) -> ResponseReturnValue:
    """Show one offering: assignments, requests, roster."""
    actor, offering = current_actor(), catalogue.get_offering(session(), key)
    actor.require("roster:read", offering.id)
    return render_template(
        "instructor/offering.html", page=make_offering(session(), offering, actor)
    )


@bp.post("/teach/<key>/enrolments/<int:enrolment_id>")
@signed_in
def decide(key: str, enrolment_id: int) -> ResponseReturnValue:
    """Let somebody in, or not."""
    accept = request.form.get("decision") == "accept"
    with transaction() as database:
        one = enrolment.decide(
            database, enrolment_id, accept=accept, actor=current_actor(), now=now()
        )
        name = database.get_one(Person, one.person_id).display_name
    if accept:
        flash(gettext("%(name)s is in the course.", name=name), "ok")
    else:
        flash(gettext("%(name)s was declined.", name=name))
    return redirect(f"/teach/{key}")


def make_teach(database: Session, actor: Actor) -> TeachPage:
    """Return the list of offerings that `actor` looks after."""
    mine = [key for key in actor.roles if actor.may("roster:read", key)]
    offerings = catalogue.list_offerings(database, None if actor.is_admin else mine)
    ids = [offering.id for offering in offerings]
    counts = enrolment.count_by_state(database, ids)
    received = exchange.count_received(database, ids)
    return TeachPage(
        offerings=tuple(
            TaughtOffering(
                key=one.key,
                course=one.course.title,
                term=one.title,
                students=counts.get((one.id, EnrolmentState.ACTIVE), 0),
                pending=counts.get((one.id, EnrolmentState.PENDING), 0),
                handed_in=received.get(one.id, 0),
            )
            for one in offerings
        )
    )


def make_offering(database: Session, offering: Offering, actor: Actor) -> TeachOfferingPage:
    """Return the page of one offering."""
    roster = enrolment.list_roster(database, offering.id, actor=actor)
    tasks = sorted(offering.tasks, key=lambda task: task.assignment.position)
    rows = [_roster_row(one, person) for one, person in roster]
    return TeachOfferingPage(
        key=offering.key,
        course=offering.course.title,
        term=offering.title,
        students=sum(
            one.state == EnrolmentState.ACTIVE and one.role == Role.STUDENT for one, _ in roster
        ),
        tasks=_summaries(database, offering, tasks, actor),
        held=sum(holds.count_held(database, [offering.id]).get(offering.id, {}).values())
        if actor.may("submission:read", offering.id)
        else 0,
        pending=tuple(row for row in rows if row.is_pending),
        roster=tuple(row for row in rows if not row.is_pending),
        may_decide=actor.may("roster:write", offering.id),
        code=(offering.code or "") if actor.may("roster:write", offering.id) else "",
    )


def _roster_row(one: Enrolment, person: Person) -> RosterRow:
    return RosterRow(
        enrolment_id=one.id,
        name=person.display_name,
        username=person.username,
        role=_role_word(one.role),
        state=_STATES[EnrolmentState(one.state)],
        is_pending=one.state == EnrolmentState.PENDING,
        since=one.requested_at,
    )


def _role_word(role: str) -> Sentence:
    return _ROLES[Role(role)]


def _summaries(
    database: Session, offering: Offering, tasks: Sequence[OfferedAssignment], actor: Actor
) -> tuple[TaskSummary, ...]:
    if not actor.may("submission:read", offering.id):
        return ()
    received = {task.id: exchange.list_received(database, task.id, actor=actor) for task in tasks}
    ids = [one.id for pairs in received.values() for one, _ in pairs]
    runs = grading.runs_of(database, ids)

    def summary(task: OfferedAssignment) -> TaskSummary:
        found = [
            RunStatus(runs[one.id].status) if one.id in runs else RunStatus.QUEUED
            for one, _ in received[task.id]
        ]
        under_way = sum(map(is_under_way, found))
        graded = found.count(RunStatus.GRADED)
        for_person = found.count(RunStatus.NEEDS_MANUAL)
        return TaskSummary(
            title=task.assignment.title,
            href=f"/teach/{offering.key}/assignments/{task.assignment.key}",
            due=due_phrase(task.due_at, now()),
            is_released=task.release is not None,
            handed_in=len(found),
            under_way=under_way,
            graded=graded,
            for_person=for_person,
            failed=len(found) - under_way - graded - for_person,
        )

    return tuple(map(summary, tasks))
