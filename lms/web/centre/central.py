"""Central's pages: the table of centres, one of them closely, its codes, revoking, both runs."""

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue

from lms.bootstrap import sync_place, sync_signer
from lms.centre import pages as centre
from lms.centre import trust
from lms.centre.applying import apply_all, retry_refused
from lms.centre.keys import seals_dir
from lms.centre.models import Centre
from lms.centre.opening import give_codes
from lms.centre.rules import RecordState
from lms.centre.tickets import find_self, get_centre
from lms.foundation.errors import InvalidError, LmsError, NotFoundError
from lms.outposts.bundles.sealing import Seals
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import admin_only
from lms.web.centre.overview import compare, make_table, make_view
from lms.web.centre.pages import GivenPage, RevokePage
from lms.web.database import session, transaction
from lms.web.i18n import gettext, ngettext
from lms.web.system import current_system, now

bp = Blueprint("centres", __name__)

#: A request must not last for ever: what is left is done with the next sync.
_SECONDS = 20.0
_MAX_REASON = 500
_ALL = 100.0


@bp.get("/admin/centres")
@admin_only("system:read")
def show_all() -> ResponseReturnValue:
    """Show central's table of centres; at a centre, its own page."""
    if find_self(session()) is not None:
        return redirect("/centre")
    return render_template("admin/centres.html", page=make_table(session(), at=now()))


@bp.get("/admin/centres/<name>")
@admin_only("system:read")
def show(name: str) -> ResponseReturnValue:
    """Show one centre closely."""
    return _show(get_centre(session(), name), {})


@bp.post("/admin/centres/<name>/code")
@admin_only("centre:manage")
def give_code(name: str) -> ResponseReturnValue:
    """Show the codes of a course that are out by now, and write down that they were given."""
    course = request.form.get("course", "")
    system = current_system()
    try:
        with transaction() as database:
            found = get_centre(database, name)
            signer = sync_signer(system.settings)
            given = give_codes(database, found, course, _seals(), signer, now=now())
    except InvalidError:
        # A course that nothing is kept of: the field was tampered with.
        raise _nothing() from None
    page = GivenPage(
        name=found.name,
        href=f"/admin/centres/{found.id}",
        course=course,
        codes=tuple((one.code or "", one.opens_at) for one in given),
    )
    html = render_template("admin/centres_code.html", page=page)
    return html, 200, {"Cache-Control": "no-store"}


@bp.post("/admin/centres/<name>/audit-rate")
@admin_only("centre:manage")
def set_rate(name: str) -> ResponseReturnValue:
    """Set which share of a centre's results is graded again."""
    try:
        percent = float(request.form.get("percent", ""))
    except ValueError:
        percent = -1.0
    with transaction() as database:
        found = get_centre(database, name)
        # Not a number compares as false too.
        if not 0 <= percent <= _ALL:
            wrong = sentence("Give a number from 0 to 100.")
            return _show(found, {"percent": wrong}, percent=request.form.get("percent", ""))
        found.audit_rate = percent / 100
        identity = found.id
    flash(gettext("From now on %(percent)s %% is graded again.", percent=f"{percent:g}"), "ok")
    return redirect(f"/admin/centres/{identity}")


@bp.post("/admin/centres/<name>/apply")
@admin_only("centre:manage")
def look_again(name: str) -> ResponseReturnValue:
    """Look again at what was refused: its reason may be gone."""
    with transaction() as database:
        found = get_centre(database, name)
        count = retry_refused(database, found.id)
    states = apply_all(sync_place(current_system(), seconds=_SECONDS), found.id, now=now())
    refused = states.get(RecordState.REFUSED, 0)
    flash(
        ngettext(
            "%(num)s record was looked at again.", "%(num)s records were looked at again.", count
        )
        + " "
        + ngettext("%(num)s is still refused.", "%(num)s are still refused.", refused),
        "wait" if refused else "ok",
    )
    return redirect(f"/admin/centres/{found.id}#records")


@bp.get("/admin/centres/<name>/revoke")
@admin_only("centre:manage")
def confirm_revoke(name: str) -> ResponseReturnValue:
    """Ask before a centre is revoked, and for the reason."""
    found = get_centre(session(), name)
    return render_template("admin/centres_revoke.html", page=_question(found, "", {}))


@bp.post("/admin/centres/<name>/revoke")
@admin_only("centre:manage")
def revoke(name: str) -> ResponseReturnValue:
    """Trust a centre no longer."""
    reason = request.form.get("reason", "").strip()[:_MAX_REASON]
    if not reason:
        errors = {"reason": sentence("Write why: it is kept with the centre.")}
        page = _question(get_centre(session(), name), "", errors)
        return render_template("admin/centres_revoke.html", page=page), 400
    with transaction() as database:
        found = get_centre(database, name)
        marked = trust.revoke(database, found, reason, now=now())
    flash(
        gettext("“%(name)s” is revoked.", name=found.name)
        + " "
        + ngettext("%(num)s submission is marked.", "%(num)s submissions are marked.", marked),
        "ok",
    )
    return redirect(f"/admin/centres/{found.id}")


@bp.get("/admin/centres/<name>/runs/<int:run_id>")
@admin_only("system:read")
def show_runs(name: str, run_id: int) -> ResponseReturnValue:
    """Show a centre's run and central's own of the same files, question by question."""
    found = get_centre(session(), name)
    both = centre.find_dispute(session(), found, run_id)
    if both is None:
        raise _nothing()
    return render_template("admin/centres_runs.html", page=compare(session(), found, both))


def _show(found: Centre, errors: dict[str, Sentence], percent: str = "") -> ResponseReturnValue:
    signer = sync_signer(current_system().settings)
    page = make_view(session(), found, _seals(), _courses(), signer, at=now())
    if errors:
        page = page.with_form(percent, errors)
    return render_template("admin/centre.html", page=page), 400 if errors else 200


def _question(found: Centre, reason: str, errors: dict[str, Sentence]) -> RevokePage:
    return RevokePage(
        name=found.name,
        href=f"/admin/centres/{found.id}",
        submissions=centre.count_origins(session(), found),
        reason=reason,
        errors=errors,
    )


def _seals() -> Seals:
    return Seals(seals_dir(current_system().settings))


def _courses() -> list[str]:
    folder = seals_dir(current_system().settings)
    return sorted(path.stem for path in folder.glob("*.json"))


def _nothing() -> LmsError:
    return NotFoundError(sentence("There is no such page."))
