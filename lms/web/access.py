"""Who asks: host, Origin, CSRF token, sign-in and access of every request; deny by default.

Why not Flask-Login: it keeps a person's id in the cookie and asks nothing more, while our sign-ins
are rows that end (sign-out, disabling, a changed password) and whose token alone travels. What
would remain of it is one lookup and a redirect, which stand here. The CSRF token is Flask-WTF's,
checked by us, since which views need it follows from what they declare.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from flask import Flask, Response, current_app, g, redirect, request, session
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.exc import SQLAlchemyError

from lms.enrolment.service import actor_for
from lms.foundation import clock
from lms.foundation.errors import ForbiddenError, InvalidError, UnavailableError
from lms.foundation.settings import Settings
from lms.identity import keys
from lms.identity import service as identity
from lms.identity.access import (
    SIGN_IN_KEY,
    Access,
    Audience,
    admin_only,
    declare,
    declared_access,
    machine,
    public,
    signed_in,
)
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.sentences import sentence
from lms.web.database import session as database_session
from lms.web.database import transaction
from lms.web.system import current_system

__all__ = [
    "admin_only",
    "begin_session",
    "current_actor",
    "current_person",
    "forget_session",
    "init_access",
    "machine",
    "optional_actor",
    "optional_person",
    "public",
    "safe_next",
    "signed_in",
]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_CONTROLS: Final = re.compile(r"[\x00-\x20\x7f]")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is signed in, looked up once a request; `person` is only to be read."""

    person: Person
    actor: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the pages are at home, and where the Hub is."""

    #: Values of the Host header that we answer to.
    hosts: frozenset[str]
    #: Values of the Origin header that may change things here.
    origins: frozenset[str]
    lms_url: str
    hub_url: str


class SignInRequiredError(Exception):
    """Somebody who is not signed in asked for something that needs it."""


def init_access(app: Flask, settings: Settings) -> None:
    """Guard every request of `app`; raises InvalidError when pages and Hub share a host name."""
    places = _places(settings)
    app.extensions["lms_places"] = places
    app.secret_key = keys.load_web_keys(settings).session_secret
    app.config.update(
        SERVER_NAME=urlsplit(places.lms_url).netloc,
        PREFERRED_URL_SCHEME=urlsplit(places.lms_url).scheme,
        SESSION_COOKIE_SECURE=places.lms_url.startswith("https:"),
        # We ask by ourselves (see _guard): only views that trust the cookie need the token.
        WTF_CSRF_CHECK_DEFAULT=False,
        # The token lives as long as the session cookie; Origin is compared here, not Referer there.
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )
    CSRFProtect(app)
    if app.has_static_folder:
        declare(app.view_functions["static"], Access(Audience.PUBLIC))
    app.before_request(_guard)
    app.after_request(_add_headers)
    app.register_error_handler(SignInRequiredError, lambda _error: _ask_to_sign_in())


def current_places() -> Places:
    """Return the addresses of pages and Hub."""
    places = current_app.extensions["lms_places"]
    if not isinstance(places, Places):
        raise TypeError("init_access was not called")
    return places


# --- who is it ---


def optional_actor() -> Actor | None:
    """Return who acts, or None for a visitor who is not signed in."""
    visitor = _visitor()
    return None if visitor is None else visitor.actor


def optional_person() -> Person | None:
    """Return the signed-in person, to be read only, or None."""
    visitor = _visitor()
    return None if visitor is None else visitor.person


def current_actor() -> Actor:
    """Return who acts; a visitor who is not signed in is sent to the log-in page."""
    actor = optional_actor()
    if actor is None:
        raise SignInRequiredError
    return actor


def current_person() -> Person:
    """Return the signed-in person, to be read only; others are sent to the log-in page."""
    person = optional_person()
    if person is None:
        raise SignInRequiredError
    return person


def begin_session(token: str) -> None:
    """Put a new sign-in into the browser's cookie; nothing of the old session stays."""
    session.clear()
    session[SIGN_IN_KEY] = token
    g.pop("lms_visitor", None)


