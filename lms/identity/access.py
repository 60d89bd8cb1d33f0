"""What every view must declare about its visitors; pure marks, read by the web door's access.py.

The two doors `web` and `api` may not import each other, and both have views, so the marks live in
the room that knows who people are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from lms.identity.scopes import SCOPES

View = TypeVar("View", bound=Callable[..., Any])

#: Key of the sign-in token in the browser's session cookie.
SIGN_IN_KEY = "sign_in"

_MARK = "lms_access"


class Audience(StrEnum):
    """Who may call a view."""

    #: Anybody, signed in or not.
    PUBLIC = "public"
    #: Anybody who is signed in; what they may do is asked of the actor by the services.
    SIGNED_IN = "signed_in"
    #: Administrators.
    ADMIN = "admin"
    #: Programs, which show a token or a client's secret of their own; browser cookies count for
    #: nothing there, so neither CSRF token nor Origin is asked for.
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Access:
    """A view's declaration; `scope` is asked of the actor before the view runs."""

    audience: Audience
    scope: str | None = None


def declare(view: View, access: Access) -> View:
    """Mark `view` with its access and return it."""
    setattr(view, _MARK, access)
    return view


def declared_access(view: object) -> Access | None:
    """Return what `view` declares, or None when somebody forgot."""
    access = getattr(view, _MARK, None)
    return access if isinstance(access, Access) else None


def public(view: View) -> View:
    """Declare a view open to everybody."""
    return declare(view, Access(Audience.PUBLIC))


def signed_in(view: View) -> View:
    """Declare a view for people who are signed in."""
    return declare(view, Access(Audience.SIGNED_IN))


def machine(view: View) -> View:
    """Declare a view for programs: it checks a token itself and must not look at cookies."""
    return declare(view, Access(Audience.MACHINE))


def admin_only(scope: str) -> Callable[[View], View]:
    """Declare a view for administrators, who must hold `scope`."""
    if scope not in SCOPES:
        raise KeyError(scope)

    def mark(view: View) -> View:
        return declare(view, Access(Audience.ADMIN, scope))

    return mark
