"""Signing in, staying in, and leaving, through the pages."""

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from lms.bootstrap import System
from lms.foundation.db import transaction
from lms.identity import service as identity
from lms.identity.access import SIGN_IN_KEY
from lms.identity.models import LoginAttempt, SignIn
from lms.identity.scopes import SYSTEM
from tests.fakes.browser import csrf_token, post
from tests.fakes.clock import Clock
from tests.integration.identity.conftest import PASSWORD, People, SignInPage

ENGLISH = {"Accept-Language": "en"}


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


def test_capitals_and_spaces_around_the_username_do_not_matter(
    client: FlaskClient, people: People
) -> None:
    people.add("minseo")
    answer = post(client, "/login", username="  MinSeo ", password=PASSWORD)
    assert answer.status_code == 302


def test_wrong_password_says_the_same_as_an_unknown_name(
    client: FlaskClient, people: People
) -> None:
    people.add("minseo")
    wrong = post(client, "/login", username="minseo", password="not the one at all")
    unknown = post(client, "/login", username="nobody-here", password="not the one at all")
    assert wrong.status_code == unknown.status_code == 403
    words = [answer.text.split('role="alert"')[1].split("</div>")[0] for answer in (wrong, unknown)]
    assert words[0] == words[1]
    assert 'value="minseo"' in wrong.text, "what was typed is lost"


@pytest.mark.parametrize("username", ["", "\0", "../..", "김민서", "x" * 5000, "a' OR '1'='1"])
def test_strange_usernames_are_refused_like_wrong_ones(
    client: FlaskClient, people: People, username: str
) -> None:
    answer = post(client, "/login", username=username, password=PASSWORD)
    assert answer.status_code in {400, 403}
    assert SIGN_IN_KEY not in _session(client)


def test_a_disabled_person_is_told_so_only_with_the_right_password(
    client: FlaskClient, people: People, system: System, ticking: Clock
) -> None:
    people.add("minseo")
    with transaction(system.sessions) as session:
        person = identity.get_person(session, "minseo")
        identity.disable(session, person, actor=SYSTEM, now=ticking())
    right = client.post(
        "/login",
        data={
            "username": "minseo",
            "password": PASSWORD,
            "csrf_token": csrf_token(client),
        },
        headers=ENGLISH,
    )
    assert right.status_code == 403
    assert "This account is disabled" in right.text
    wrong = post(client, "/login", username="minseo", password="something else")
    assert "disabled" not in wrong.text