def forget_session() -> None:
    """Empty the browser's cookie."""
    session.clear()
    g.lms_visitor = None


def had_sign_in() -> bool:
    """Say whether the browser brought a sign-in that no longer stands."""
    return bool(session.get(SIGN_IN_KEY)) and optional_person() is None


def _visitor() -> Visitor | None:
    if "lms_visitor" not in g:
        g.lms_visitor = _look_up()
    visitor: Visitor | None = g.lms_visitor
    return visitor


def _look_up() -> Visitor | None:
    token = session.get(SIGN_IN_KEY)
    if not isinstance(token, str):
        return None
    now, database = clock.now(), database_session()
    try:
        found = identity.find_sign_in(database, token, now=now)
    except SQLAlchemyError:
        # Pages for everybody, and the page that tells of this, still have to come.
        current_app.logger.exception("sign-ins cannot be read")
        g.lms_sign_ins_unread = True
        return None
    if found is None:
        return None
    sign_in, person = found
    actor = actor_for(database, person)
    # Detached: a later rollback in this request would empty the object under the page.
    database.expunge(person)
    if identity.is_touch_due(sign_in, now):
        _touch(sign_in.id)
    return Visitor(person, actor)


def _touch(sign_in_id: int) -> None:
    hours = current_system().settings.session_hours
    try:
        with transaction() as database:
            identity.touch_sign_in(database, sign_in_id, now=clock.now(), hours=hours)
    except SQLAlchemyError:
        # A page that can be read must not fail because its use cannot be noted (disk full).
        current_app.logger.exception("the use of a sign-in could not be noted")


# --- may they ---


def _guard() -> ResponseReturnValue | None:
    if request.host not in current_places().hosts:
        return _misdirected()
    if request.endpoint is None:
        # No such page: the error page asks by itself who is there.
        return None
    access = declared_access(current_app.view_functions[request.endpoint])
    if access is None:
        return _refuse_undeclared(request.endpoint)
    if access.audience is Audience.MACHINE or request.endpoint == "static":
        return None
    return _guard_page(access)


def _guard_page(access: Access) -> ResponseReturnValue | None:
    changes = request.method not in _SAFE_METHODS
    if changes:
        _check_origin()
    person = optional_person()
    if person is not None:
        g.locale = person.locale
    elif access.audience is not Audience.PUBLIC:
        if "lms_sign_ins_unread" in g:
            raise UnavailableError(sentence("Please try again in a minute."))
        return _ask_to_sign_in()
    if access.audience is not Audience.PUBLIC:
        _check_access(access, current_actor())
    if changes and current_app.config["WTF_CSRF_ENABLED"]:
        current_app.extensions["csrf"].protect()
    return None


def _check_access(access: Access, actor: Actor) -> None:
    if access.audience is Audience.ADMIN and not actor.is_admin:
        raise ForbiddenError(sentence("This page is for administrators."))
    if access.scope is not None:
        actor.require(access.scope)


def _check_origin() -> None:
    """Refuse a change that another site's page has sent.

    Browsers name the origin of every POST; what names none is no browser, and carries no cookie of
    ours unless somebody put it there. "null" is a page without origin, such as a sandboxed frame.
    """
    origin = request.headers.get("Origin")
    if origin is None and request.referrer:
        parts = urlsplit(request.referrer)
        origin = f"{parts.scheme}://{parts.netloc}"
    if origin is not None and origin not in current_places().origins:
        raise ForbiddenError(
            sentence(
                "This request came from another site's page, so nothing was changed. "
                "Open the page here and try again."
            )
        )


def _refuse_undeclared(endpoint: str) -> ResponseReturnValue:
    if current_app.testing:
        raise RuntimeError(f"the view {endpoint} does not declare its access")
    current_app.logger.error("the view %s does not declare its access", endpoint)
    raise ForbiddenError(sentence("This page is not open to anybody yet."))


