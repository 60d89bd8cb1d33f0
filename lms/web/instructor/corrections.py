"""A corrected assignment before it counts: who would gain or lose, and the decision about it."""

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment
from lms.foundation.errors import InvalidError
from lms.grading import regrades
from lms.grading.changes import Kind
from lms.grading.regrades import Preview, Shift
from lms.grading.rules import PlanState
from lms.identity.scopes import Actor
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import current_actor, signed_in
from lms.web.database import session, transaction
from lms.web.dates import points
from lms.web.i18n import gettext, ngettext
from lms.web.instructor.pages import CorrectionPage, CorrectionRow, ShiftedQuestion
from lms.web.parts import State
from lms.web.system import blobs, now

bp = Blueprint("corrections", __name__)

_STATES = {
    PlanState.GRADING: State("clock", "wait", sentence("Waits for your decision")),
    PlanState.APPLIED: State("check", "ok", sentence("Applied")),
    PlanState.DISCARDED: State("x", "", sentence("Discarded")),
}

_KINDS = {
    Kind.TEST: sentence("a test"),
    Kind.LOCKED: sentence("locked code"),
    Kind.POINTS: sentence("points"),
    Kind.STUB: sentence("the cell to fill in"),
    Kind.DATA: sentence("a data file"),
    Kind.LIMITS: sentence("limits"),
    Kind.ENVIRONMENT: sentence("the environment"),
}


@bp.get("/teach/<offering_key>/assignments/<assignment_key>/corrections/<int:plan_id>")
@signed_in
def show(offering_key: str, assignment_key: str, plan_id: int) -> ResponseReturnValue:
    """Show what a corrected release would change; the page follows while it is graded."""
    task = catalogue.get_task(session(), offering_key, assignment_key)
    page = make_correction(session(), task, plan_id, current_actor())
    if request.args.get("seen") == page.stamp:
        return Response(status=204)
    response = make_response(
        render_template(
            "instructor/_correction.html"
            if "seen" in request.args
            else "instructor/correction.html",
            page=page,
        )
    )
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.post("/teach/<offering_key>/assignments/<assignment_key>/corrections/<int:plan_id>")
@signed_in
def decide(offering_key: str, assignment_key: str, plan_id: int) -> ResponseReturnValue:
    """Apply the correction, or drop it."""
    decision = request.form.get("decision")
    if decision not in {"apply", "discard"}:
        raise InvalidError(sentence("The form came without a decision, so nothing has changed."))
    actor = current_actor()
    with transaction() as database:
        if decision == "apply":
            done = regrades.apply_plan(database, blobs(), plan_id, actor=actor, now=now())
            words = ngettext(
                "The correction counts now, for %(num)s attempt.",
                "The correction counts now, for %(num)s attempts.",
                len(done.shifts),
            )
        else:
            regrades.discard_plan(database, plan_id, actor=actor, now=now())
            words = gettext("The correction was dropped; every score stays as it was.")
    flash(words, "ok")
    return redirect(f"/teach/{offering_key}/assignments/{assignment_key}/corrections/{plan_id}")


def waiting_correction(database: Session, task: OfferedAssignment, actor: Actor) -> str:
    """Return the address of the assignment's correction that waits for a decision, or nothing."""
    if not actor.may("submission:regrade", task.offering_id):
        return ""
    plan = regrades.waiting_plan(database, task.assignment_id)
    return "" if plan is None else _href(task, plan.id)


def _href(task: OfferedAssignment, plan_id: int) -> str:
    return f"/teach/{task.offering.key}/assignments/{task.assignment.key}/corrections/{plan_id}"


def make_correction(
    database: Session, task: OfferedAssignment, plan_id: int, actor: Actor
) -> CorrectionPage:
    """Return what plan `plan_id` would do; raises NotFoundError and ForbiddenError."""
    preview = regrades.get_preview(database, plan_id, actor=actor)
    state = PlanState(preview.plan.state)
    shifted = [one for one in preview.shifts if one.is_ready and (one.difference or one.cells)]
    total = len(preview.shifts)
    return CorrectionPage(
        offering_key=task.offering.key,
        course=task.offering.course.title,
        title=task.assignment.title,
        task_href=f"/teach/{task.offering.key}/assignments/{task.assignment.key}",
        href=_href(task, plan_id),
        stamp=f"{state}-{preview.waiting}",
        state=_STATES[state],
        is_open=state is PlanState.GRADING,
        changes=tuple(_change_words(change) for change in preview.plan.changes),
        total=total,
        ready=total - preview.waiting,
        gaining=preview.gaining,
        losing=preview.losing,
        same=total - preview.waiting - preview.gaining - preview.losing - preview.failing,
        held=preview.held,
        failing=preview.failing,
        rows=tuple(_row(one) for one in sorted(shifted, key=_largest_loss_first)),
        may_decide=_may_decide(preview, actor),
    )


def _may_decide(preview: Preview, actor: Actor) -> bool:
    return all(actor.may("submission:regrade", shift.offering_id) for shift in preview.shifts)


def _largest_loss_first(shift: Shift) -> tuple[float, str]:
    return shift.difference, shift.person.display_name


def _change_words(change: dict[str, str]) -> tuple[str, Sentence]:
    """Return where and what: a cell of a notebook, a file, or the whole."""
    where = " · ".join(change[name] for name in ("notebook", "name") if change[name])
    return where, _KINDS[Kind(change["kind"])]


def _row(shift: Shift) -> CorrectionRow:
    after = shift.after
    return CorrectionRow(
        submission_href=f"/submissions/{shift.submission.id}",
        name=shift.person.display_name,
        username=shift.person.username,
        attempt=shift.submission.attempt,
        before=shift.before.score,
        after=None if after is None else after.score,
        difference=shift.difference,
        said=_difference_words(shift.difference),
        is_held=after is not None and after.held,
        questions=tuple(
            ShiftedQuestion(grade_id=cell.grade_id, before=cell.before, after=cell.after)
            for cell in shift.cells
        ),
    )


def _difference_words(difference: float) -> str:
    if not difference:
        return gettext("no change")
    return ("+" if difference > 0 else "−") + points(abs(difference))
