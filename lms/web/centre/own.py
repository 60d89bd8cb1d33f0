"""The box's own pages: how it stands, opening hidden tests, claim codes, a sheet for the wall."""

from urllib.parse import urlsplit

import segno
from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from lms.centre import pages as centre
from lms.centre.joining import claim_codes
from lms.centre.keys import centre_keys
from lms.centre.opening import OpeningPlace, open_code
from lms.centre.tickets import find_self, get_self
from lms.foundation.errors import LmsError
from lms.outposts.bundles.store import Store
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import admin_only
from lms.web.centre.building import make_centre
from lms.web.centre.pages import ClaimsPage, SheetPage
from lms.web.database import session
from lms.web.i18n import gettext, ngettext
from lms.web.system import current_system, now

bp = Blueprint("centre", __name__)

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@bp.get("/centre")
@admin_only("system:read")
def show() -> ResponseReturnValue:
    """Show how this centre stands; where this is none, how to become one."""
    return _show({}, {})


@bp.post("/centre/open")
@admin_only("centre:manage")
def open_tests() -> ResponseReturnValue:
    """Open what an opening code opens, and say what is graded now."""
    typed = {name: request.form.get(name, "").strip() for name in ("course", "code")}
    get_self(session())
    place, store = _place(), _store()
    try:
        if typed["course"] not in store.courses():
            return _show(typed, {"course": sentence("Choose the course that the code is for.")})
        open_code(place, typed["course"], typed["code"], now=now())
    except LmsError as error:
        return _show(typed, {"code": error.sentence})
    here = next(one for one in centre.list_courses(session(), store) if one.key == typed["course"])
    done = here.opened
    graded = 0 if done is None else done.under_way + done.graded
    said = gettext("The hidden tests of %(course)s are open.", course=here.key)
    if graded:
        said += " " + ngettext(
            "%(num)s submission that waited is graded now.",
            "%(num)s submissions that waited are graded now.",
            graded,
        )
    flash(said, "ok")
    return redirect("/centre#courses")


@bp.get("/centre/claims")
@admin_only("centre:manage")
def claims() -> ResponseReturnValue:
    """Show the codes by which people claim their work at central, as slips to cut out."""
    me = get_self(session())
    slips = tuple((one["name"], one["username"], one["code"]) for one in claim_codes(session()))
    page = ClaimsPage(name=me.name, central=me.central_url, slips=slips)
    html = render_template("centre/claims.html", page=page)
    # Whoever has a code can take the work: it must not lie in the browser's cache.
    return html, 200, {"Cache-Control": "no-store"}


@bp.get("/centre/sheet")
@admin_only("system:read")
def sheet() -> ResponseReturnValue:
    """Show a page to print and hang up: the address and how to begin."""
    me = find_self(session())
    address = request.host_url.rstrip("/")
    page = SheetPage(
        name="" if me is None else me.name,
        address=address,
        code=_draw_code(address),
        only_here=urlsplit(address).hostname in _LOOPBACK,
    )
    return render_template("centre/sheet.html", page=page)


def _draw_code(text: str) -> Markup:
    code = segno.make(text, error="m", micro=False)
    drawn = code.svg_inline(border=2, omitsize=True, dark="#000", light="#fff")
    return Markup(drawn)  # noqa: S704 - made of the library's own marks


def _show(typed: dict[str, str], errors: dict[str, Sentence]) -> ResponseReturnValue:
    me = find_self(session())
    if me is None:
        return render_template("centre/none.html", page=None)
    page = make_centre(session(), me, current_system(), _store(), at=now())
    shown = page.with_form(typed, errors)
    return render_template("centre/centre.html", page=shown), 400 if errors else 200


def _store() -> Store:
    return Store(current_system().settings.bundles_dir)


def _place() -> OpeningPlace:
    system = current_system()
    return OpeningPlace(
        sessions=system.sessions,
        blobs=system.blobs,
        store=_store(),
        signer=centre_keys(system.settings).signer(now()),
    )
