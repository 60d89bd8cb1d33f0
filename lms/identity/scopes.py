"""Who may do what: one table of scopes by role, and the actor that every service asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lms.foundation.errors import ForbiddenError
from lms.protocol.sentences import sentence


class Role(StrEnum):
    """What a person is in one offering."""

    STUDENT = "student"
    GRADER = "grader"
    INSTRUCTOR = "instructor"
    OBSERVER = "observer"


#: Scope -> the roles in an offering that hold it. Administrators hold every scope everywhere.
#: docs/reference/scopes.md is checked against this table.
SCOPES: Mapping[str, frozenset[Role]] = {
    "course:read": frozenset(Role),
    "release:fetch": frozenset({Role.STUDENT, Role.GRADER, Role.INSTRUCTOR}),
    "release:write": frozenset({Role.INSTRUCTOR}),
    "submission:write": frozenset({Role.STUDENT, Role.INSTRUCTOR}),
    "submission:read": frozenset({Role.GRADER, Role.INSTRUCTOR, Role.OBSERVER}),
    "submission:regrade": frozenset({Role.INSTRUCTOR}),
    "submission:decide": frozenset({Role.INSTRUCTOR}),
    "roster:read": frozenset({Role.GRADER, Role.INSTRUCTOR, Role.OBSERVER}),
    "roster:write": frozenset({Role.INSTRUCTOR}),
    "compute:use": frozenset({Role.STUDENT, Role.GRADER, Role.INSTRUCTOR}),
    "compute:read": frozenset({Role.INSTRUCTOR}),
    "compute:reserve": frozenset({Role.INSTRUCTOR}),
    # Held by administrators alone.
    "compute:manage": frozenset(),
    "centre:manage": frozenset(),
    "person:write": frozenset(),
    "system:read": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, resolved once at the door; `roles` maps offering ids to active roles."""

    person_id: int
    username: str
    is_admin: bool = False
    roles: Mapping[int, Role] = field(default_factory=dict)

    def may(self, scope: str, offering_id: int | None = None) -> bool:
        """Say whether the actor holds `scope`, in the offering if one is named."""
        holders = SCOPES[scope]
        if self.is_admin:
            return True
        return offering_id is not None and self.roles.get(offering_id) in holders

    def require(self, scope: str, offering_id: int | None = None) -> None:
        """Raise ForbiddenError unless the actor holds `scope`."""
        if not self.may(scope, offering_id):
            raise ForbiddenError(
                sentence(
                    "Your account may not do this here. If you should be able to, "
                    "ask the course's instructor or an administrator."
                )
            )


#: Acts for the system itself: the command line on the server, imports, the worker.
SYSTEM = Actor(person_id=0, username="system", is_admin=True)
