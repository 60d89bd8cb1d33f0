"""What a centre's records become at central: each once, in order, or refused with its reason.

What a record does and that it was done are one transaction, so that a kill between two of them
leaves nothing half.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select, tuple_, update
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.models import Offering
from lms.centre.batch import Batch
from lms.centre.handing import Handing
from lms.centre.models import Centre, CentreCheckpoint, CentreOrder, CentrePerson, CentreRecord
from lms.centre.outcome import Refused, Waits
from lms.centre.people import person_of
from lms.centre.results import Results
from lms.centre.rules import Kind, RecordState, commitment, from_millis
from lms.centre.trust import sample
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.settings import Uids
from lms.identity.scopes import Role
from lms.protocol.sentences import sentence

#: Records in one transaction.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What applying needs of the system."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    uids: Uids
    #: Turns a checkpoint's signature into what nobody else could know: the sample's seed.
    seed: Callable[[str], str]
    #: After so many seconds what is left is put off: a request must not last for ever.
    seconds: float = math.inf


def apply_all(place: Place, centre: str, *, now: datetime) -> Counter[RecordState]:
    """Do what the centre's kept records say; returns how many came to which state."""
    done: Counter[RecordState] = Counter()
    after, end, careful = (0, 0), time.monotonic() + place.seconds, 0
    while time.monotonic() < end:
        try:
            step = _step(place, centre, after, 1 if careful else _BATCH, now=now)
        except _UNFIT:
            # The database takes one of them not at all: find it, and let it stop no other.
            if careful:
                step = _refuse_next(place, centre, after)
            else:
                careful = _BATCH
                continue
        if step is None:
            return done
        after, states = step
        done.update(states)
        careful = max(0, careful - 1)
    return done


#: What a database says of values that it cannot hold; losing the database is something else.
_UNFIT = (DataError, IntegrityError, InterfaceError, ProgrammingError, OverflowError)
_Step = tuple[tuple[int, int], Counter[RecordState]]


def _step(
    place: Place, centre: str, after: tuple[int, int], count: int, *, now: datetime
) -> _Step | None:
    """Apply the next records in one transaction; None when there are none."""
    with transaction(place.sessions) as session:
        owner = session.get_one(Centre, centre, with_for_update=True)
        rows = session.scalars(_open(centre, after).limit(count)).all()
        if not rows:
            return None
        states = _Applier(session, place, owner, now).apply(rows)
        return (rows[-1].epoch, rows[-1].seq), states


def _refuse_next(place: Place, centre: str, after: tuple[int, int]) -> _Step | None:
    with transaction(place.sessions) as session:
        row = session.scalars(_open(centre, after).limit(1)).first()
        if row is None:
            return None
        row.state, row.reason = RecordState.REFUSED, _FORM.to_json()
        return (row.epoch, row.seq), Counter([RecordState.REFUSED])


def _open(centre: str, after: tuple[int, int]) -> Select[CentreRecord]:
    return (
        select(CentreRecord)
        .where(
            CentreRecord.centre == centre,
            CentreRecord.state.in_([RecordState.NEW, RecordState.WAITING]),
            tuple_(CentreRecord.epoch, CentreRecord.seq) > after,
        )
        .order_by(CentreRecord.epoch, CentreRecord.seq)
    )


_FORM = sentence("The record does not have the form that its kind has.")


def retry_refused(session: Session, centre: str) -> int:
    """Let what was refused be looked at again; returns how many records."""
    again = session.scalars(
        update(CentreRecord)
        .where(CentreRecord.centre == centre, CentreRecord.state == RecordState.REFUSED)
        .values(state=RecordState.NEW, reason=None)
        .returning(CentreRecord.id)
        .execution_options(synchronize_session=False)
    ).all()
    return len(again)


