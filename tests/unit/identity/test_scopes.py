"""The table of scopes: who may do what."""

import pytest

from lms.foundation.errors import ForbiddenError
from lms.identity.access import admin_only
from lms.identity.scopes import SCOPES, SYSTEM, Actor, Role

#: What each role may do in its offering, written out once more by hand.
MAY = {
    Role.STUDENT: {"course:read", "release:fetch", "submission:write", "compute:use"},
    Role.GRADER: {"course:read", "release:fetch", "submission:read", "roster:read", "compute:use"},
    Role.OBSERVER: {"course:read", "submission:read", "roster:read"},
    Role.INSTRUCTOR: {
        "course:read",
        "release:fetch",
        "release:write",
        "submission:write",
        "submission:read",
        "submission:regrade",
        "submission:decide",
        "roster:read",
        "roster:write",
        "compute:use",
        "compute:read",
        "compute:reserve",
    },
}


@pytest.mark.parametrize("role", list(Role))
def test_a_role_holds_exactly_its_scopes_and_only_in_its_offering(role: Role) -> None:
    actor = Actor(person_id=1, username="minseo", roles={7: role})
    assert {scope for scope in SCOPES if actor.may(scope, 7)} == MAY[role]
    assert not any(actor.may(scope, 8) for scope in SCOPES)
    assert not any(actor.may(scope) for scope in SCOPES)


def test_administrators_and_the_system_hold_every_scope() -> None:
    admin = Actor(person_id=1, username="admin", is_admin=True)
    for actor in (admin, SYSTEM):
        assert all(actor.may(scope) and actor.may(scope, 7) for scope in SCOPES)


def test_without_the_scope_a_service_refuses() -> None:
    actor = Actor(person_id=1, username="minseo", roles={7: Role.STUDENT})
    actor.require("course:read", 7)
    with pytest.raises(ForbiddenError):
        actor.require("roster:write", 7)


def test_an_unknown_scope_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        SYSTEM.may("everything")
    with pytest.raises(KeyError):
        admin_only("everything")
