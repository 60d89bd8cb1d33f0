"""Signing in and out, and the account page: password, language, sign out everywhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, current_app, flash, redirect, render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from lms.foundation import clock
from lms.foundation.errors import InvalidError, LmsError, UnavailableError
from lms.foundation.settings import Settings
from lms.identity import passwords
from lms.identity import service as identity
from lms.identity.access import SIGN_IN_KEY
from lms.identity.errors import TooManyAttemptsError, WrongPasswordError
from lms.identity.models import Person
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import (
    begin_session,
    current_actor,
    current_person,
    forget_session,
    had_sign_in,
    optional_actor,
    public,
    safe_next,
    signed_in,
)
from lms.web.database import session as database_session
from lms.web.database import transaction
from lms.web.i18n import COOKIE, LANGUAGES
from lms.web.kept import KeptForm, keep_form, read_kept
from lms.web.launch import check_hub, sign_out_url
from lms.web.system import current_system

bp = Blueprint("account", __name__)

_LANGUAGE_COOKIE_SECONDS = 365 * 24 * 3600

Errors = Mapping[str, Sentence]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPage:
    """What account/login.html draws; `kept` is a form to send after signing in, sealed."""

    username: str = ""
    next: str = "/"
    kept: str = ""
    #: Why the person is asked, if they did not come by themselves.
    reason: str = ""
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPage:
    """What account/account.html draws."""

    person: Person
    browsers: int
    languages: tuple[tuple[str, str], ...]
    errors: Errors = field(default_factory=dict)


# --- signing in ---


@bp.get("/login")
@public
def login() -> ResponseReturnValue:
    """Show the log-in form, or pass on who is signed in already."""
    wanted = _after_login(request.args.get("next"))
    if optional_actor() is not None:
        return redirect(wanted)
    return show_login(wanted)


@bp.post("/login")
@public
def log_in() -> ResponseReturnValue:
    """Sign the person in and go on to where they were going."""
    username = request.form.get("username", "")
    wanted, kept = _after_login(request.form.get("next")), request.form.get("kept", "")
    try:
        person = _check_password(username, request.form.get("password", ""))
    except LmsError as error:
        page = LoginPage(
            username=username[:64], next=wanted, kept=kept, errors={"": error.sentence}
        )
        status = 429 if isinstance(error, TooManyAttemptsError) else 403
        return render_template("account/login.html", page=page), status
    _sign_in(person, request.form["password"])
    if person.must_change_password:
        flash(
            gettext("Somebody else made your password. Please choose your own under My account."),
            "wait",
        )
    form = read_kept(kept, for_person=person.id)
    return redirect(wanted) if form is None else _show_kept(form, wanted)


def show_login(wanted: str, *, keep: bool = False) -> str:
    """Return the log-in page; with `keep` it carries the form that could not be sent."""
    kept = keep_form() if keep else ""
    if had_sign_in():
        reason = gettext("You were signed out because the page was not used for a while.")
    elif wanted != "/":
        reason = gettext("Please sign in to go on.")
    else:
        reason = ""
    if kept:
        reason += " " + gettext("What you had typed is kept; you can send it after signing in.")
    page = LoginPage(next=_after_login(wanted), kept=kept, reason=reason.strip())
    return render_template("account/login.html", page=page)


def _after_login(wanted: str | None) -> str:
    """Return where to go after signing in: not back to a page about signing in or out."""
    path = safe_next(wanted)
    return "/" if urlsplit(path).path in {"/login", "/logout", "/signed-out"} else path


def _check_password(username: str, password: str) -> Person:
    """Return whom the password belongs to; counted first, checked without holding a lock."""
    if not username.strip() or not password:
        raise InvalidError(sentence("Please give both username and password."))
    with transaction() as database:
        identity.open_attempt(database, username, _address(), now=clock.now())
    return identity.authenticate(database_session(), username, password)


def _sign_in(person: Person, password: str) -> None:
    settings = current_system().settings
    now, old = clock.now(), session.get(SIGN_IN_KEY)
    with transaction() as database:
        if isinstance(old, str):
            identity.end_sign_in(database, old, now=now)
        fresh = identity.get_person(database, person.username)
        identity.refresh_hash(fresh, password)
        token = identity.start_sign_in(
            database, fresh, now=now, hours=settings.session_hours, address=_address()
        )
    begin_session(token)


def _address() -> str:
    return request.remote_addr or "unknown"


def _show_kept(form: KeptForm, wanted: str) -> ResponseReturnValue:
    return render_template("account/resume.html", form=form, back=wanted)


# --- signing out ---


@bp.get("/logout")
@public
def confirm_logout() -> ResponseReturnValue:
    """Ask before signing out: a link alone must not do it."""
    if optional_actor() is None:
        return redirect("/signed-out")
    return render_template("account/logout.html")


@bp.post("/logout")
@public
def logout() -> ResponseReturnValue:
    """End this browser's sign-in here, its OAuth grants, and its session at the Hub."""
    token = session.get(SIGN_IN_KEY)
    if isinstance(token, str):
        with transaction() as database:
            identity.end_sign_in(database, token, now=clock.now())
    return _leave()


