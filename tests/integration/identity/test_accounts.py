"""Accounts in the database: names, OS user ids, passwords, the last administrator."""

from datetime import datetime

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker

from lms.foundation.db import transaction
from lms.foundation.errors import ForbiddenError
from lms.foundation.settings import Uids
from lms.identity import oauth, passwords
from lms.identity import service as identity
from lms.identity.errors import (
    EmailTakenError,
    LastAdministratorError,
    NoUidLeftError,
    PersonNotFoundError,
    UsernameInvalidError,
    UsernameReservedError,
    UsernameTakenError,
    WrongPasswordError,
)
from lms.identity.events import PersonDisabled
from lms.identity.models import Person
from lms.identity.oauth import groups_of
from lms.identity.scopes import SYSTEM, Actor
from tests.factories import make_person

UIDS = Uids(learner_first=200000, learner_end=200003)


def _add(session: Session, username: str, now: datetime, **fields: str) -> Person:
    person, _ = identity.add_person(
        session,
        username,
        fields.pop("name", username),
        actor=SYSTEM,
        now=now,
        uids=UIDS,
        email=fields.pop("email", None),
    )
    return person


def test_os_user_ids_start_at_the_ranges_first_and_never_come_back(
    session: Session, now: datetime
) -> None:
    assert _add(session, "first", now).os_uid == 200000
    assert _add(session, "second", now).os_uid == 200001
    session.execute(delete(Person).where(Person.username == "second"))
    assert _add(session, "third", now).os_uid == 200002


def test_a_username_is_never_given_twice_even_after_its_person_is_gone(
    session: Session, now: datetime
) -> None:
    _add(session, "minseo", now)
    with pytest.raises(UsernameTakenError):
        _add(session, "minseo", now)
    session.execute(delete(Person).where(Person.username == "minseo"))
    with pytest.raises(UsernameTakenError):
        _add(session, "minseo", now)


def test_an_id_that_a_person_holds_outside_the_ledger_is_not_given_again(
    session: Session, now: datetime
) -> None:
    make_person(session, "restored", os_uid=200001)
    assert _add(session, "next", now).os_uid == 200002


def test_a_used_up_range_is_said(session: Session, now: datetime) -> None:
    for name in ("aa", "bb", "cc"):
        _add(session, name, now)
    with pytest.raises(NoUidLeftError, match="200000 to 200002"):
        _add(session, "dd", now)


@pytest.mark.parametrize(
    "username", ["", "a", "A-b", "a b", "-ab", "_ab", "a.b", "김민서", "x" * 33, "a/b", "a\n", "é1"]
)
def test_usernames_are_short_plain_ascii(session: Session, now: datetime, username: str) -> None:
    with pytest.raises(UsernameInvalidError):
        _add(session, username, now)


@pytest.mark.parametrize("username", ["root", "jovyan", "hub", "system", "www-data"])
def test_the_systems_own_names_are_kept(session: Session, now: datetime, username: str) -> None:
    with pytest.raises(UsernameReservedError):
        _add(session, username, now)


@pytest.mark.parametrize("username", ["20240001", "min-seo", "min_seo2", "ab", "x" * 32])
def test_student_numbers_and_plain_names_are_fine(
    session: Session, now: datetime, username: str
) -> None:
    assert _add(session, username, now).username == username


def test_two_accounts_may_not_share_an_address(session: Session, now: datetime) -> None:
    _add(session, "minseo", now, email="Min@Example.org")
    with pytest.raises(EmailTakenError):
        _add(session, "jiwoo", now, email="min@example.ORG")


def test_only_administrators_make_accounts(session: Session, now: datetime) -> None:
    student = Actor(person_id=1, username="minseo")
    with pytest.raises(ForbiddenError):
        identity.add_person(session, "spy", "Spy", actor=student, now=now, uids=UIDS)
    person = make_person(session, "minseo")
    for act in (
        lambda: identity.disable(session, person, actor=student, now=now),
        lambda: identity.enable(person, actor=student),
        lambda: identity.set_admin(session, person, is_admin=True, actor=student),
        lambda: identity.reset_password(session, person, actor=student, now=now),
        lambda: identity.list_people(session, actor=student),
    ):
        with pytest.raises(ForbiddenError):
            act()


