"""Use cases of identity: people's accounts and their sign-ins. OAuth stands in oauth.py."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NewType

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lms.foundation.events import publish
from lms.foundation.settings import Uids
from lms.identity import passwords, rules
from lms.identity.errors import (
    AccountDisabledError,
    EmailTakenError,
    LastAdministratorError,
    NoUidLeftError,
    PersonNotFoundError,
    TooManyAttemptsError,
    UsernameTakenError,
    WrongPasswordError,
)
from lms.identity.events import PersonDisabled
from lms.identity.models import AccountName, LoginAttempt, Person, SignIn
from lms.identity.scopes import Actor

#: The secret that a browser's session cookie carries; only its sha256 is stored.
SignInToken = NewType("SignInToken", str)

#: A sign-in's `last_seen_at` is written at most this often: reading a page should not cost a write.
TOUCH_EVERY = timedelta(minutes=5)

_UID_TRIES = 20


# --- accounts ---


def add_person(  # noqa: PLR0913 - what an account is made of
    session: Session,
    username: str,
    display_name: str,
    *,
    actor: Actor,
    now: datetime,
    uids: Uids,
    password: str | None = None,
    is_admin: bool = False,
    email: str | None = None,
) -> tuple[Person, str]:
    """Make an account; return it with its password, a generated one if none was given.

    Raises UsernameInvalidError, UsernameReservedError, UsernameTakenError, EmailTakenError,
    DisplayNameInvalidError, PasswordTooWeakError, NoUidLeftError.
    """
    actor.require("person:write")
    rules.check_username(username)
    name, mail = rules.check_display_name(display_name), rules.check_email(email)
    secret = passwords.generate_password() if password is None else password
    rules.check_password(secret, username)
    if mail is not None and session.scalar(select(Person.id).where(Person.email == mail)):
        raise EmailTakenError
    person = Person(
        username=username,
        display_name=name,
        email=mail,
        password_hash=passwords.hash_password(secret),
        is_admin=is_admin,
        os_uid=_take_name(session, username, now=now, uids=uids),
        created_at=now,
        must_change_password=password is None,
    )
    session.add(person)
    session.flush()
    return person, secret


def _take_name(session: Session, username: str, *, now: datetime, uids: Uids) -> int:
    """Enter the name and the next OS user id into the ledger; return the id."""
    for _ in range(_UID_TRIES):
        # Whoever adds people at the same moment waits here and then sees our row (PostgreSQL has
        # many writers); the unique columns catch what slips through, and we look again.
        newest = select(AccountName.os_uid).order_by(AccountName.os_uid.desc()).limit(1)
        session.scalar(newest.with_for_update())
        if session.get(AccountName, username) or find_person(session, username):
            raise UsernameTakenError(username)
        os_uid = next_uid(session, uids)
        try:
            with session.begin_nested():
                session.add(AccountName(username=username, os_uid=os_uid, given_at=now))
        except IntegrityError:
            continue
        return os_uid
    raise UsernameTakenError(username)


def next_uid(session: Session, uids: Uids) -> int:
    """Return the OS user id that the next account gets; raises NoUidLeftError."""
    given = session.scalar(select(func.max(AccountName.os_uid))) or 0
    held = session.scalar(select(func.max(Person.os_uid))) or 0
    os_uid = max(uids.learner_first, given + 1, held + 1)
    if os_uid >= uids.learner_end:
        raise NoUidLeftError(uids.learner_first, uids.learner_end)
    return os_uid


def find_person(session: Session, username: str) -> Person | None:
    """Return the person of that username."""
    return session.scalar(select(Person).where(Person.username == username))


def get_person(session: Session, username: str) -> Person:
    """Return the person of that username; raises PersonNotFoundError."""
    person = find_person(session, username)
    if person is None:
        raise PersonNotFoundError(username)
    return person


def list_people(
    session: Session, *, actor: Actor, query: str = "", limit: int = 50, offset: int = 0
) -> tuple[Sequence[Person], int]:
    """Return people whose username, name or e-mail contains `query`, and how many there are."""
    actor.require("person:write")
    wanted = select(Person)
    if text := query.replace("\0", "").strip().lower():
        wanted = wanted.where(
            or_(
                Person.username.contains(text, autoescape=True),
                func.lower(Person.display_name).contains(text, autoescape=True),
                Person.email.contains(text, autoescape=True),
            )
        )
    count = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    rows = session.scalars(wanted.order_by(Person.username).limit(limit).offset(offset))
    return rows.all(), count


def set_password(
    session: Session, person: Person, current: str, new: str, *, now: datetime
) -> None:
    """Change one's own password; every sign-in ends.

    Raises WrongPasswordError, PasswordTooWeakError.
    """
    if not passwords.password_fits(current, person.password_hash):
        raise WrongPasswordError
    rules.check_password(new, person.username)
    person.password_hash = passwords.hash_password(new)
    person.must_change_password = False
    end_sign_ins(session, person.id, now=now)


def reset_password(
    session: Session,
    person: Person,
    *,
    actor: Actor,
    now: datetime,
    password: str | None = None,
) -> str:
    """Give the person a new password and return it; sign-ins end, the rate limit is lifted."""
    actor.require("person:write")
    fresh = password or passwords.generate_password()
    rules.check_password(fresh, person.username)
    person.password_hash = passwords.hash_password(fresh)
    person.must_change_password = password is None
    end_sign_ins(session, person.id, now=now)
    _forget_attempts(session, person.username)
    return fresh


def disable(session: Session, person: Person, *, actor: Actor, now: datetime) -> None:
    """Close the account: sign-ins and tokens die at once, work is kept.

    Raises LastAdministratorError. Doing it twice changes nothing.
    """
    actor.require("person:write")
    if person.disabled_at is not None:
        return
    if person.is_admin:
        _require_other_admin(session, person)
    person.disabled_at = now
    end_sign_ins(session, person.id, now=now)
    publish(session, PersonDisabled(person_id=person.id, username=person.username))


def enable(person: Person, *, actor: Actor) -> None:
    """Open the account again."""
    actor.require("person:write")
    person.disabled_at = None


def set_admin(session: Session, person: Person, *, is_admin: bool, actor: Actor) -> None:
    """Make the person an administrator, or no longer one; raises LastAdministratorError."""
    actor.require("person:write")
    if person.is_admin and not is_admin and person.disabled_at is None:
        _require_other_admin(session, person)
    person.is_admin = is_admin


def _require_other_admin(session: Session, person: Person) -> None:
    # Locked, lest two administrators remove each other at the same moment.
    others = session.scalars(
        select(Person.id)
        .where(Person.is_admin.is_(True), Person.disabled_at.is_(None))
        .order_by(Person.id)
        .with_for_update()
    ).all()
    if set(others) <= {person.id}:
        raise LastAdministratorError


def set_locale(person: Person, locale: str) -> None:
    """Remember the language the person reads in; anything unknown is ignored."""
    if locale in {"ko", "en"}:
        person.locale = locale


# --- signing in ---


def open_attempt(session: Session, username: str, address: str, *, now: datetime) -> None:
    """Count an attempt to log in before the password is looked at; raises TooManyAttemptsError.

    Counted first, so that many guesses at the same moment cannot all slip under the limit;
    `start_sign_in` takes the count back when the password was right. Commit after this.
    """
    session.execute(delete(LoginAttempt).where(LoginAttempt.at <= now - 2 * rules.FAILURE_WINDOW))
    for limit in _limits(username, address):
        failed_at = session.scalars(select(LoginAttempt.at).where(LoginAttempt.key == limit.key))
        retry_at = rules.wait_until(failed_at.all(), limit.failures, now)
        if retry_at is not None:
            raise TooManyAttemptsError(retry_at, now)
    session.add_all(LoginAttempt(key=limit.key, at=now) for limit in _limits(username, address))


def authenticate(session: Session, username: str, password: str) -> Person:
    """Return whom the password belongs to; writes nothing, so hold no lock meanwhile.

    Raises WrongPasswordError, after the same work for a name that does not exist, or
    AccountDisabledError.
    """
    name = rules.typed_username(username)
    person = find_person(session, name) if name else None
    stored = person.password_hash if person else None
    if not passwords.password_fits(password, stored) or person is None:
        raise WrongPasswordError
    if person.disabled_at is not None:
        raise AccountDisabledError
    return person


def start_sign_in(
    session: Session, person: Person, *, now: datetime, hours: int, address: str | None = None
) -> SignInToken:
    """Begin a sign-in that ends after `hours` unused; return the token for the cookie.

    With an `address`, the attempt counted there is taken back and the name's wrong ones forgotten.
    """
    token = SignInToken(secrets.token_urlsafe(32))
    session.add(
        SignIn(
            token_hash=hash_token(token),
            person_id=person.id,
            created_at=now,
            last_seen_at=now,
            expires_at=now + timedelta(hours=hours),
        )
    )
    if address is not None:
        _forget_attempts(session, person.username)
        _take_back_attempt(session, rules.address_key(address))
    session.flush()
    return token


def find_sign_in(session: Session, token: str, *, now: datetime) -> tuple[SignIn, Person] | None:
    """Return the live sign-in of `token` with its person; None when it ended or is unknown."""
    row = session.execute(
        select(SignIn, Person)
        .join(Person, Person.id == SignIn.person_id)
        .where(
            SignIn.token_hash == hash_token(token),
            SignIn.ended_at.is_(None),
            SignIn.expires_at > now,
            Person.disabled_at.is_(None),
        )
    ).first()
    return None if row is None else (row[0], row[1])


def resolve_sign_in(session: Session, token: str, *, now: datetime) -> Person | None:
    """Return who is signed in with `token`."""
    found = find_sign_in(session, token, now=now)
    return None if found is None else found[1]


def owner_of(session: Session, token: str) -> int | None:
    """Return whose sign-in `token` is or was, even after its end."""
    return session.scalar(select(SignIn.person_id).where(SignIn.token_hash == hash_token(token)))


def is_touch_due(sign_in: SignIn, now: datetime) -> bool:
    """Say whether the sign-in's use should be noted again."""
    return now - sign_in.last_seen_at >= TOUCH_EVERY


