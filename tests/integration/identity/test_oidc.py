"""The provider, driven by a plain client."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import select

from lms.bootstrap import System
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.foundation.db import transaction
from lms.identity import oauth
from lms.identity import service as identity
from lms.identity.models import Person
from lms.identity.oauth_models import OAuthClient as ClientRow
from lms.identity.oauth_models import OAuthGrant, OAuthToken
from lms.identity.scopes import SYSTEM, Role
from tests.factories import make_offering
from tests.fakes.browser import post
from tests.fakes.clock import Clock
from tests.fakes.oauth_client import CALLBACK, OAuthClient
from tests.integration.identity.conftest import PASSWORD, MakeApp, People, SignInPage

SECRET = "the-hub-and-we-know-it"


@pytest.fixture
def hub(app: Flask, system: System, ticking: Clock) -> OAuthClient:
    with transaction(system.sessions) as session:
        oauth.ensure_hub_client(session, system.settings, SECRET, now=ticking())
    return OAuthClient(app.test_client(), SECRET)


def test_one_sign_in_leads_to_the_claims_of_the_person(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    number = people.add("minseo", name="김민서")
    tokens = hub.tokens(sign_in("minseo"))
    assert tokens["token_type"] == "Bearer"
    claims = hub.userinfo(tokens["access_token"]).json
    assert claims == {
        "sub": str(number),
        "preferred_username": "minseo",
        "name": "김민서",
        "groups": [],
        "os_uid": 200000,
        "locale": "ko",
    }


def test_a_browser_without_sign_in_is_asked_first_and_comes_back(
    hub: OAuthClient, people: People, client: FlaskClient
) -> None:
    people.add("minseo")
    asked = hub.authorize(client)
    assert asked.location.startswith("/login?next=/oauth/authorize%3Fresponse_type")
    form = {"username": "minseo", "password": PASSWORD}
    wanted = client.get(asked.location)
    hidden = (
        wanted.text.split("<main")[1]
        .split('name="next" value="')[1]
        .split('"')[0]
        .replace("&amp;", "&")
    )
    answer = post(client, "/login", next=hidden, **form)
    assert client.get(answer.location).location.startswith(CALLBACK + "?code=")


def test_the_identity_token_is_signed_with_the_published_key(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    number = people.add("minseo")
    tokens = hub.tokens(sign_in("minseo"))
    published = hub.server.get("/oauth/jwks.json").json
    assert published
    assert "d" not in published["keys"][0]
    token = jwt.decode(tokens["id_token"], KeySet.import_key_set(published), ["RS256"])
    assert token.header["kid"] == published["keys"][0]["kid"]
    assert token.claims["iss"] == "http://127.0.0.1:8123"
    assert token.claims["aud"] == ["hub"]
    assert token.claims["sub"] == str(number)
    assert token.claims["nonce"]


def test_discovery_names_what_is_there(hub: OAuthClient) -> None:
    found = hub.server.get("/.well-known/openid-configuration").json
    assert found
    assert found["issuer"] == "http://127.0.0.1:8123"
    assert found["code_challenge_methods_supported"] == ["S256"]
    for name in ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"):
        assert found[name].startswith("http://127.0.0.1:8123/oauth/")


def test_groups_are_current_at_each_question(
    hub: OAuthClient, people: People, sign_in: SignInPage, system: System, ticking: Clock
) -> None:
    number = people.add("minseo", is_admin=True)
    tokens = hub.tokens(sign_in("minseo"))
    with transaction(system.sessions) as session:
        offering = make_offering(session)
        enrolment = Enrolment(
            person_id=number,
            offering_id=offering.id,
            role=Role.STUDENT,
            state=EnrolmentState.PENDING,
            requested_at=ticking(),
        )
        session.add(enrolment)
        key = offering.key
    assert _groups(hub, tokens) == ["administrators"]
    with transaction(system.sessions) as session:
        session.get_one(Enrolment, enrolment.id).state = EnrolmentState.ACTIVE
    assert _groups(hub, tokens) == ["administrators", f"offering:{key}:student"]


def _groups(hub: OAuthClient, tokens: dict[str, str]) -> list[str]:
    claims = hub.userinfo(tokens["access_token"]).json
    assert claims
    groups: list[str] = claims["groups"]
    return groups


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
    ],
)
def test_a_request_without_pkce_s256_gets_no_code(
    hub: OAuthClient, people: People, sign_in: SignInPage, changes: dict[str, str | None]
) -> None:
    people.add("minseo")
    answer = hub.authorize(sign_in("minseo"), **changes)
    assert answer.status_code == 302
    assert answer.location.startswith(CALLBACK + "?error=invalid_request")
    assert "code=" not in answer.location


@pytest.mark.parametrize(
    "address",
    [
        None,
        "http://localhost:8223/hub/oauth_callback/",
        "http://localhost:8223/hub/oauth_callback?x=1",
        "http://localhost:8223/hub/OAUTH_CALLBACK",
        "http://localhost.evil.example/hub/oauth_callback",
        "https://evil.example/",
        "/hub/oauth_callback",
    ],
)
def test_a_code_is_sent_to_no_other_address(
    hub: OAuthClient, people: People, sign_in: SignInPage, address: str | None
) -> None:
    people.add("minseo")
    answer = hub.authorize(sign_in("minseo"), redirect_uri=address)
    assert answer.status_code == 400
    assert "<main" in answer.text, "a person is looking at this"
    assert "Location" not in answer.headers


def test_an_unknown_client_gets_no_code(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    answer = hub.authorize(sign_in("minseo"), client_id="stranger")
    assert answer.status_code == 400
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "x" * 64},
        {"code_verifier": ""},
        {"redirect_uri": "http://localhost:8223/hub/"},
        {"code": "made-up"},
    ],
)
def test_a_code_is_worth_nothing_without_its_verifier_and_address(
    hub: OAuthClient, people: People, sign_in: SignInPage, changes: dict[str, str]
) -> None:
    people.add("minseo")
    answer = hub.exchange(hub.code(sign_in("minseo")), **changes)
    assert answer.status_code == 400
    assert "access_token" not in answer.text


def test_a_wrong_client_secret_gets_no_token(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    code = hub.code(sign_in("minseo"))
    hub.secret = "guessed"
    answer = hub.exchange(code)
    assert answer.status_code == 401
    assert "access_token" not in answer.text


def test_the_secret_is_not_taken_from_the_form(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    sent = {
        "grant_type": "authorization_code",
        "code": hub.code(sign_in("minseo")),
        "redirect_uri": CALLBACK,
        "code_verifier": hub.verifier,
        "client_id": "hub",
        "client_secret": SECRET,
    }
    assert hub.server.post("/oauth/token", data=sent).status_code == 401


def test_using_a_code_twice_ends_what_the_first_use_gave(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    code = hub.code(sign_in("minseo"))
    first = hub.exchange(code).json
    assert first
    assert hub.userinfo(first["access_token"]).status_code == 200
    assert hub.exchange(code).status_code == 400
    assert hub.userinfo(first["access_token"]).status_code == 401
    assert hub.refresh(first["refresh_token"]).status_code == 400


def test_a_code_is_good_for_a_minute(
    hub: OAuthClient, people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    code = hub.code(sign_in("minseo"))
    ticking.forward(seconds=61)
    assert hub.exchange(code).status_code == 400


def test_a_nonce_is_taken_once(hub: OAuthClient, people: People, sign_in: SignInPage) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    assert "code=" in hub.authorize(browser, nonce="once").location
    assert "error=invalid_request" in hub.authorize(browser, nonce="once").location


def test_refreshing_gives_a_new_pair_and_retires_the_old_one(
    hub: OAuthClient, people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    old = hub.tokens(sign_in("minseo"))
    ticking.forward(seconds=601)
    assert hub.userinfo(old["access_token"]).status_code == 401
    answer = hub.refresh(old["refresh_token"])
    assert answer.status_code == 200, answer.text
    new = answer.json
    assert new
    assert new["refresh_token"] != old["refresh_token"]
    assert hub.userinfo(new["access_token"]).status_code == 200


def test_an_answer_that_was_lost_can_be_asked_for_again(
    hub: OAuthClient, people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    old = hub.tokens(sign_in("minseo"))
    assert hub.refresh(old["refresh_token"]).status_code == 200
    ticking.forward(seconds=30)
    again = hub.refresh(old["refresh_token"])
    assert again.status_code == 200
    assert again.json
    assert hub.userinfo(again.json["access_token"]).status_code == 200


def test_an_old_refresh_token_that_comes_late_ends_the_grant(
    hub: OAuthClient, people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    old = hub.tokens(sign_in("minseo"))
    new = hub.refresh(old["refresh_token"]).json
    assert new
    ticking.forward(seconds=61)
    assert hub.refresh(old["refresh_token"]).status_code == 400
    assert hub.userinfo(new["access_token"]).status_code == 401
    assert hub.refresh(new["refresh_token"]).status_code == 400


def test_signing_out_ends_the_tokens_of_that_browser_alone(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    here, there = sign_in("minseo"), sign_in("minseo")
    gone, kept = hub.tokens(here), hub.tokens(there)
    post(here, "/logout", page="/account")
    assert hub.userinfo(gone["access_token"]).status_code == 401
    assert hub.refresh(gone["refresh_token"]).status_code == 400
    assert hub.userinfo(kept["access_token"]).status_code == 200


def test_disabling_a_person_ends_their_tokens_and_codes(
    hub: OAuthClient, people: People, sign_in: SignInPage, system: System, ticking: Clock
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    tokens, code = hub.tokens(browser), hub.code(browser)
    with transaction(system.sessions) as session:
        person = identity.get_person(session, "minseo")
        identity.disable(session, person, actor=SYSTEM, now=ticking())
    assert hub.userinfo(tokens["access_token"]).status_code == 401
    assert hub.refresh(tokens["refresh_token"]).status_code == 400
    assert hub.exchange(code).status_code == 400
    with transaction(system.sessions) as session:
        identity.enable(identity.get_person(session, "minseo"), actor=SYSTEM)
    assert hub.userinfo(tokens["access_token"]).status_code == 401


def test_giving_a_token_back_ends_the_grant(
    hub: OAuthClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    tokens = hub.tokens(sign_in("minseo"))
    assert hub.revoke("never-given").status_code == 200
    assert hub.revoke(tokens["refresh_token"]).status_code == 200
    assert hub.userinfo(tokens["access_token"]).status_code == 401
    assert hub.refresh(tokens["refresh_token"]).status_code == 400
    hub.secret = "guessed"
    assert hub.revoke(tokens["refresh_token"]).status_code == 401


def test_work_at_the_hub_keeps_the_sign_in_alive(
    hub: OAuthClient, people: People, sign_in: SignInPage, ticking: Clock
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    tokens = hub.tokens(browser)
    for _ in range(3):
        ticking.forward(hours=8)
        answer = hub.refresh(tokens["refresh_token"]).json
        assert answer, "the sign-in ended while the person was at work"
        tokens = answer
        assert hub.userinfo(tokens["access_token"]).status_code == 200
    assert browser.get("/account").status_code == 200
    ticking.forward(hours=13)
    assert hub.refresh(tokens["refresh_token"]).status_code == 400


def test_nothing_secret_is_stored_in_clear(
    hub: OAuthClient, people: People, sign_in: SignInPage, system: System
) -> None:
    people.add("minseo")
    browser = sign_in("minseo")
    code = hub.code(browser)
    tokens = hub.exchange(code).json
    assert tokens
    with system.sessions() as session:
        rows = [
            *session.scalars(select(OAuthGrant)),
            *session.scalars(select(OAuthToken)),
            *session.scalars(select(ClientRow)),
            *session.scalars(select(Person)),
        ]
        stored = " ".join(str(vars(row)) for row in rows)
    for secret in (code, tokens["access_token"], tokens["refresh_token"], SECRET, PASSWORD):
        assert secret not in stored


def test_registering_the_hub_twice_takes_over_the_new_secret(
    hub: OAuthClient, people: People, sign_in: SignInPage, system: System, ticking: Clock
) -> None:
    people.add("minseo")
    with transaction(system.sessions) as session:
        oauth.ensure_hub_client(session, system.settings, "fresh", now=ticking())
    browser = sign_in("minseo")
    assert hub.exchange(hub.code(browser)).status_code == 401
    hub.secret = "fresh"
    assert hub.exchange(hub.code(browser)).status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic aHVi", "token x"]
)
def test_userinfo_tells_strangers_nothing(hub: OAuthClient, header: str) -> None:
    answer = hub.server.get("/oauth/userinfo", headers={"Authorization": header})
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("lms_url", ["http://192.0.2.5:8000", "https://lms.example.org"])
def test_it_works_on_a_lan_and_behind_an_operators_tls(
    make_app: MakeApp, system: System, people: People, ticking: Clock, lms_url: str
) -> None:
    people.add("minseo")
    with transaction(system.sessions) as session:
        oauth.ensure_hub_client(session, system.settings, SECRET, now=ticking())
    app = make_app(lms_url=lms_url)
    # Behind TLS this hop is plain http with the public Host, as a proxy in front sends it.
    host = {"Host": lms_url.partition("//")[2]}
    page = "https" if lms_url.startswith("https") else "http"
    browser = app.test_client()
    token = re.search(
        r'name="csrf_token" value="([^"]+)"',
        browser.get("/login", headers=host, base_url=f"{page}://x/").text,
    )
    assert token
    fields = {"csrf_token": token[1], "username": "minseo", "password": PASSWORD}
    answer = browser.post(
        "/login", data=fields, headers={**host, "Origin": lms_url}, base_url=f"{page}://x/"
    )
    assert answer.status_code == 302, answer.text
    hub = OAuthClient(app.test_client(), SECRET)
    sent = {
        "response_type": "code",
        "client_id": "hub",
        "redirect_uri": CALLBACK,
        "scope": "openid",
        "code_challenge": hub.challenge,
        "code_challenge_method": "S256",
    }
    asked = browser.get(
        "/oauth/authorize", query_string=sent, headers=host, base_url=f"{page}://x/"
    )
    code = parse_qs(urlsplit(asked.location).query)["code"][0]
    tokens = hub.exchange(code).json
    assert tokens
    assert hub.userinfo(tokens["access_token"]).status_code == 200
