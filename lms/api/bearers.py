"""Whose token a request of the exchange carries: a notebook server's, or one of our own."""

import hashlib
import time
from dataclasses import dataclass, field
from threading import Lock

import requests
from flask import Flask, current_app, g, request
from sqlalchemy.orm import Session

from lms.enrolment.service import actor_for
from lms.foundation import clock
from lms.foundation.errors import ForbiddenError, UnavailableError
from lms.foundation.settings import Settings
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.identity.service import find_person, resolve_sign_in
from lms.protocol.sentences import sentence

#: What our own tokens begin with; everything else is asked of the Hub.
OWN_PREFIX = "lms_"
#: How long the Hub's answer about a token is believed, in seconds.
BELIEVED_SECONDS = 10.0
#: How long the Hub may take to answer, in seconds.
HUB_SECONDS = 5.0
MAX_REMEMBERED = 10_000
MAX_TOKEN = 512

_EXTENSION = "lms_bearers"


class NoBearerError(ForbiddenError):
    """The request carries no token that stands; its status is 401."""

    def __init__(self) -> None:
        super().__init__(
            sentence(
                "Your sign-in is not known here or has ended. "
                "Open the notebook from the course page again."
            )
        )


@dataclass(slots=True)
class HubTokens:
    """Asks the Hub whose a token is, and remembers the answer for a moment."""

    hub_api_url: str
    _known: dict[str, tuple[str, float]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def username_of(self, token: str) -> str:
        """Return the username; raises NoBearerError, or UnavailableError if the Hub is down."""
        key = hashlib.sha256(token.encode()).hexdigest()
        with self._lock:
            username, until = self._known.get(key, ("", 0.0))
        if time.monotonic() < until:
            return username
        username = self._ask(token)
        with self._lock:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = (username, time.monotonic() + BELIEVED_SECONDS)
        return username

    def _ask(self, token: str) -> str:
        try:
            with requests.Session() as http:
                http.trust_env = False
                answer = http.get(
                    f"{self.hub_api_url}/user",
                    headers={"Authorization": f"token {token}"},
                    timeout=HUB_SECONDS,
                    allow_redirects=False,
                )
                model = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise UnavailableError(
                sentence(
                    "The notebook Hub does not answer, so nobody can be recognised. "
                    "Your files are safe; try again in a minute."
                )
            ) from error
        if answer.status_code >= 500:  # noqa: PLR2004
            raise UnavailableError(
                sentence(
                    "The notebook Hub does not answer, so nobody can be recognised. "
                    "Your files are safe; try again in a minute."
                )
            )
        is_person = answer.ok and isinstance(model, dict) and model.get("kind") == "user"
        name = model.get("name") if is_person else None
        if not isinstance(name, str):
            raise NoBearerError
        return name


def init_bearers(app: Flask, settings: Settings) -> None:
    """Let `app` ask the Hub, at its own address behind the proxy."""
    app.extensions[_EXTENSION] = HubTokens(settings.hub_api_url)


def bearer_username() -> str:
    """Return for whom the Hub vouches, "" when the token is our own; asks no database."""
    token = _token()
    if token.startswith(OWN_PREFIX):
        return ""
    tokens = current_app.extensions[_EXTENSION]
    if not isinstance(tokens, HubTokens):
        raise TypeError("init_exchange was not called")
    return tokens.username_of(token)


def bearer_actor(session: Session, username: str) -> tuple[Person, Actor]:
    """Return the person of the request's token; raises NoBearerError or ForbiddenError."""
    if username:
        person = find_person(session, username)
    else:
        own = _token().removeprefix(OWN_PREFIX)
        person = resolve_sign_in(session, own, now=clock.now())
    if person is None:
        raise NoBearerError
    if person.disabled_at is not None:
        raise ForbiddenError(
            sentence("Your account is disabled. Ask an administrator if that is a mistake.")
        )
    if "Accept-Language" not in request.headers:
        # What goes wrong from here on is said in the person's language.
        g.locale = person.locale
    return person, actor_for(session, person)


def own_token() -> str | None:
    """Return the sign-in that the request's token of ours stands for."""
    token = _token()
    return token.removeprefix(OWN_PREFIX) if token.startswith(OWN_PREFIX) else None


def _token() -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if kind.lower() not in {"bearer", "token"} or not token or len(token) > MAX_TOKEN:
        raise NoBearerError
    if not token.isascii() or not token.isprintable():
        raise NoBearerError
    return token