@dataclass(slots=True)
class _Applier:
    session: Session
    place: Place
    centre: Centre
    now: datetime
    _people: dict[str, CentrePerson] = field(default_factory=dict)

    def apply(self, rows: Sequence[CentreRecord]) -> Counter[RecordState]:
        batch = Batch(self.session, self.centre.id, rows)
        handing = Handing(self.session, self.place.blobs, self.centre, batch, self.now)
        results = Results(self.session, self.place.blobs, self.centre, batch, self.now)
        acts: dict[str, Callable[[CentreRecord, dict[str, Any], int], None]] = {
            Kind.ENROLMENT: self._enrolment,
            Kind.SUBMISSION: handing.submission,
            Kind.RESULT: results.result,
            Kind.GRADE: results.grade,
        }
        self._load_people(rows)
        first = self._first_rows(rows)
        # Whatever asks for what was just made flushes by itself: once a batch is far cheaper.
        with self.session.no_autoflush:
            for row in rows:
                self._settle(row, acts, first)
        self.session.flush()
        results.store_cells()
        self._sample(results)
        return Counter(RecordState(row.state) for row in rows)

    def _settle(
        self,
        row: CentreRecord,
        acts: dict[str, Callable[[CentreRecord, dict[str, Any], int], None]],
        first: dict[str, int],
    ) -> None:
        try:
            row.state = self._one(row, acts, first)
        except Waits:
            row.state = RecordState.WAITING
        except Refused as refused:
            row.state, row.reason = RecordState.REFUSED, refused.why.to_json()
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError):
            # The centre signed it, and still it is not what such a record looks like.
            row.state, row.reason = RecordState.REFUSED, _FORM.to_json()

    def _one(
        self,
        row: CentreRecord,
        acts: dict[str, Callable[[CentreRecord, dict[str, Any], int], None]],
        first: dict[str, int],
    ) -> RecordState:
        if first.get(row.record, row.id) != row.id:
            return self._again(row, first[row.record])
        if row.kind == Kind.ERASURE:
            self._erased(row)
            return RecordState.APPLIED
        person = self._people.get(row.person)
        if person is not None and person.erased_at is not None:
            return RecordState.ERASED
        if person is None or person.salt is None or row.details is None:
            raise Refused(sentence("The record came without its details."))
        facts = json.loads(row.body)
        if commitment(person.salt, facts["at"], row.kind, row.details) != facts["commit"]:
            raise Refused(sentence("The record's details are not those that were signed."))
        if row.kind not in acts:
            raise Refused(sentence("Central does not know this kind of record; update it."))
        who = person_of(self.session, person, now=self.now, uids=self.place.uids)
        acts[row.kind](row, json.loads(row.details), who)
        return RecordState.APPLIED

    def _again(self, row: CentreRecord, first: int) -> RecordState:
        """Take a record that another epoch brought before: it changes nothing."""
        known = self.session.get_one(CentreRecord, first)
        if json.loads(known.body)["commit"] != json.loads(row.body)["commit"]:
            raise Refused(sentence("Another record came under the same name before."))
        row.submission_id, row.run_id = known.submission_id, known.run_id
        return RecordState.KNOWN

    def _enrolment(self, row: CentreRecord, details: dict[str, Any], person_id: int) -> None:
        state = EnrolmentState(details["state"])
        at = from_millis(json.loads(row.body)["at"])
        if details["role"] != Role.STUDENT:
            # Who teaches at a centre is the centre's business; central gives its own rights.
            return
        offering = self.session.scalar(select(Offering).where(Offering.key == details["offering"]))
        if offering is None:
            raise Refused(_NO_OFFERING)
        known = self.session.scalar(
            select(Enrolment).where(
                Enrolment.person_id == person_id, Enrolment.offering_id == offering.id
            )
        )
        linked = self._people[row.person].linked_at is not None
        if known is None:
            known = Enrolment(
                person_id=person_id, offering_id=offering.id, role=Role.STUDENT, requested_at=at
            )
            self.session.add(known)
        elif known.role != Role.STUDENT or (linked and state != EnrolmentState.ACTIVE):
            # Withdrawing at a centre does not end what the person has at central.
            return
        known.state, known.decided_at = state, at
        self.session.flush()

    def _erased(self, row: CentreRecord) -> None:
        orders = self.session.scalars(
            select(CentreOrder).where(
                CentreOrder.centre == row.centre,
                CentreOrder.person == row.person,
                CentreOrder.done_at.is_(None),
            )
        )
        for order in orders:
            order.done_at = self.now

    def _load_people(self, rows: Sequence[CentreRecord]) -> None:
        found = self.session.scalars(
            select(CentrePerson).where(
                CentrePerson.centre == self.centre.id,
                CentrePerson.name.in_({row.person for row in rows}),
            )
        )
        self._people = {person.name: person for person in found}

    def _first_rows(self, rows: Sequence[CentreRecord]) -> dict[str, int]:
        """Return the first row of each record's name that was not refused."""
        found = self.session.execute(
            select(CentreRecord.record, func.min(CentreRecord.id))
            .where(
                CentreRecord.centre == self.centre.id,
                CentreRecord.record.in_([row.record for row in rows]),
                CentreRecord.state != RecordState.REFUSED,
            )
            .group_by(CentreRecord.record)
        )
        return {name: first for name, first in found}  # noqa: C416 - rows are no pairs for mypy

    def _sample(self, results: Results) -> None:
        by_checkpoint: dict[int, str] = {}
        for result in results.made:
            number = result.checkpoint_id
            if number not in by_checkpoint:
                document = self.session.get_one(CentreCheckpoint, number).document
                by_checkpoint[number] = self.place.seed(json.loads(document)["signature"]["value"])
            sample(
                self.session, result, by_checkpoint[number], self.centre.audit_rate, now=self.now
            )


_NO_OFFERING = sentence("Central has no such course offering; offer it, then apply again.")
