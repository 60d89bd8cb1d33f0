"""More GPU-hours for a course: an instructor asks, and reads what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from lms.catalogue import service as catalogue
from lms.catalogue.models import Offering
from lms.compute import hours_requests, quotas
from lms.compute.hours_requests import Asked
from lms.compute.profiles import terms
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import current_actor, signed_in
from lms.web.database import session, transaction
from lms.web.i18n import gettext
from lms.web.system import now

bp = Blueprint("hours", __name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursPage:
    """What instructor/compute_hours.html draws."""

    offering: Offering
    #: For each person and week.
    hours: float
    asked: Sequence[Asked]
    typed: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, Sentence] = field(default_factory=dict)

    @property
    def is_waiting(self) -> bool:
        """Say whether a request has no answer yet."""
        return any(one.row.answered_at is None for one in self.asked)


@bp.get("/teach/<offering_key>/compute/hours")
@signed_in
def show(offering_key: str) -> ResponseReturnValue:
    """Show what the course has, the form, and the answers."""
    return render_template("instructor/compute_hours.html", page=_page(_offering(offering_key)))


@bp.post("/teach/<offering_key>/compute/hours")
@signed_in
def ask(offering_key: str) -> ResponseReturnValue:
    """Ask an operator for more hours."""
    offering = _offering(offering_key)
    typed = {name: request.form.get(name, "").strip() for name in ("hours", "why")}
    hours, errors = _hours(typed["hours"]), dict[str, Sentence]()
    if not 0 < hours <= hours_requests.MOST_HOURS:
        most = int(hours_requests.MOST_HOURS)
        errors["hours"] = sentence("Write hours a week above 0, at most %(most)s.", most=most)
    if not typed["why"]:
        errors["why"] = sentence("Say what the hours are for; the operator decides by it.")
    if errors:
        page = _page(offering, typed, errors)
        return render_template("instructor/compute_hours.html", page=page), 400
    with transaction() as database:
        hours_requests.ask(
            database, offering.id, hours, typed["why"], actor=current_actor(), now=now()
        )
    flash(gettext("An operator decides; the answer stands here."), "ok")
    return redirect(f"/teach/{offering.key}/compute/hours")


@bp.post("/teach/<offering_key>/compute/hours/<int:number>/withdraw")
@signed_in
def withdraw(offering_key: str, number: int) -> ResponseReturnValue:
    """Take a request back."""
    offering = _offering(offering_key)
    with transaction() as database:
        hours_requests.withdraw(database, number, actor=current_actor(), now=now())
    flash(gettext("The request is withdrawn."), "ok")
    return redirect(f"/teach/{offering.key}/compute/hours")


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _offering(key: str) -> Offering:
    offering = catalogue.get_offering(session(), key)
    current_actor().require("compute:reserve", offering.id)
    return offering


def _page(
    offering: Offering,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, Sentence] | None = None,
) -> HoursPage:
    return HoursPage(
        offering=offering,
        hours=quotas.hours_of(session(), offering.id, terms()),
        asked=hours_requests.list_requests(session(), offering.id),
        typed=typed or {"hours": "", "why": ""},
        errors=errors or {},
    )