def _misdirected() -> Response:
    return Response(
        f"This host name does not serve Seodang's pages. They are at {current_places().lms_url}\n",
        status=421,
        content_type="text/plain; charset=utf-8",
    )


def _ask_to_sign_in() -> ResponseReturnValue:
    """Send a reader to the log-in page; keep what somebody was about to send."""
    if request.headers.get("HX-Request"):
        page = safe_next(urlsplit(request.headers.get("HX-Current-URL", "")).path)
        return Response(status=401, headers={"HX-Redirect": f"/login?next={quote(page)}"})
    if request.method in _SAFE_METHODS:
        return redirect(f"/login?next={quote(request.full_path.rstrip('?'))}")
    from lms.web.account import show_login

    return show_login(_page_of_form(), keep=True), 401


def _page_of_form() -> str:
    """Return the page that the form stood on, as far as the browser tells."""
    came_from = urlsplit(request.referrer or "")
    if f"{came_from.scheme}://{came_from.netloc}" not in current_places().origins:
        return "/"
    return came_from.path + (f"?{came_from.query}" if came_from.query else "")


def safe_next(wanted: str | None) -> str:
    """Return `wanted` if it is a path of this site, else "/"; never leads anywhere else."""
    if not wanted or not wanted.startswith("/") or wanted.startswith("//"):
        return "/"
    # Browsers read a backslash as a slash and skip control characters: /\evil, /<tab>/evil.
    if "\\" in wanted or _CONTROLS.search(wanted):
        return "/"
    return wanted


# --- what every answer carries ---


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("X-Content-Type-Options", "nosniff")
    # Not "no-referrer": browsers would then send "Origin: null" with our own forms.
    headers.setdefault("Referrer-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    # Feedback and rendered notebooks bring a stricter policy of their own, and may be framed by us.
    if "Content-Security-Policy" not in headers:
        headers["Content-Security-Policy"] = content_policy(current_places().hub_url)
        headers["X-Frame-Options"] = "DENY"
    if request.endpoint != "static":
        headers.setdefault("Cache-Control", "private, no-cache")
    return response


def content_policy(hub_url: str) -> str:
    """Return the policy of pages: everything from here, no inline script, never in a frame.

    Forms may lead on to the Hub (signing out, opening a notebook); style attributes carry the
    filling of cells and meters.
    """
    return "; ".join(
        (
            "default-src 'self'",
            "img-src 'self' data:",
            "style-src 'self'",
            "style-src-attr 'unsafe-inline'",
            "object-src 'none'",
            "base-uri 'none'",
            f"form-action 'self' {hub_url}",
            "frame-ancestors 'none'",
        )
    )


def _places(settings: Settings) -> Places:
    lms_url = settings.lms_url or f"http://127.0.0.1:{settings.lms_port}"
    hub_url = settings.hub_url or f"http://localhost:{settings.hub_port}"
    lms, hub = urlsplit(lms_url), urlsplit(hub_url)
    if lms.hostname == hub.hostname:
        # Cookies ignore ports, and a notebook's output runs script at the Hub's host name.
        raise InvalidError(
            sentence(
                "LMS_URL and HUB_URL have the same host name, %(host)s; give the Hub another one.",
                host=lms.hostname or "",
            )
        )
    # The supervisor and the Hub may ask over the loopback address whatever the public name is.
    loopback = f"127.0.0.1:{settings.lms_port}"
    hosts = {_host(lms_url)}
    if hub.hostname != "127.0.0.1":
        hosts.add(loopback)
    if settings.has_certificate:
        hosts.add(_host(settings.lms_inner_url))
    return Places(
        hosts=frozenset(hosts),
        origins=frozenset({f"{lms.scheme}://{_host(lms_url)}"}),
        lms_url=lms_url,
        hub_url=hub_url,
    )


def _host(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