def test_a_generated_password_opens_the_account_and_is_stored_as_argon2id_alone(
    session: Session, now: datetime
) -> None:
    person, password = identity.add_person(
        session, "minseo", "김민서", actor=SYSTEM, now=now, uids=UIDS
    )
    assert identity.authenticate(session, "minseo", password) is person
    assert person.password_hash
    assert person.password_hash.startswith("$argon2id$")
    assert password not in person.password_hash
    assert person.must_change_password


def test_an_account_without_password_opens_to_none(session: Session) -> None:
    make_person(session, "nopass")
    for guess in ("", "None", "nopass"):
        with pytest.raises(WrongPasswordError):
            identity.authenticate(session, "nopass", guess)


def test_unknown_names_cost_as_much_as_known_ones(
    session: Session, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(session, "minseo", now)
    verified: list[str] = []
    real = passwords._verify

    def counting(password: str, stored: str) -> bool:
        verified.append(stored)
        return real(password, stored)

    monkeypatch.setattr(passwords, "_verify", counting)
    for name in ("minseo", "nobody-here", "not a name"):
        with pytest.raises(WrongPasswordError):
            identity.authenticate(session, name, "a wrong password")
    assert len(verified) == 3
    assert all(stored.startswith("$argon2id$") for stored in verified)


def test_an_old_hash_is_made_anew_when_the_password_was_right(
    session: Session, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argon2 import PasswordHasher

    person, password = identity.add_person(
        session, "minseo", "김민서", actor=SYSTEM, now=now, uids=UIDS
    )
    old = person.password_hash
    identity.refresh_hash(person, password)
    assert person.password_hash == old
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    monkeypatch.setattr(passwords, "HASHER", stronger)
    identity.refresh_hash(person, password)
    assert person.password_hash != old
    assert identity.authenticate(session, "minseo", password) is person


def test_disabling_tells_the_rooms_above_once(
    sessions: sessionmaker[Session], now: datetime
) -> None:
    heard: list[PersonDisabled] = []
    with sessions() as session:
        session.info["bus"].subscribe(PersonDisabled, lambda _session, event: heard.append(event))
        person = _add(session, "minseo", now)
        for _ in range(2):
            identity.disable(session, person, actor=SYSTEM, now=now)
        assert [event.username for event in heard] == ["minseo"]


def test_the_last_open_administrator_cannot_go(session: Session, now: datetime) -> None:
    only = _add(session, "only", now)
    identity.set_admin(session, only, is_admin=True, actor=SYSTEM)
    with pytest.raises(LastAdministratorError):
        identity.set_admin(session, only, is_admin=False, actor=SYSTEM)
    with pytest.raises(LastAdministratorError):
        identity.disable(session, only, actor=SYSTEM, now=now)


def test_an_unknown_person_is_said_by_name(session: Session) -> None:
    with pytest.raises(PersonNotFoundError, match="nobody-here"):
        identity.get_person(session, "nobody-here")


def test_people_added_at_the_same_moment_get_ids_of_their_own(
    sessions: sessionmaker[Session], now: datetime
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def add(number: int) -> int:
        with transaction(sessions) as session:
            return identity.add_person(
                session, f"person{number}", "P", actor=SYSTEM, now=now, uids=Uids()
            )[0].os_uid

    with ThreadPoolExecutor(4) as pool:
        uids = list(pool.map(add, range(8)))
    assert sorted(uids) == list(range(200000, 200008))


def test_groups_name_offering_and_role_and_administration() -> None:
    person = Person(is_admin=True)
    roles = [("ml-2026", "student"), ("py-2026", "instructor")]
    assert groups_of(person, roles) == [
        "administrators",
        "offering:ml-2026:student",
        "offering:py-2026:instructor",
    ]
    assert oauth.HUB_SCOPE == "openid profile"
