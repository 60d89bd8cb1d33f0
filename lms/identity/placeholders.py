"""People who are known from elsewhere and cannot sign in, many at a time."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lms.foundation.settings import Uids
from lms.identity.errors import (
    DisplayNameInvalidError,
    NoUidLeftError,
    UsernameInvalidError,
    UsernameTakenError,
)
from lms.identity.models import AccountName, Person
from lms.identity.rules import check_display_name, check_username
from lms.identity.service import next_uid

_TRIES = 20
_CHUNK = 500
#: What a name that cannot be had begins with instead.
_OTHER = "placeholder-"


def add_placeholders(
    session: Session, wanted: Sequence[tuple[str, str]], *, now: datetime, uids: Uids
) -> list[int]:
    """Add people by the username and name that are wanted, and return their ids in that order.

    No password of theirs is ever right. The names come from a machine that may lie: one that is
    taken or cannot be is replaced, so that it keeps nobody else from being added.
    """
    for _ in range(_TRIES):
        # As for single accounts: whoever adds people at the same moment waits here (PostgreSQL).
        newest = select(AccountName.os_uid).order_by(AccountName.os_uid.desc()).limit(1)
        session.scalar(newest.with_for_update())
        names = _usernames(session, [username for username, _name in wanted])
        first = next_uid(session, uids)
        if first + len(names) > uids.learner_end:
            raise NoUidLeftError(uids.learner_first, uids.learner_end)
        given = [
            {"username": name, "os_uid": first + place, "given_at": now}
            for place, name in enumerate(names)
        ]
        try:
            with session.begin_nested():
                session.execute(insert(AccountName), given)
        except IntegrityError:
            continue
        people = [
            {
                "username": name,
                "display_name": _display(display, name),
                "os_uid": first + place,
                "created_at": now,
            }
            for place, (name, (_wanted, display)) in enumerate(zip(names, wanted, strict=True))
        ]
        made = insert(Person).returning(Person.id, sort_by_parameter_order=True)
        return list(session.scalars(made, people))
    raise UsernameTakenError(wanted[0][0])


def _usernames(session: Session, wanted: list[str]) -> list[str]:
    taken: set[str] = set()
    for at in range(0, len(wanted), _CHUNK):
        some = wanted[at : at + _CHUNK]
        for column in (AccountName.username, Person.username):
            taken |= set(session.scalars(select(column).where(column.in_(some))))
    names = []
    for name in wanted:
        good = name if name not in taken and _can_be(name) else f"{_OTHER}{secrets.token_hex(8)}"
        taken.add(good)
        names.append(good)
    return names


def _can_be(username: str) -> bool:
    try:
        check_username(username)
    except UsernameInvalidError:
        return False
    return True


def _display(wanted: str, username: str) -> str:
    try:
        return check_display_name(wanted)
    except DisplayNameInvalidError:
        return username
