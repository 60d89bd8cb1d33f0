"""Enrolments of a centre become places at central; what a person has here, no centre takes away."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.centre.batch import Row, chunks
from lms.centre.models import CentrePerson
from lms.centre.outcome import Refused
from lms.centre.rules import from_millis
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.identity.scopes import Role
from lms.protocol.sentences import sentence


@dataclass(slots=True)
class Places:
    """Turns enrolments of one centre into places of its people."""

    session: Session
    people: Mapping[str, CentrePerson]
    _offerings: dict[str, int | None] = field(default_factory=dict)
    #: By person and offering.
    _known: dict[tuple[int, int], Enrolment] = field(default_factory=dict)

    def load(self, people: Iterable[int]) -> None:
        """Read the places that these people have."""
        for ids in chunks(people):
            found = self.session.scalars(select(Enrolment).where(Enrolment.person_id.in_(ids)))
            self._known |= {(one.person_id, one.offering_id): one for one in found}

    def enrolment(self, row: Row, details: dict[str, Any], person_id: int) -> None:
        """Give the person a place, or end the one that the centre gave."""
        state = EnrolmentState(details["state"])
        at = from_millis(row.facts["at"])
        if details["role"] != Role.STUDENT:
            # Who teaches at a centre is the centre's business; central gives its own rights.
            return
        offering = self._offering(details["offering"])
        known = self._known.get((person_id, offering))
        if known is None:
            known = Enrolment(
                person_id=person_id, offering_id=offering, role=Role.STUDENT, requested_at=at
            )
            self.session.add(known)
            self._known[person_id, offering] = known
        elif known.role != Role.STUDENT or (
            self.people[row.person].linked_at is not None and state != EnrolmentState.ACTIVE
        ):
            # Withdrawing at a centre does not end what the person has at central.
            return
        known.state, known.decided_at = state, at

    def _offering(self, key: str) -> int:
        if key not in self._offerings:
            self._offerings[key] = self.session.scalar(
                select(Offering.id).where(Offering.key == key)
            )
        found = self._offerings[key]
        if found is None:
            raise Refused(
                sentence("Central has no such course offering; offer it, then apply again.")
            )
        return found
