"""Every offering's GPU-hours and seats: changed together, taken back, asked for more of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from lms.compute import changes, hours_requests, quotas, seats
from lms.compute.changes import Change, Mark
from lms.compute.hours_requests import Asked
from lms.compute.profiles import terms
from lms.compute.quotas import OfferingQuota
from lms.compute.seats import Promise
from lms.foundation.errors import InvalidError
from lms.protocol.sentences import sentence
from lms.web.access import admin_only, current_actor
from lms.web.database import session, transaction
from lms.web.i18n import gettext, ngettext
from lms.web.system import now

bp = Blueprint("compute_quotas", __name__)

_MOST = 1_000_000
#: How many changes stand on the page, and on the history's own.
LAST, ALL = 8, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotasPage:
    """What admin/compute_quotas.html draws."""

    rows: tuple[OfferingQuota, ...]
    asked: Sequence[Asked]
    #: What each offering that asks has now, by its id.
    has_now: Mapping[int, float]
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """What admin/compute_history.html draws."""

    changes: Sequence[Change]


@bp.get("/admin/compute/quotas")
@admin_only("compute:manage")
def show() -> ResponseReturnValue:
    """Show what every offering has and used, who asks for more, and the last changes."""
    database = session()
    rows = quotas.list_quotas(database, terms(), now=now())
    page = QuotasPage(
        rows=tuple(rows),
        asked=hours_requests.list_requests(database, is_open=True, limit=ALL),
        has_now={one.id: one.hours_a_week for one in rows},
        changes=changes.list_changes(database, limit=LAST),
    )
    return render_template("admin/compute_quotas.html", page=page)


@bp.get("/admin/compute/quotas/history")
@admin_only("compute:manage")
def history() -> ResponseReturnValue:
    """Show all changes, the newest first."""
    page = HistoryPage(changes=changes.list_changes(session(), limit=ALL))
    return render_template("admin/compute_history.html", page=page)


@bp.post("/admin/compute/quotas")
@admin_only("compute:manage")
def change() -> ResponseReturnValue:
    """Set what differs, in all offerings or in none."""
    at, actor, changed = now(), current_actor(), 0
    mark = Mark(why=request.form.get("why", ""))
    with transaction() as database:
        for row in quotas.list_quotas(database, terms(), now=at):
            hours = _number(f"hours-{row.id}", row.hours_a_week, row.key)
            wanted = Promise(
                seats_at_once=int(_number(f"seats-{row.id}", row.promise.seats_at_once, row.key)),
                seat_hours_a_week=_number(f"kept-{row.id}", row.promise.seat_hours_a_week, row.key),
            )
            if hours != row.hours_a_week:
                quotas.set_quota(database, row.id, hours, actor=actor, now=at, mark=mark)
            if wanted != row.promise:
                seats.set_promise(database, row.id, wanted, actor=actor, now=at, mark=mark)
            changed += hours != row.hours_a_week or wanted != row.promise
    flash(ngettext("%(num)s course changed.", "%(num)s courses changed.", changed), "ok")
    return redirect("/admin/compute/quotas")


@bp.post("/admin/compute/quotas/changes/<int:number>/undo")
@admin_only("compute:manage")
def undo(number: int) -> ResponseReturnValue:
    """Take the last change of something back."""
    with transaction() as database:
        quotas.undo(database, number, actor=current_actor(), now=now())
    flash(gettext("The change is taken back."), "ok")
    return redirect("/admin/compute/quotas#changes")


@bp.post("/admin/compute/quotas/requests/<int:number>")
@admin_only("compute:manage")
def answer(number: int) -> ResponseReturnValue:
    """Grant or decline a request for more hours."""
    words = request.form.get("answer", "")
    with transaction() as database:
        if request.form.get("verdict") == "grant":
            hours = _number("hours", -1, gettext("GPU-hours"))
            hours_requests.grant(database, number, hours, words, actor=current_actor(), now=now())
            said = gettext("The hours are granted; they count from now on.")
        else:
            hours_requests.decline(database, number, words, actor=current_actor(), now=now())
            said = gettext("The request is declined; whoever asked reads why.")
    flash(said, "ok")
    return redirect("/admin/compute/quotas")


def _number(name: str, known: float, key: str) -> float:
    text = request.form.get(name)
    if text is None:
        return known
    try:
        value = float(text.strip())
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MOST:
        raise InvalidError(
            sentence("%(key)s: write a number from 0; nothing was changed.", key=key)
        )
    return value
