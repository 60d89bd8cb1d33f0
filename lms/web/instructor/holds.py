"""Held results: the list of those that wait for a person, and what the person decides."""

from collections.abc import Iterable

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Offering
from lms.foundation.errors import ConflictError, InvalidError
from lms.grading import holds
from lms.grading.holds import HeldRun
from lms.grading.models import Run
from lms.grading.rules import Verdict
from lms.identity.scopes import Actor
from lms.protocol.grading import Integrity
from lms.protocol.sentences import sentence
from lms.web.access import current_actor, signed_in
from lms.web.database import session, transaction
from lms.web.i18n import gettext, ngettext
from lms.web.instructor.pages import HeldGroup, HeldPage, HeldRow
from lms.web.parts import seal_of
from lms.web.system import now

bp = Blueprint("holds", __name__)

_NO_REASON = sentence(
    "The tests ran beside the student's code, and nothing else confirms the score."
)
_DONE = {
    Verdict.RELEASED: sentence("The score stands and is shown to the student."),
    Verdict.ZERO: sentence("The attempt counts with no points; the student reads your reason."),
    Verdict.SET_ASIDE: sentence("The attempt does not count; the student reads your reason."),
    Verdict.REGRADED: sentence("It is in the queue again, and runs anew."),
}


@bp.get("/teach/<offering_key>/held")
@signed_in
def show(offering_key: str) -> ResponseReturnValue:
    """Show the offering's held results, those with the same reason together."""
    offering = catalogue.get_offering(session(), offering_key)
    page = make_held(session(), offering, current_actor())
    return render_template("instructor/held.html", page=page)


@bp.post("/teach/<offering_key>/held")
@signed_in
def release(offering_key: str) -> ResponseReturnValue:
    """Let the chosen scores stand; what somebody else has decided meanwhile is left alone."""
    chosen = request.form.getlist("run", type=int)
    if not chosen:
        flash(gettext("Nothing was chosen, so nothing has changed."), "wait")
        return redirect(f"/teach/{offering_key}/held")
    released = 0
    with transaction() as database:
        for run_id in chosen:
            try:
                holds.release(database, run_id, actor=current_actor(), now=now())
            except ConflictError:
                continue
            released += 1
    flash(
        ngettext("%(num)s score stands now.", "%(num)s scores stand now.", released),
        "ok" if released else "wait",
    )
    return redirect(f"/teach/{offering_key}/held")


@bp.post("/teach/<offering_key>/runs/<int:run_id>/decision")
@signed_in
def decide(offering_key: str, run_id: int) -> ResponseReturnValue:
    """Carry out a person's decision on one held result."""
    del offering_key
    verdict = _verdict(request.form.get("verdict", ""))
    reason = request.form.get("reason", "")
    with transaction() as database:
        run = _decide(database, run_id, verdict, reason, current_actor())
        submission_id = run.submission_id
    flash(gettext(_DONE[verdict].template), "ok")
    return redirect(f"/submissions/{submission_id}")


@bp.post("/teach/<offering_key>/practice")
@signed_in
def set_practice(offering_key: str) -> ResponseReturnValue:
    """Say whether the offering shows scores that nobody could verify."""
    practice = request.form.get("practice") == "yes"
    with transaction() as database:
        offering = catalogue.get_offering(database, offering_key)
        holds.set_practice(database, offering, practice=practice, actor=current_actor())
    if practice:
        flash(
            gettext("From now on unverified scores are shown at once. Held ones stay held."), "ok"
        )
    else:
        flash(gettext("From now on unverified scores wait for a person."), "ok")
    return redirect(f"/teach/{offering_key}/held")


def _verdict(given: str) -> Verdict:
    try:
        return Verdict(given)
    except ValueError:
        raise InvalidError(
            sentence("The form came without a decision, so nothing has changed.")
        ) from None


def _decide(database: Session, run_id: int, verdict: Verdict, reason: str, actor: Actor) -> Run:
    at = now()
    if verdict is Verdict.RELEASED:
        return holds.release(database, run_id, actor=actor, now=at, reason=reason)
    if verdict is Verdict.REGRADED:
        return holds.ask_regrade(database, run_id, actor=actor, now=at, reason=reason)
    counts = verdict is Verdict.ZERO
    return holds.reject(database, run_id, reason, counts=counts, actor=actor, now=at)


def make_held(database: Session, offering: Offering, actor: Actor) -> HeldPage:
    """Return the held results of `offering`; raises ForbiddenError."""
    held = holds.list_held(database, offering.id, actor=actor)
    return HeldPage(
        offering_key=offering.key,
        course=offering.course.title,
        practice=offering.practice,
        may_decide=actor.may("submission:decide", offering.id),
        count=len(held),
        groups=tuple(_groups(held)),
    )


def _groups(held: Iterable[HeldRun]) -> Iterable[HeldGroup]:
    """Yield tampered ones first, then the largest groups: one look serves many."""
    by_reason: dict[tuple[str, str], list[HeldRun]] = {}
    for one in held:
        integrity = str(one.run.integrity or Integrity.UNVERIFIED)
        by_reason.setdefault((integrity, (one.reason or _NO_REASON).template), []).append(one)

    def order(item: tuple[tuple[str, str], list[HeldRun]]) -> tuple[bool, int]:
        (integrity, _), members = item
        return integrity != Integrity.TAMPERED, -len(members)

    for (integrity, _), members in sorted(by_reason.items(), key=order):
        yield HeldGroup(
            seal=seal_of(Integrity(integrity)),
            is_tampered=integrity == Integrity.TAMPERED,
            reason=members[0].reason or _NO_REASON,
            rows=tuple(_row(one) for one in members),
        )


def _row(one: HeldRun) -> HeldRow:
    return HeldRow(
        run_id=one.run.id,
        submission_href=f"/submissions/{one.submission.id}",
        name=one.person.display_name,
        username=one.person.username,
        task=one.task.assignment.title,
        attempt=one.submission.attempt,
        finished_at=one.run.finished_at,
        score=one.run.score,
        max_score=one.run.max_score,
    )