def test_disabling_ends_what_is_open(
    people: People, sign_in: SignInPage, system: System, ticking: Clock
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    assert browser.get("/account").status_code == 200
    with transaction(system.sessions) as session:
        person = identity.get_person(session, "minseo")
        identity.disable(session, person, actor=SYSTEM, now=ticking())
    assert browser.get("/account").status_code == 302


# --- rate limit ---


def test_ten_wrong_passwords_stop_a_name_and_say_until_when(
    client: FlaskClient, people: People, ticking: Clock
) -> None:
    people.add("minseo")
    for _ in range(10):
        wrong = post(client, "/login", username="minseo", password="guess after guess")
        assert wrong.status_code == 403
        ticking.forward(seconds=30)
    stopped = client.post(
        "/login",
        data={"username": "minseo", "password": PASSWORD, "csrf_token": csrf_token(client)},
        headers=ENGLISH,
    )
    assert stopped.status_code == 429
    # The first guess was five minutes ago and counts for fifteen.
    assert "Try again in 10 minutes" in stopped.text
    ticking.forward(minutes=10, seconds=1)
    assert post(client, "/login", username="minseo", password=PASSWORD).status_code == 302


def test_an_address_may_try_many_names_but_not_endlessly(
    client: FlaskClient, people: People, ticking: Clock, system: System
) -> None:
    people.add("minseo")
    with transaction(system.sessions) as session:
        session.add_all(LoginAttempt(key="from:127.0.0.1", at=ticking()) for _ in range(100))
    assert post(client, "/login", username="minseo", password=PASSWORD).status_code == 429
    elsewhere = client.post(
        "/login",
        data={"username": "minseo", "password": PASSWORD, "csrf_token": csrf_token(client)},
        environ_base={"REMOTE_ADDR": "192.0.2.7"},
    )
    assert elsewhere.status_code == 302


def test_a_right_password_takes_the_count_back(
    client: FlaskClient, people: People, system: System
) -> None:
    people.add("minseo")
    for _ in range(3):
        post(client, "/login", username="minseo", password="a wrong one")
    post(client, "/login", username="minseo", password=PASSWORD)
    with system.sessions() as session:
        keys = session.scalars(select(LoginAttempt.key)).all()
    assert keys == ["from:127.0.0.1"] * 3


def test_a_new_password_lifts_the_limit(
    client: FlaskClient, people: People, system: System, ticking: Clock
) -> None:
    people.add("minseo")
    for _ in range(10):
        post(client, "/login", username="minseo", password="a wrong one")
    with transaction(system.sessions) as session:
        person = identity.get_person(session, "minseo")
        fresh = identity.reset_password(session, person, actor=SYSTEM, now=ticking())
    assert post(client, "/login", username="minseo", password=fresh).status_code == 302


# --- how long it lasts ---


def test_an_unused_sign_in_ends_and_the_next_page_says_so(
    people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    for _ in range(3):
        ticking.forward(hours=11)
        assert browser.get("/account").status_code == 200, "use did not move the end"
    ticking.forward(hours=12, seconds=1)
    asked = browser.get("/account", headers=ENGLISH)
    assert asked.location == "/login?next=/account"
    page = browser.get(asked.location, headers=ENGLISH).text
    assert "You were signed out because the page was not used for a while." in page
    assert 'name="next" value="/account"' in page.split("<main")[1]


def test_reading_pages_writes_at_most_every_five_minutes(
    people: People, sign_in: SignInPage, ticking: Clock, system: System
) -> None:
    people.add("minseo")
    browser, start = sign_in("minseo"), ticking()
    ticking.forward(minutes=4)
    browser.get("/account")
    assert _last_seen(system) == start
    ticking.forward(minutes=1)
    browser.get("/account")
    assert _last_seen(system) == start + timedelta(minutes=5)


def test_what_was_typed_when_the_sign_in_ended_can_be_sent_after_signing_in(
    people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("teacher", is_admin=True)
    browser = sign_in("teacher")
    token = csrf_token(browser, "/admin/people")
    ticking.forward(hours=13)
    late = browser.post(
        "/admin/people",
        data={"csrf_token": token, "username": "minseo", "name": "김민서 <b>"},
        headers={
            "Origin": "http://127.0.0.1:8123",
            "Referer": "http://127.0.0.1:8123/admin/people",
        },
    )
    assert late.status_code == 401
    form = late.text.split("<main")[1]
    assert 'name="next" value="/admin/people"' in form
    kept = re.search(r'name="kept" value="([^"]+)"', form)
    assert kept
    resumed = post(
        browser,
        "/login",
        username="teacher",
        password=PASSWORD,
        next="/admin/people",
        kept=kept[1],
    )
    assert resumed.status_code == 200
    assert 'action="/admin/people"' in resumed.text
    assert 'name="name" value="김민서 &lt;b&gt;"' in resumed.text
    assert token not in resumed.text, "the old token came along"


def test_what_one_person_typed_is_not_shown_to_another(
    people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    people.add("jiwoo")
    browser = sign_in("minseo")
    ticking.forward(hours=13)
    late = browser.post("/account/sign-out-everywhere", data={"note": "private words"})
    kept = re.search(r'name="kept" value="([^"]+)"', late.text)
    assert kept
    other = post(browser, "/login", username="jiwoo", password=PASSWORD, kept=kept[1])
    assert other.status_code == 302


def test_a_forged_kept_form_is_ignored(client: FlaskClient, people: People) -> None:
    people.add("minseo")
    answer = post(client, "/login", username="minseo", password=PASSWORD, kept="forged.x.y")
    assert answer.status_code == 302


def test_passwords_are_not_carried_through_the_login_page(
    people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    ticking.forward(hours=13)
    late = browser.post("/account/password", data={"current": PASSWORD, "new": "x", "again": "x"})
    assert late.status_code == 401
    assert 'name="kept"' not in late.text


def test_htmx_is_sent_to_the_login_page_as_a_whole(client: FlaskClient, people: People) -> None:
    answer = client.get(
        "/account",
        headers={"HX-Request": "true", "HX-Current-URL": "http://127.0.0.1:8123/grades"},
    )
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login?next=/grades"


# --- leaving ---


def test_signing_out_ends_the_sign_in_even_for_a_copied_cookie(
    app: Flask, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    cookie = browser.get_cookie("seodang", domain="127.0.0.1")
    assert cookie
    thief = app.test_client()
    thief.set_cookie("seodang", cookie.value, domain="127.0.0.1")
    assert thief.get("/account").status_code == 200
    answer = post(browser, "/logout", page="/account")
    assert answer.location == "http://localhost:8223/hub/logout"
    assert thief.get("/account").status_code == 302
    assert browser.get("/account").status_code == 302


def test_with_the_hub_down_signing_out_still_ends_on_a_page(
    app: Flask, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    # The real check: nothing listens on this test's Hub port.
    del app.extensions["lms_hub_check"]
    answer = post(browser, "/logout", page="/account")
    assert answer.location == "/signed-out?hub=missed"
    page = browser.get(answer.location, headers=ENGLISH)
    assert "The notebook Hub did not answer" in page.text


def test_a_link_alone_does_not_sign_out(people: People, sign_in: SignInPage) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    assert browser.get("/logout").status_code == 200
    assert browser.get("/account").status_code == 200


def test_signing_out_everywhere_reaches_other_browsers(people: People, sign_in: SignInPage) -> None:
    people.add("minseo")
    here, there = sign_in("minseo"), sign_in("minseo")
    post(here, "/account/sign-out-everywhere", page="/account")
    assert there.get("/account").status_code == 302
    assert here.get("/account").status_code == 302


def test_signing_in_again_gives_a_new_token_and_ends_the_old_one(
    people: People, sign_in: SignInPage, system: System
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    old = _session(browser)[SIGN_IN_KEY]
    post(browser, "/login", page="/account", username="minseo", password=PASSWORD)
    assert _session(browser)[SIGN_IN_KEY] != old
    with system.sessions() as session:
        ended = session.scalars(select(SignIn.ended_at).order_by(SignIn.id)).all()
    assert [at is None for at in ended] == [False, True]


# --- the account page ---


def test_a_changed_password_works_and_signs_other_browsers_out(
    people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    here, there = sign_in("minseo"), sign_in("minseo")
    fresh = "another set of words"
    answer = post(
        here, "/account/password", page="/account", current=PASSWORD, new=fresh, again=fresh
    )
    assert answer.status_code == 302, answer.text
    assert here.get("/account").status_code == 200
    assert there.get("/account").status_code == 302
    sign_in("minseo", fresh)


@pytest.mark.parametrize(
    ("current", "new", "again"),
    [
        ("wrong words here", "another set of words", "another set of words"),
        (PASSWORD, "another set of words", "another set of word"),
        (PASSWORD, "short", "short"),
        (PASSWORD, "minseo1", "minseo1"),
        (PASSWORD, "aaaaaaaaaaaa", "aaaaaaaaaaaa"),
    ],
)
def test_a_password_that_may_not_be_used_changes_nothing(
    people: People, sign_in: SignInPage, current: str, new: str, again: str
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    answer = post(
        browser, "/account/password", page="/account", current=current, new=new, again=again
    )
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    sign_in("minseo", PASSWORD)


def test_guessing_the_current_password_is_limited_too(people: People, sign_in: SignInPage) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    browser.get("/language/en")
    fields = {"current": "a wrong guess", "new": "another set", "again": "another set"}
    for _ in range(10):
        answer = post(browser, "/account/password", page="/account", **fields)
        assert "That is not your current password." in answer.text
    fields["current"] = PASSWORD
    stopped = post(browser, "/account/password", page="/account", **fields)
    assert stopped.status_code == 400
    assert "too many wrong passwords" in stopped.text
    with pytest.raises(AssertionError):
        sign_in("minseo", "another set")


def test_the_language_is_kept_by_browser_and_account(people: People, sign_in: SignInPage) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    assert '<html lang="ko">' in browser.get("/account").text
    answer = post(browser, "/language/en", page="/account", next="/account")
    assert answer.location == "/account"
    assert '<html lang="en">' in browser.get("/account").text
    elsewhere = sign_in("minseo")
    assert '<html lang="en">' in elsewhere.get("/account").text
    assert browser.get("/language/xx").status_code == 400


def test_a_generated_password_asks_for_an_own_one_after_signing_in(
    people: People, sign_in: SignInPage, system: System, ticking: Clock
) -> None:
    people.add("minseo")
    with transaction(system.sessions) as session:
        person = identity.get_person(session, "minseo")
        fresh = identity.reset_password(session, person, actor=SYSTEM, now=ticking())
    browser = sign_in("minseo", fresh)
    assert 'class="note wait flash"' in browser.get("/account").text


def _session(client: FlaskClient) -> dict[str, str]:
    with client.session_transaction() as session:
        return dict(session)


def _last_seen(system: System) -> object:
    with system.sessions() as session:
        return session.scalar(select(SignIn.last_seen_at))
