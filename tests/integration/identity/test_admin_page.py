"""The administrator's page of accounts."""

import re

import pytest
from flask.testing import FlaskClient

from lms.bootstrap import System
from lms.identity import service as identity
from tests.fakes.browser import post
from tests.integration.identity.conftest import PASSWORD, People, SignInPage


@pytest.fixture
def admin(people: People, sign_in: SignInPage) -> FlaskClient:
    people.add("admin", is_admin=True)
    return sign_in("admin")


def _act(browser: FlaskClient, username: str, act: str) -> int:
    page = f"/admin/people/{username}/{act}"
    return post(browser, page, page=page).status_code


def test_a_new_account_shows_its_password_once_and_it_works(
    admin: FlaskClient, sign_in: SignInPage
) -> None:
    answer = post(
        admin,
        "/admin/people",
        page="/admin/people",
        username="Minseo",
        name="김민서",
        email="Min@Example.org",
    )
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = re.search(r'class="secret">([^<]+)<', answer.text)
    assert found
    assert sign_in("minseo", found[1]).get("/account").status_code == 200
    listed = admin.get("/admin/people?q=김민").text
    assert "minseo" in listed
    assert "min@example.org" in listed
    assert found[1] not in listed


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"username": "a b", "name": "X Y"}, "username"),
        ({"username": "root", "name": "X Y"}, "username"),
        ({"username": "admin", "name": "X Y"}, "username"),
        ({"username": "minseo", "name": ""}, "name"),
        ({"username": "minseo", "name": "김민서", "email": "no"}, "email"),
    ],
)
def test_what_was_typed_stays_beside_the_reason(
    admin: FlaskClient, fields: dict[str, str], field: str
) -> None:
    answer = post(admin, "/admin/people", page="/admin/people", **fields)
    assert answer.status_code == 400
    assert f'id="e-{field}"' in answer.text
    for value in fields.values():
        assert value in answer.text


def test_the_search_narrows_and_counts(admin: FlaskClient, people: People) -> None:
    for number in range(60):
        people.add(f"student{number:02d}", name=f"학생 {number}")
    first = admin.get("/admin/people").text
    assert "61" in first
    assert "student49" not in first
    assert "student59" in admin.get("/admin/people?page=2").text
    assert "student07" in admin.get("/admin/people?q=STUDENT07").text
    nobody = admin.get("/admin/people?q=%25_")
    assert nobody.status_code == 200
    assert "student07" not in nobody.text, "a search character was taken for a wildcard"


def test_a_new_password_replaces_the_old_one(
    admin: FlaskClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    theirs = sign_in("minseo")
    page = "/admin/people/minseo/reset"
    answer = post(admin, page, page=page)
    found = re.search(r'class="secret">([^<]+)<', answer.text)
    assert found
    assert theirs.get("/account").status_code == 302
    sign_in("minseo", found[1])
    with pytest.raises(AssertionError):
        sign_in("minseo", PASSWORD)


def test_disabling_asks_first_and_can_be_undone(
    admin: FlaskClient, people: People, sign_in: SignInPage
) -> None:
    people.add("minseo")
    theirs = sign_in("minseo")
    assert admin.get("/admin/people/minseo/disable").status_code == 200
    assert theirs.get("/account").status_code == 200, "asking has done it"
    assert _act(admin, "minseo", "disable") == 302
    assert theirs.get("/account").status_code == 302
    assert _act(admin, "minseo", "enable") == 302
    assert theirs.get("/account").status_code == 302, "an old sign-in came back to life"
    sign_in("minseo")


def test_the_last_administrator_stays(admin: FlaskClient, people: People, system: System) -> None:
    assert _act(admin, "admin", "unmake-admin") == 409
    assert _act(admin, "admin", "disable") == 409
    people.add("second")
    assert _act(admin, "second", "make-admin") == 302
    assert _act(admin, "second", "disable") == 302
    assert _act(admin, "admin", "unmake-admin") == 409, "a disabled administrator was counted"
    assert _act(admin, "second", "enable") == 302
    assert _act(admin, "admin", "unmake-admin") == 302
    assert admin.get("/admin/people").status_code == 403
    with system.sessions() as session:
        assert identity.get_person(session, "second").is_admin


@pytest.mark.parametrize("path", ["/admin/people/nobody/reset", "/admin/people/admin/promote"])
def test_an_unknown_name_or_act_is_not_found(admin: FlaskClient, path: str) -> None:
    assert admin.get(path).status_code == 404
    assert post(admin, path, page="/admin/people").status_code == 404


def test_others_cannot_change_accounts(people: People, sign_in: SignInPage) -> None:
    people.add("admin", is_admin=True)
    people.add("minseo")
    browser = sign_in("minseo")
    for act in ("reset", "disable", "make-admin"):
        assert post(browser, f"/admin/people/minseo/{act}", page="/account").status_code == 403
    added = post(browser, "/admin/people", page="/account", username="spy", name="Spy")
    assert added.status_code == 403
