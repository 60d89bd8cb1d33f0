"""Pure decisions about accounts: names, passwords, and when a log-in must wait."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address

from lms.identity.errors import (
    DisplayNameInvalidError,
    EmailInvalidError,
    PasswordTooWeakError,
    UsernameInvalidError,
    UsernameReservedError,
)

_USERNAME = re.compile(r"[a-z0-9][a-z0-9_-]{1,31}")
#: Names of operating-system accounts, of our own parts, and of things that are not people: a
#: person of that name would be taken for them in logs, in folders, or by the Hub. nbgrader trusts
#: whoever is called jovyan.
RESERVED_USERNAMES = frozenset(
    # One a line would be forty lines of nothing.
    """
    anonymous api bin broker central centre daemon everyone hub jovyan jupyter jupyterhub lms
    localhost mail me nobody nogroup none null oauth postgres proxy public root self seodang
    service sys system undefined web worker www-data
    """.split()  # noqa: SIM905
)

PASSWORD_LENGTH = range(8, 201)
#: So many different characters a password has at least, and so many beside the username.
_PASSWORD_VARIETY = 4
DISPLAY_NAME_LENGTH = range(1, 101)
_EMAIL_LENGTH = 254

#: Wrong passwords that one name, and one network address, may have within the window. A classroom
#: shares one address, so that limit is far wider.
NAME_FAILURES = 10
ADDRESS_FAILURES = 100
FAILURE_WINDOW = timedelta(minutes=15)

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+")


def check_username(text: str) -> str:
    """Return `text` if it can be a new username; raises UsernameInvalidError or -ReservedError."""
    if not _USERNAME.fullmatch(text):
        raise UsernameInvalidError(text)
    if text in RESERVED_USERNAMES:
        raise UsernameReservedError(text)
    return text


def typed_username(text: str) -> str | None:
    """Return the username somebody means by what they typed; None when no account can have it."""
    name = text.strip().lower()
    return name if _USERNAME.fullmatch(name) else None


def check_display_name(text: str) -> str:
    """Return the name in NFC without stray spaces; raises DisplayNameInvalidError."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    # Cc, Cf, Cs, Co, Cn: control and invisible characters can make one name look like another.
    if len(name) not in DISPLAY_NAME_LENGTH or any(unicodedata.category(c)[0] == "C" for c in name):
        raise DisplayNameInvalidError
    return name


def check_email(text: str | None) -> str | None:
    """Return the address in lower case, None for an empty one; raises EmailInvalidError."""
    if text is None or not text.strip():
        return None
    email = unicodedata.normalize("NFC", text.strip()).lower()
    if len(email) > _EMAIL_LENGTH or not _EMAIL.fullmatch(email):
        raise EmailInvalidError
    return email


def check_password(password: str, username: str) -> str:
    """Return `password` if it may be used; raises PasswordTooWeakError with the reason.

    Length is what counts (NIST SP 800-63B); rules about digits and signs make people choose worse.
    """
    if len(password) not in PASSWORD_LENGTH:
        raise PasswordTooWeakError.length(PASSWORD_LENGTH.start, PASSWORD_LENGTH.stop - 1)
    if username in password.lower() and len(password) - len(username) < _PASSWORD_VARIETY:
        raise PasswordTooWeakError.like_username()
    if len(set(password)) < _PASSWORD_VARIETY:
        raise PasswordTooWeakError.repeated()
    return password


def name_key(username: str) -> str:
    """Return the rate limit's key of a name."""
    return f"name:{username}"


def address_key(address: str) -> str:
    """Return the rate limit's key of a network address; IPv6 homes own a whole /64."""
    try:
        parsed = ip_address(address.split("%", 1)[0])
    except ValueError:
        return "from:unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return f"from:{parsed.ipv4_mapped}"
        return f"from:{IPv6Address(int(parsed) >> 64 << 64)}/64"
    return f"from:{parsed}"


@dataclass(frozen=True, slots=True)
class Limit:
    """How many failures a key may have within the window."""

    key: str
    failures: int


def wait_until(failed_at: Sequence[datetime], limit: int, now: datetime) -> datetime | None:
    """Return when the next attempt may be made, None for at once."""
    recent = sorted(at for at in failed_at if at > now - FAILURE_WINDOW)
    if len(recent) < limit:
        return None
    return recent[-limit] + FAILURE_WINDOW