def touch_sign_in(session: Session, sign_in_id: int, *, now: datetime, hours: int) -> None:
    """Note that the sign-in is in use, which moves its end."""
    session.execute(
        update(SignIn)
        .where(SignIn.id == sign_in_id, SignIn.ended_at.is_(None))
        .values(last_seen_at=now, expires_at=now + timedelta(hours=hours))
    )


def end_sign_in(session: Session, token: str, *, now: datetime) -> None:
    """End one sign-in and every OAuth grant made in it; an unknown token changes nothing."""
    session.execute(
        update(SignIn)
        .where(SignIn.token_hash == hash_token(token), SignIn.ended_at.is_(None))
        .values(ended_at=now)
    )


def end_sign_ins(session: Session, person_id: int, *, now: datetime) -> None:
    """End every sign-in of the person: sign out everywhere."""
    session.execute(
        update(SignIn)
        .where(SignIn.person_id == person_id, SignIn.ended_at.is_(None))
        .values(ended_at=now)
    )


def count_sign_ins(session: Session, person_id: int, *, now: datetime) -> int:
    """Return in how many browsers the person is signed in."""
    return (
        session.scalar(
            select(func.count(SignIn.id)).where(
                SignIn.person_id == person_id, SignIn.ended_at.is_(None), SignIn.expires_at > now
            )
        )
        or 0
    )


def refresh_hash(person: Person, password: str) -> None:
    """Hash a right password anew when the parameters have changed since."""
    if person.password_hash and passwords.needs_new_hash(person.password_hash):
        person.password_hash = passwords.hash_password(password)


def hash_token(token: str) -> str:
    """Return the sha256 under which a random token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def _limits(username: str, address: str) -> list[rules.Limit]:
    limits = [rules.Limit(rules.address_key(address), rules.ADDRESS_FAILURES)]
    if name := rules.typed_username(username):
        limits.append(rules.Limit(rules.name_key(name), rules.NAME_FAILURES))
    return limits


def _forget_attempts(session: Session, username: str) -> None:
    session.execute(delete(LoginAttempt).where(LoginAttempt.key == rules.name_key(username)))


def _take_back_attempt(session: Session, key: str) -> None:
    newest = select(func.max(LoginAttempt.id)).where(LoginAttempt.key == key).scalar_subquery()
    session.execute(delete(LoginAttempt).where(LoginAttempt.id == newest))
