"""Signing in and out through the pages."""

from flask.testing import FlaskClient

from lms.bootstrap import System
from tests.fakes.browser import csrf_token, post
from tests.fakes.clock import Clock
from tests.integration.identity.conftest import PASSWORD, People, SignIn


def test_right_password_opens_the_page_that_was_asked_for(
    client: FlaskClient, people: People
) -> None:
    people.add("minseo")
    asked = client.get("/account?x=1")
    assert asked.status_code == 302
    assert asked.location == "/login?next=/account%3Fx%3D1"
    answer = post(client, "/login", username="minseo", password=PASSWORD, next="/account?x=1")
    assert answer.status_code == 302
    assert answer.location == "/account?x=1"
    assert "minseo" in client.get("/account").text


def test_wrong_password_says_the_same_as_an_unknown_name(
    client: FlaskClient, people: People
) -> None:
    people.add("minseo")
    wrong = post(client, "/login", username="minseo", password="not the one at all")
    unknown = post(client, "/login", username="nobody-here", password="not the one at all")
    assert wrong.status_code == unknown.status_code == 403
    words = [answer.text.split('role="alert"')[1].split("</div>")[0] for answer in (wrong, unknown)]
    assert words[0] == words[1]
