"""The administrator's pages: everybody's account. Each change that hurts asks first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from sqlalchemy.orm import Session

from lms.foundation import clock
from lms.foundation.errors import LmsError, NotFoundError
from lms.identity import service as identity
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.sentences import Sentence, sentence
from lms.web.access import admin_only, current_actor
from lms.web.database import session as database_session
from lms.web.database import transaction
from lms.web.system import current_system

bp = Blueprint("admin", __name__, url_prefix="/admin")

PAGE_SIZE = 50

Errors = Mapping[str, Sentence]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeoplePage:
    """What admin/people.html draws."""

    people: Sequence[Person]
    count: int
    query: str
    page: int
    pages: int
    own_id: int
    #: What was typed into the form for a new account, and what was wrong with it.
    typed: Mapping[str, str] = field(default_factory=dict)
    errors: Errors = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmPage:
    """What admin/confirm.html draws: a question before an act."""

    person: Person
    act: str
    title: str
    #: What will happen and what stays.
    means: str
    button: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordPage:
    """What admin/password.html draws, once."""

    person: Person
    password: str
    is_new: bool


@bp.get("/people")
@admin_only("person:write")
def people() -> ResponseReturnValue:
    """List accounts, with a search and a form for a new one."""
    return _show_people()


@bp.post("/people")
@admin_only("person:write")
def add_person() -> ResponseReturnValue:
    """Make an account and show its password once."""
    typed = {
        name: request.form.get(name, "").strip() for name in ("username", "name", "email", "admin")
    }
    try:
        with transaction() as database:
            person, password = identity.add_person(
                database,
                typed["username"].lower(),
                typed["name"],
                actor=current_actor(),
                now=clock.now(),
                uids=current_system().settings.uids,
                email=typed["email"] or None,
                is_admin=bool(typed["admin"]),
            )
    except LmsError as error:
        return _show_people(typed, {_field_of(error): error.sentence}), 400
    page = PasswordPage(person=person, password=password, is_new=True)
    return _secret(render_template("admin/password.html", page=page))


@bp.get("/people/<username>/<act>")
@admin_only("person:write")
def confirm(username: str, act: str) -> ResponseReturnValue:
    """Ask before an act."""
    person = identity.get_person(database_session(), username)
    return render_template("admin/confirm.html", page=_question(person, act))


@bp.post("/people/<username>/reset")
@admin_only("person:write")
def reset(username: str) -> ResponseReturnValue:
    """Give somebody a new password and show it once."""
    with transaction() as database:
        person = identity.get_person(database, username)
        password = identity.reset_password(database, person, actor=current_actor(), now=clock.now())
    page = PasswordPage(person=person, password=password, is_new=False)
    return _secret(render_template("admin/password.html", page=page))


@bp.post("/people/<username>/<act>")
@admin_only("person:write")
def change(username: str, act: str) -> ResponseReturnValue:
    """Disable, enable, make or unmake an administrator."""
    if act not in _ACTS:
        raise _no_such_act()
    with transaction() as database:
        person = identity.get_person(database, username)
        _ACTS[act](database, person, current_actor(), clock.now())
    flash(_done(person, act), "ok")
    return redirect(url_for("admin.people", q=username))


def _disable(session: Session, person: Person, actor: Actor, now: datetime) -> None:
    identity.disable(session, person, actor=actor, now=now)


def _enable(_session: Session, person: Person, actor: Actor, _now: datetime) -> None:
    identity.enable(person, actor=actor)


def _make_admin(session: Session, person: Person, actor: Actor, _now: datetime) -> None:
    identity.set_admin(session, person, is_admin=True, actor=actor)


def _unmake_admin(session: Session, person: Person, actor: Actor, _now: datetime) -> None:
    identity.set_admin(session, person, is_admin=False, actor=actor)


_ACTS: Mapping[str, Callable[[Session, Person, Actor, datetime], None]] = {
    "disable": _disable,
    "enable": _enable,
    "make-admin": _make_admin,
    "unmake-admin": _unmake_admin,
}


def _no_such_act() -> NotFoundError:
    return NotFoundError(sentence("There is no such page."))


def _show_people(typed: Mapping[str, str] | None = None, errors: Errors | None = None) -> str:
    query = request.args.get("q", "")[:100]
    number = max(1, request.args.get("page", 1, type=int))
    found, count = identity.list_people(
        database_session(),
        actor=current_actor(),
        query=query,
        limit=PAGE_SIZE,
        offset=(number - 1) * PAGE_SIZE,
    )
    page = PeoplePage(
        people=found,
        count=count,
        query=query,
        page=number,
        pages=max(1, -(-count // PAGE_SIZE)),
        own_id=current_actor().person_id,
        typed=typed or {"username": "", "name": "", "email": "", "admin": ""},
        errors=errors or {},
    )
    html: str = render_template("admin/people.html", page=page)
    return html


def _field_of(error: LmsError) -> str:
    """Return the form field that an error speaks of, by the error's name."""
    kind = type(error).__name__
    for word, name in (("Username", "username"), ("DisplayName", "name"), ("Email", "email")):
        if kind.startswith(word):
            return name
    return ""


def _question(person: Person, act: str) -> ConfirmPage:
    words = {
        "reset": (
            gettext("New password for %(name)s", name=person.display_name),
            gettext(
                "The old password stops working and every browser is signed out. "
                "The new password is shown once."
            ),
            gettext("Make a new password"),
        ),
        "disable": (
            gettext("Disable %(name)s’s account", name=person.display_name),
            gettext(
                "Signing in stops at once, here and at the Hub. Submissions, scores and files "
                "are kept, and the account can be opened again."
            ),
            gettext("Disable the account"),
        ),
        "enable": (
            gettext("Open %(name)s’s account again", name=person.display_name),
            gettext("The old password works again, and everything is where it was."),
            gettext("Open the account"),
        ),
        "make-admin": (
            gettext("Make %(name)s an administrator", name=person.display_name),
            gettext("Administrators may see and change everything, also other people’s accounts."),
            gettext("Make administrator"),
        ),
        "unmake-admin": (
            gettext("Take administration from %(name)s", name=person.display_name),
            gettext("Roles in courses stay as they are."),
            gettext("No longer administrator"),
        ),
    }
    if act not in words:
        raise _no_such_act()
    title, means, button = words[act]
    return ConfirmPage(person=person, act=act, title=title, means=means, button=button)


def _done(person: Person, act: str) -> str:
    name = person.display_name
    words: dict[str, str] = {
        "disable": gettext("%(name)s’s account is disabled.", name=name),
        "enable": gettext("%(name)s’s account is open again.", name=name),
        "make-admin": gettext("%(name)s is an administrator now.", name=name),
        "unmake-admin": gettext("%(name)s is no longer an administrator.", name=name),
    }
    return words[act]


def _secret(page: str) -> ResponseReturnValue:
    # A password must not lie in the browser's cache.
    return page, 200, {"Cache-Control": "no-store"}
