"""Every offering's GPU-hours and seats on one page, to be changed together."""

from dataclasses import dataclass

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from lms.compute import quotas, seats
from lms.compute.profiles import terms
from lms.compute.quotas import OfferingQuota
from lms.compute.seats import Promise
from lms.foundation.errors import InvalidError
from lms.protocol.sentences import sentence
from lms.web.access import admin_only, current_actor
from lms.web.database import session, transaction
from lms.web.i18n import ngettext
from lms.web.system import now

bp = Blueprint("compute_quotas", __name__)

_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotasPage:
    """What admin/compute_quotas.html draws."""

    rows: tuple[OfferingQuota, ...]


@bp.get("/admin/compute/quotas")
@admin_only("compute:manage")
def show() -> ResponseReturnValue:
    """Show what every offering has and used."""
    rows = quotas.list_quotas(session(), terms(), now=now())
    return render_template("admin/compute_quotas.html", page=QuotasPage(rows=tuple(rows)))


@bp.post("/admin/compute/quotas")
@admin_only("compute:manage")
def change() -> ResponseReturnValue:
    """Set what differs, in all offerings or in none."""
    at, actor, changed = now(), current_actor(), 0
    with transaction() as database:
        for row in quotas.list_quotas(database, terms(), now=at):
            hours = _number(f"hours-{row.id}", row.hours_a_week, row.key)
            wanted = Promise(
                seats_at_once=int(_number(f"seats-{row.id}", row.promise.seats_at_once, row.key)),
                seat_hours_a_week=_number(f"kept-{row.id}", row.promise.seat_hours_a_week, row.key),
            )
            if hours != row.hours_a_week:
                quotas.set_quota(database, row.id, hours, actor=actor, now=at)
            if wanted != row.promise:
                seats.set_promise(database, row.id, wanted, actor=actor, now=at)
            changed += hours != row.hours_a_week or wanted != row.promise
    flash(ngettext("%(num)s course changed.", "%(num)s courses changed.", changed), "ok")
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
