"""What a centre's records become at central: each once, in order, or refused with its reason.

What records do and that it was done are one transaction, so that a kill leaves nothing half. Many
are done at once; where the database takes one of them not at all, halving finds it, and its
neighbours become what they are.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.exc import DataError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from lms.centre.batch import Batch, Row, chunks, read_rows, select_rows, store_rows
from lms.centre.handing import Handing
from lms.centre.models import Centre, CentreCheckpoint, CentreOrder, CentrePerson, CentreRecord
from lms.centre.outcome import Refused, Waits
from lms.centre.people import place_people
from lms.centre.places import Places
from lms.centre.results import Results
from lms.centre.rules import CentreState, Kind, RecordState, commitment
from lms.centre.trust import sample
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.foundation.settings import Uids
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
    after, end = (0, 0), time.monotonic() + place.seconds
    while time.monotonic() < end:
        with transaction(place.sessions) as session:
            owner = session.get_one(Centre, centre, with_for_update=True)
            rows = _next(session, centre, after)
            if not rows:
                break
            done.update(_apply(session, place, owner, rows, now=now))
        after = rows[-1].epoch, rows[-1].seq
    return done


#: What a database says of values that it cannot hold; losing the database is something else.
_UNFIT = (DataError, IntegrityError, InterfaceError, ProgrammingError, OverflowError)


def _apply(
    session: Session, place: Place, owner: Centre, rows: list[Row], *, now: datetime
) -> Counter[RecordState]:
    """Apply records; those that the database does not take at all are found and refused."""
    try:
        with session.begin_nested():
            return _Applier(session, place, owner, now).apply([copy(row) for row in rows])
    except _UNFIT:
        if len(rows) > 1:
            half = len(rows) // 2
            first = _apply(session, place, owner, rows[:half], now=now)
            return first + _apply(session, place, owner, rows[half:], now=now)
        rows[0].state, rows[0].reason = RecordState.REFUSED, _FORM.to_json()
        store_rows(session, rows)
        return Counter([RecordState.REFUSED])


def _next(session: Session, centre: str, after: tuple[int, int]) -> list[Row]:
    wanted = (
        select_rows(centre)
        .where(
            CentreRecord.state.in_([RecordState.NEW, RecordState.WAITING]),
            tuple_(CentreRecord.epoch, CentreRecord.seq) > after,
        )
        .order_by(CentreRecord.epoch, CentreRecord.seq)
    )
    return read_rows(session, wanted.limit(_BATCH))


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


#: A record that holds, its details, and who it tells of.
_Sound = tuple[Row, dict[str, Any], CentrePerson]
_Act = Callable[[Row, dict[str, Any], int], None]


@dataclass(slots=True)
class _Applier:
    session: Session
    place: Place
    centre: Centre
    now: datetime
    _people: dict[str, CentrePerson] = field(default_factory=dict)
    #: Records that hold, by kind.
    _sound: dict[str, list[_Sound]] = field(default_factory=dict)
    #: Records that came before, with the row of the first.
    _again: list[tuple[Row, int]] = field(default_factory=list)

    def apply(self, rows: Sequence[Row]) -> Counter[RecordState]:
        """Apply kind by kind: none names a later kind, so each finds what it names stored."""
        batch = Batch(self.session, self.centre.id, rows)
        before = [(row.state, row.submission_id, row.run_id) for row in rows]
        # Whatever asks for what was just made flushes by itself: once a batch is far cheaper.
        with self.session.no_autoflush:
            self._look(rows)
            sound = [person for some in self._sound.values() for _row, _details, person in some]
            place_people(self.session, sound, now=self.now, uids=self.place.uids)
            self._enrol()
            self._hand_in(batch)
            self._grade(batch)
            for row, first in self._again:
                self._try(row, partial(self._known, row, first, rows))
        self.session.flush()
        changed = (
            row for row, was in zip(rows, before, strict=True)
            if (row.state, row.submission_id, row.run_id) != was
        )  # fmt: skip
        store_rows(self.session, changed)
        return Counter(RecordState(row.state) for row in rows)

    def _look(self, rows: Sequence[Row]) -> None:
        """Check what can be checked of each by itself."""
        for names in chunks(row.person for row in rows):
            found = self.session.scalars(
                select(CentrePerson).where(
                    CentrePerson.centre == self.centre.id, CentrePerson.name.in_(names)
                )
            )
            self._people |= {person.name: person for person in found}
        first = self._first_rows(rows)
        for row in rows:
            if first.get(row.record, row.id) != row.id:
                self._again.append((row, first[row.record]))
            else:
                self._try(row, partial(self._check, row))

    def _check(self, row: Row) -> RecordState:
        if row.kind == Kind.ERASURE:
            self._erased(row)
            return RecordState.APPLIED
        person = self._people.get(row.person)
        if person is not None and person.erased_at is not None:
            return RecordState.ERASED
        if person is None or person.salt is None or row.details is None:
            raise Refused(sentence("The record came without its details."))
        facts = row.facts
        if commitment(person.salt, facts["at"], row.kind, row.details) != facts["commit"]:
            raise Refused(sentence("The record's details are not those that were signed."))
        if row.kind not in _KINDS:
            raise Refused(sentence("Central does not know this kind of record; update it."))
        details = json.loads(row.details)
        if not isinstance(details, dict):
            raise TypeError("no object")
        self._sound.setdefault(row.kind, []).append((row, details, person))
        # Not done yet, and not open either: what is not settled by its kind would show.
        return RecordState(row.state)

    @staticmethod
    def _try(row: Row, act: Callable[[], RecordState]) -> None:
        try:
            row.state = act()
        except Waits:
            row.state = RecordState.WAITING
        except Refused as refused:
            row.state, row.reason = RecordState.REFUSED, refused.why.to_json()
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError, InvalidError,
                RecursionError):  # fmt: skip
            # The centre signed it, and still it is not what such a record looks like.
            row.state, row.reason = RecordState.REFUSED, _FORM.to_json()

    def _all(self, kind: Kind, act: _Act) -> None:
        for row, details, person in self._sound.get(kind, ()):
            self._try(row, partial(self._do, act, row, details, person.person_id or 0))

    @staticmethod
    def _do(act: _Act, row: Row, details: dict[str, Any], person_id: int) -> RecordState:
        act(row, details, person_id)
        return RecordState.APPLIED

    def _enrol(self) -> None:
        found = self._sound.get(Kind.ENROLMENT, ())
        places = Places(self.session, self._people)
        places.load(person.person_id or 0 for _row, _details, person in found)
        self._all(Kind.ENROLMENT, places.enrolment)
        self.session.flush()

    def _hand_in(self, batch: Batch) -> None:
        found = self._sound.get(Kind.SUBMISSION, ())
        batch.load_attempts(person.person_id or 0 for _row, _details, person in found)
        handing = Handing(self.session, self.place.blobs, self.centre, batch, self.now)
        self._all(Kind.SUBMISSION, handing.submission)
        handing.store()

    def _grade(self, batch: Batch) -> None:
        named = [
            (str(details["of"]), row.person)
            for kind in (Kind.RESULT, Kind.GRADE)
            for row, details, _person in self._sound.get(kind, ())
            if "of" in details
        ]
        batch.load_records(named)
        referred = [batch.record(*name) for name in named]
        batch.load_runs(row.submission_id for row in referred if row and row.submission_id)
        results = Results(self.session, self.place.blobs, self.centre, batch, self.now)
        self._all(Kind.RESULT, results.result)
        results.store()
        self._all(Kind.GRADE, results.grade)
        self._sample(results.made)

    def _known(self, row: Row, first: int, rows: Iterable[Row]) -> RecordState:
        """Take a record that another epoch brought before: it changes nothing."""
        known = next((one for one in rows if one.id == first), None)
        if known is None:
            which = select_rows(self.centre.id).where(CentreRecord.id == first)
            (known,) = read_rows(self.session, which)
        if known.facts["commit"] != row.facts["commit"]:
            raise Refused(sentence("Another record came under the same name before."))
        row.submission_id, row.run_id = known.submission_id, known.run_id
        return RecordState.KNOWN

    def _erased(self, row: Row) -> None:
        orders = self.session.scalars(
            select(CentreOrder).where(
                CentreOrder.centre == self.centre.id,
                CentreOrder.person == row.person,
                CentreOrder.done_at.is_(None),
            )
        )
        for order in orders:
            order.done_at = self.now

    def _first_rows(self, rows: Sequence[Row]) -> dict[str, int]:
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

    def _sample(self, made: Iterable[Row]) -> None:
        # Nothing of a revoked centre is believed by a sample.
        rate = 1.0 if self.centre.state == CentreState.REVOKED else self.centre.audit_rate
        by_checkpoint: dict[int, list[Row]] = {}
        for row in made:
            by_checkpoint.setdefault(row.checkpoint_id, []).append(row)
        for number, rows in by_checkpoint.items():
            document = self.session.get_one(CentreCheckpoint, number).document
            seed = self.place.seed(json.loads(document)["signature"]["value"])
            drawn = {row.run_id or 0: row.record for row in rows}
            sample(self.session, drawn, seed, rate, now=self.now)


_KINDS = frozenset({Kind.ENROLMENT, Kind.SUBMISSION, Kind.RESULT, Kind.GRADE})
