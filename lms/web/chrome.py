"""What frames every page: navigation, language switch, account menu, messages, static files."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from flask import Flask, Response, get_flashed_messages, request
from flask_wtf.csrf import generate_csrf
from markupsafe import Markup

from lms.identity.scopes import Actor
from lms.web.access import optional_actor, optional_person
from lms.web.i18n import LANGUAGES, current_locale, gettext

STATIC_DIR = Path(__file__).parent / "static"
#: Family name of one syllable, given name of two.
_KOREAN_NAME = re.compile(r"[가-힣]{3}")
_TONES = {"ok", "wait", "bad", "live"}
#: In the language that the switch leads to, since only its reader needs the words.
_SWITCH_WORDS = {"ko": "이 페이지를 한국어로 보기", "en": "Read this page in English"}


@dataclass(frozen=True, slots=True)
class NavItem:
    """One link of a menu."""

    label: str
    href: str
    icon: str
    is_current: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Something that the last request has to say on this page."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chrome:
    """The frame's values; `person_name` is empty for a visitor."""

    nav: tuple[NavItem, ...]
    account: tuple[NavItem, ...]
    person_name: str
    username: str
    initials: str
    other_locale: str
    other_language: str
    switch_words: str
    #: Path and query of this page, to come back to.
    here: str
    flashes: tuple[Message, ...]


def init_chrome(app: Flask) -> None:
    """Give every template `chrome`, `asset` and `csrf`."""
    app.after_request(_keep_marked_files)
    app.context_processor(lambda: {"chrome": make_chrome()})
    app.jinja_env.globals.update(asset=asset, csrf=csrf_field)


def _keep_marked_files(response: Response) -> Response:
    # An address with a mark names these very bytes, so a browser never has to ask again.
    if (
        request.endpoint == "static"
        and "v" in request.args
        and response.status_code == HTTPStatus.OK
    ):
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@cache
def _fingerprint(path: str) -> str:
    return hashlib.sha256((STATIC_DIR / path).read_bytes()).hexdigest()[:12]


def asset(path: str) -> str:
    """Return the address of a static file; it changes with the file, so browsers may keep it."""
    return f"/static/{path}?v={_fingerprint(path)}"


def csrf_field() -> Markup:
    """Return the hidden field that shows a form to be ours."""
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(generate_csrf())


def make_chrome() -> Chrome:
    """Return the frame of the page that answers this request."""
    person, actor = optional_person(), optional_actor()
    other = "en" if current_locale() == "ko" else "ko"
    return Chrome(
        nav=_navigation(actor),
        account=() if actor is None else _account(actor),
        person_name="" if person is None else person.display_name,
        username="" if person is None else person.username,
        initials="" if person is None else initials(person.display_name),
        other_locale=other,
        other_language=LANGUAGES["en" if other == "en" else "ko"],
        switch_words=_SWITCH_WORDS[other],
        here=page_path(),
        flashes=_messages(),
    )


def _messages() -> tuple[Message, ...]:
    # The type says str for what comes in pairs once categories are asked for.
    pairs = cast("list[tuple[str, str]]", get_flashed_messages(with_categories=True))
    return tuple(Message(text, kind if kind in _TONES else "") for kind, text in pairs)


def page_path() -> str:
    """Return the path of the page in front of the person; for a form's answer, the form's page."""
    if request.method == "GET" and "HX-Request" not in request.headers:
        return request.full_path.rstrip("?")
    return page_before()


def page_before() -> str:
    """Return the path of the page that led here, "/" when it is not known or not ours."""
    came_from = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
    path = came_from.path + (f"?{came_from.query}" if came_from.query else "")
    if came_from.netloc != request.host or not path or path == request.full_path.rstrip("?"):
        return "/"
    return path


def initials(name: str) -> str:
    """Return one Hangul syllable or up to two Latin letters that stand for the name."""
    words = name.split()
    if not words:
        return "·"
    if not words[0][0].isascii():
        return given_name(name)[:1]
    return "".join(word[0] for word in words[:2]).upper()


def given_name(name: str) -> str:
    """Return the part of the name to greet with: without a Korean family name of one syllable."""
    words = name.split()
    if len(words) == 1 and _KOREAN_NAME.fullmatch(name):
        return name[1:]
    if words and not words[0][0].isascii():
        return words[-1]
    return words[0] if words else name


def _navigation(actor: Actor | None) -> tuple[NavItem, ...]:
    items = [("/", gettext("Home"), "home"), ("/courses", gettext("Courses"), "book")]
    if actor is not None:
        items.append(("/grades", gettext("Grades"), "grades"))
        if teaches(actor):
            items.append(("/teach", gettext("Teaching"), "teach"))
    place = _place()
    return tuple(NavItem(label, href, icon, href == place) for href, label, icon in items)


def teaches(actor: Actor) -> bool:
    """Say whether the actor has an offering to look after."""
    return actor.is_admin or any(actor.may("roster:read", offering) for offering in actor.roles)


def _place() -> str:
    """Return the menu entry that this page belongs to."""
    path = request.path
    if path == "/" or path.startswith("/offerings/"):
        return "/"
    if path.startswith(("/courses", "/programmes")):
        return "/courses"
    if path.startswith(("/grades", "/submissions")):
        return "/grades"
    return "/teach" if path.startswith("/teach") else ""


def _account(actor: Actor) -> tuple[NavItem, ...]:
    items = [
        NavItem(gettext("My account"), "/account", "person"),
        NavItem(gettext("My compute"), "/compute", "chip"),
    ]
    if actor.is_admin:
        items.append(NavItem(gettext("People"), "/admin/people", "people"))
        items.append(NavItem(gettext("GPUs"), "/admin/compute", "grades"))
        # Central's table; at a centre it leads to the centre's own page.
        items.append(NavItem(gettext("Centres"), "/admin/centres", "home"))
    return tuple(items)
