"""How the Hub goes on believing the LMS, and when it stops."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError

from lms.outposts.hub.authenticator import LmsAuthenticator, oauth_settings

MODEL = {"name": "minsu", "auth_state": {"access_token": "fresh"}}


@dataclass
class FakeUser:
    name: str = "minsu"
    spawners: dict[str, object] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    _auth_refreshed: float = 1.0

    async def get_auth_state(self) -> dict[str, Any]:
        return {"token_response": {"access_token": "old"}}

    async def save_auth_state(self, state: dict[str, Any]) -> None:
        self.state = state


class Lms:
    """What the LMS answers: a model, or an error to raise."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | Exception = MODEL
        self.asked = 0


@pytest.fixture
def lms() -> Lms:
    return Lms()


@pytest.fixture
def authenticator(lms: Lms) -> LmsAuthenticator:
    class Asking(LmsAuthenticator):
        async def _token_to_auth_model(self, token_info: object) -> dict[str, Any]:
            del token_info
            lms.asked += 1
            if isinstance(lms.answer, Exception):
                raise lms.answer
            return lms.answer

    return Asking(enable_auth_state=True)


def who_asks() -> SimpleNamespace:
    """Return the handler of `GET /hub/api/user` with a token."""
    request = SimpleNamespace(path="/hub/api/user")
    return SimpleNamespace(_token_authenticated=True, request=request)


def test_a_page_waits_for_the_lms_and_takes_its_answer(
    authenticator: LmsAuthenticator, lms: Lms
) -> None:
    async def story() -> None:
        assert await authenticator.refresh_user(FakeUser()) == MODEL
        lms.answer = HTTPClientError(401)
        assert await authenticator.refresh_user(FakeUser()) is False

    asyncio.run(story())


def test_a_silent_lms_costs_nobody_the_notebook_at_once(
    authenticator: LmsAuthenticator, lms: Lms
) -> None:
    async def story() -> None:
        await authenticator.refresh_user(FakeUser())
        for trouble in (HTTPClientError(599), HTTPClientError(503), ConnectionRefusedError()):
            lms.answer = trouble
            assert await authenticator.refresh_user(FakeUser()) is True
        authenticator.grace_seconds = 0
        assert await authenticator.refresh_user(FakeUser()) is False

    asyncio.run(story())


def test_whose_token_is_answered_without_waiting_and_refused_after_the_lms_said_no(
    authenticator: LmsAuthenticator, lms: Lms
) -> None:
    async def story() -> None:
        user = FakeUser()
        lms.answer = HTTPClientError(401)
        assert await authenticator.refresh_user(user, who_asks()) is True
        assert lms.asked == 0
        await asyncio.sleep(0.01)
        assert lms.asked == 1
        assert user._auth_refreshed == 0
        assert await authenticator.refresh_user(user, who_asks()) is False

    asyncio.run(story())


def test_a_token_renewed_in_the_background_is_kept(
    authenticator: LmsAuthenticator, lms: Lms
) -> None:
    async def story() -> None:
        user = FakeUser()
        await authenticator.refresh_user(user, who_asks())
        await asyncio.sleep(0.01)
        assert user.state == {"access_token": "fresh"}

    asyncio.run(story())


def test_the_settings_that_matter_are_set() -> None:
    settings = oauth_settings("http://127.0.0.1:8000", "http://localhost:8010", "secret")
    assert settings["oauth_callback_url"] == "http://localhost:8010/hub/oauth_callback"
    for name in ("basic_auth", "enable_pkce", "auto_login", "manage_groups", "auth_refresh_strict"):
        assert settings[name] is True, name
    for name in settings:
        assert LmsAuthenticator.class_traits().get(name) is not None, name
