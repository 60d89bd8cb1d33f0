"""What every request must pass: host, declaration, Origin, CSRF token, and what answers carry."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from lms.foundation.errors import InvalidError
from lms.identity import service as identity
from lms.identity.access import Audience, declared_access
from lms.web.access import safe_next
from tests.fakes.browser import csrf_token, post
from tests.integration.identity.conftest import PASSWORD, MakeApp, People, SignInPage

OURS = "http://127.0.0.1:8123"


def test_every_route_declares_who_may_call_it(app: Flask) -> None:
    missing = [
        f"{rule.endpoint} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if declared_access(app.view_functions[rule.endpoint]) is None
    ]
    assert missing == []


def test_a_view_that_forgot_its_declaration_is_refused(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    app.testing = False
    answer = client.get("/forgotten")
    assert answer.status_code == 403
    assert "secret" not in answer.text
    app.testing = True
    assert client.get("/forgotten").status_code == 500, "a test must notice it"


def test_only_machines_views_go_without_cookies_and_tokens(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        access = declared_access(app.view_functions[rule.endpoint])
        assert access
        if access.audience is Audience.MACHINE:
            assert rule.rule.startswith(
                ("/oauth/", "/.well-known/", "/api/", "/healthz", "/metrics")
            ), rule.rule


def test_every_admin_page_is_closed_to_others(
    app: Flask, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    pages = [
        re.sub(r"<\w+>", "disable", re.sub(r"<int:\w+>", "1", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/admin") and "GET" in (rule.methods or ())
    ]
    assert pages
    for page in pages:
        assert app.test_client().get(page).status_code == 302
        assert browser.get(page).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8223", "localhost:8123", "evil.example", "127.0.0.1"])
def test_another_host_name_is_answered_with_a_pointer(client: FlaskClient, host: str) -> None:
    answer = client.get("/login", headers={"Host": host})
    assert answer.status_code == 421
    assert OURS in answer.text
    assert "<form" not in answer.text


def test_pages_and_hub_must_not_share_a_host_name(make_app: MakeApp) -> None:
    with pytest.raises(InvalidError, match="same host name"):
        make_app(hub_url="http://127.0.0.1:8223")


def test_while_the_database_does_not_answer_public_pages_come_and_others_say_why(
    people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")

    def broken(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    # A context of its own: to undo the test's would put the real clock back, too.
    with pytest.MonkeyPatch.context() as while_broken:
        while_broken.setattr(identity, "find_sign_in", broken)
        assert browser.get("/signed-out").status_code == 200
        answer = browser.get("/account")
        assert answer.status_code == 503
        assert "<main" in answer.text
    assert browser.get("/account").status_code == 200


# --- changing things ---


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:8223"},
        {"Origin": "http://127.0.0.1:8223"},
        {"Origin": "https://127.0.0.1:8123"},
        {"Origin": "http://127.0.0.1:8123.evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Referer": "http://evil.example/page"},
    ],
)
def test_a_change_sent_by_another_origin_is_refused(
    people: People, sign_in: SignInPage, headers: dict[str, str]
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    token = csrf_token(browser, "/account")
    answer = browser.post("/logout", data={"csrf_token": token}, headers=headers)
    assert answer.status_code == 403
    assert browser.get("/account").status_code == 200


@pytest.mark.parametrize("token", ["", "made-up"])
def test_a_change_without_our_forms_token_is_refused(
    people: People, sign_in: SignInPage, token: str
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    answer = browser.post("/logout", data={"csrf_token": token}, headers={"Origin": OURS})
    assert answer.status_code == 400
    assert browser.get("/account").status_code == 200


def test_a_token_of_another_session_is_refused(people: People, sign_in: SignInPage) -> None:
    people.add("minseo")
    people.add("jiwoo")
    browser, other = sign_in("minseo"), sign_in("jiwoo")
    token = csrf_token(other, "/account")
    answer = browser.post("/logout", data={"csrf_token": token}, headers={"Origin": OURS})
    assert answer.status_code == 400


def test_logging_in_needs_a_token_too(client: FlaskClient, people: People) -> None:
    people.add("minseo")
    answer = client.post("/login", data={"username": "minseo", "password": PASSWORD})
    assert answer.status_code == 400
    assert client.get("/account").status_code == 302


def test_the_header_that_htmx_sends_counts_as_the_token(
    people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    token = csrf_token(browser, "/account")
    answer = browser.post("/logout", headers={"Origin": OURS, "X-CSRFToken": token})
    assert answer.status_code == 302


# --- where to go next ---


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/x\0",
        "javascript:alert(1)",
        "http:evil.example",
        "evil.example",
        "",
        None,
    ],
)
def test_next_never_leads_away(wanted: str | None) -> None:
    assert safe_next(wanted) == "/"


@pytest.mark.parametrize("wanted", ["/", "/courses?q=%ED%86%B5", "/offerings/a-2026/units/1#cell"])
def test_next_keeps_our_own_pages(wanted: str) -> None:
    assert safe_next(wanted) == wanted


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_signing_in_does_not_redirect_away(
    client: FlaskClient, people: People, wanted: str
) -> None:
    people.add("minseo")
    answer = post(client, "/login", username="minseo", password=PASSWORD, next=wanted)
    assert answer.location == "/"
    assert client.get("/login", query_string={"next": wanted}).location == "/"
    assert client.get("/language/en", query_string={"next": wanted}).location == "/"


@pytest.mark.parametrize("wanted", ["/login?next=/x", "/logout", "/signed-out"])
def test_signing_in_does_not_lead_back_to_signing_in_or_out(
    client: FlaskClient, people: People, wanted: str
) -> None:
    people.add("minseo")
    answer = post(client, "/login", username="minseo", password=PASSWORD, next=wanted)
    assert answer.location == "/"


# --- cookies and headers ---


def test_cookies_belong_to_this_host_alone(client: FlaskClient, people: People) -> None:
    people.add("minseo")
    answer = post(client, "/login", username="minseo", password=PASSWORD)
    english = client.get("/language/en")
    cookies = answer.headers.getlist("Set-Cookie") + english.headers.getlist("Set-Cookie")
    assert len(cookies) >= 2
    for cookie in cookies:
        flags = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert not any(flag.startswith("domain") for flag in flags), cookie
        assert {"httponly", "samesite=lax", "path=/"} <= flags, cookie
        assert "secure" not in flags, "plain http would lose the cookie"


def test_no_cookie_of_ours_reaches_the_hub(client: FlaskClient, people: People) -> None:
    people.add("minseo")
    post(client, "/login", username="minseo", password=PASSWORD)
    client.get("/language/en")
    assert client.get_cookie("seodang", domain="127.0.0.1")
    for name in ("seodang", "seodang_language"):
        assert client.get_cookie(name, domain="localhost") is None


def test_with_https_cookies_are_secure(make_app: MakeApp) -> None:
    app = make_app(lms_url="https://lms.example.org", hub_url="https://hub.example.org")
    answer = app.test_client().get("/login", base_url="https://lms.example.org/")
    assert answer.status_code == 200
    assert "Secure" in answer.headers["Set-Cookie"]
    # The machine's own parts ask over loopback, whatever the public name is.
    assert app.test_client().get("/login", base_url="http://127.0.0.1:8123/").status_code == 200


def test_the_cookie_holds_a_token_and_nothing_about_the_person(
    people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    browser.get("/account")
    with browser.session_transaction() as session:
        assert set(session) <= {"sign_in", "csrf_token"}


def test_pages_carry_a_strict_policy(client: FlaskClient) -> None:
    headers = client.get("/login").headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy, "default-src must hold for scripts"
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' http://localhost:8223" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_a_policy_of_the_views_own_is_kept(app: Flask, client: FlaskClient) -> None:
    from lms.identity.access import public

    @public
    def framed() -> tuple[str, dict[str, str]]:
        return "x", {"Content-Security-Policy": "sandbox; default-src 'none'"}

    app.add_url_rule("/framed", "framed", framed)
    headers = client.get("/framed").headers
    assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert "X-Frame-Options" not in headers


def test_pages_have_no_inline_script(people: People, sign_in: SignInPage) -> None:
    people.add("admin", is_admin=True)
    browser = sign_in("admin")
    for page in ("/account", "/admin/people", "/logout", "/admin/people/admin/reset"):
        text = browser.get(page).text
        assert "<script>" not in text
        assert " onclick=" not in text