@bp.post("/account/sign-out-everywhere")
@signed_in
def sign_out_everywhere() -> ResponseReturnValue:
    """End every sign-in of the person, this one too."""
    person_id = current_actor().person_id
    with transaction() as database:
        identity.end_sign_ins(database, person_id, now=clock.now())
    return _leave()


@bp.get("/signed-out")
@public
def signed_out() -> ResponseReturnValue:
    """Say that it is done; the Hub sends browsers here after its own sign-out."""
    hub_missed = request.args.get("hub") == "missed"
    return render_template("account/signed_out.html", hub_missed=hub_missed)


def _leave() -> ResponseReturnValue:
    """Empty the cookie and go through the Hub, if it is there to end its own session."""
    forget_session()
    settings = current_system().settings
    try:
        _hub_check()(settings)
    except UnavailableError:
        # A browser sent to a Hub that does not answer would see no page at all.
        return redirect("/signed-out?" + urlencode({"hub": "missed"}))
    return redirect(sign_out_url(settings))


def _hub_check() -> Callable[[Settings], None]:
    check: Callable[[Settings], None] = current_app.extensions.get("lms_hub_check", check_hub)
    return check


# --- the account page ---


@bp.get("/account")
@signed_in
def account() -> ResponseReturnValue:
    """Show the person's account."""
    return _show_account()


@bp.post("/account/password")
@signed_in
def change_password() -> ResponseReturnValue:
    """Change the password; other browsers are signed out, this one stays in."""
    current, new = request.form.get("current", ""), request.form.get("new", "")
    if new != request.form.get("again", ""):
        return _show_account(
            {"again": sentence("The two new passwords differ. Please type them again.")}
        )
    settings = current_system().settings
    now, name = clock.now(), current_person().username
    try:
        _count_guess(name, current)
        with transaction() as database:
            person = identity.get_person(database, name)
            identity.set_password(database, person, current, new, now=now)
            token = identity.start_sign_in(
                database, person, now=now, hours=settings.session_hours, address=_address()
            )
    except WrongPasswordError:
        return _show_account({"current": sentence("That is not your current password.")})
    except LmsError as error:
        return _show_account({"new": error.sentence})
    begin_session(token)
    flash(gettext("Your password is changed. Other browsers were signed out."), "ok")
    return redirect("/account")


def _count_guess(username: str, password: str) -> None:
    # A browser left open must not be a way around the rate limit.
    with transaction() as database:
        identity.open_attempt(database, username, _address(), now=clock.now())
    if not passwords.password_fits(password, current_person().password_hash):
        raise WrongPasswordError


def _show_account(errors: Errors | None = None) -> ResponseReturnValue:
    person = current_person()
    page = AccountPage(
        person=person,
        browsers=identity.count_sign_ins(database_session(), person.id, now=clock.now()),
        languages=tuple(LANGUAGES.items()),
        errors=errors or {},
    )
    return render_template("account/account.html", page=page), 400 if errors else 200


# --- language ---


@bp.route("/language/<locale>", methods=["GET", "POST"])
@public
def choose_language(locale: str) -> ResponseReturnValue:
    """Read in another language from now on; the choice stays with the account."""
    if locale not in LANGUAGES:
        raise InvalidError(sentence("There is no such language here."))
    actor = optional_actor()
    if actor is not None:
        with transaction() as database:
            person = identity.get_person(database, actor.username)
            identity.set_locale(person, locale)
    response = redirect(safe_next(request.values.get("next")))
    response.set_cookie(
        COOKIE,
        locale,
        max_age=_LANGUAGE_COOKIE_SECONDS,
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )
    return response
