"""A batch of records: what it needs of the database is read at once, what it makes written at once.

Records name others of the same batch, so what they make has no number yet while they are looked at:
an Attempt gets its own when the submissions of the batch are stored.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, bindparam, func, insert, inspect, select, update
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment
from lms.centre.models import CentreOrigin, CentreRecord
from lms.exchange.models import Submission
from lms.foundation.db import Base
from lms.grading.models import Run

#: What is read of a record, and what it can become.
_READ = ("id", "epoch", "seq", "record", "reference", "kind", "person", "body", "details",
         "checkpoint_id", "received_at", "state", "reason", "submission_id", "run_id")  # fmt: skip
_MADE = ("state", "submission_id", "run_id")
#: Values in one IN (…).
_CHUNK = 500


@dataclass(slots=True, eq=False, kw_only=True)
class Row:
    """A record as central keeps it; without the cost of an object that the session watches."""

    id: int
    epoch: int
    seq: int
    record: str
    reference: str
    kind: str
    person: str
    body: str
    details: str | None
    checkpoint_id: int
    received_at: datetime
    state: str
    reason: dict[str, Any] | None
    submission_id: int | None
    run_id: int | None

    @property
    def facts(self) -> dict[str, Any]:
        """What its body says."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def select_rows(centre: str) -> Select[Any]:
    """Select a centre's records as read_rows takes them."""
    columns = [getattr(CentreRecord, name) for name in _READ]
    return select(*columns).where(CentreRecord.centre == centre)


def read_rows(session: Session, which: Select[Any]) -> list[Row]:
    """Return the records that are selected."""
    return [Row(**row) for row in session.execute(which).mappings()]


def store_rows(session: Session, rows: Iterable[Row]) -> None:
    """Write down what became of records."""
    table = table_of(CentreRecord)
    plain, refused = [], []
    for row in rows:
        values = {"key": row.id} | {f"new_{name}": getattr(row, name) for name in _MADE}
        if row.reason is None:
            plain.append(values)
        else:
            refused.append(values | {"new_reason": row.reason})
    change = update(table).where(table.c.id == bindparam("key"))
    made: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _MADE}
    if plain:
        session.connection().execute(change.values(made), plain)
    if refused:
        why = {"reason": bindparam("new_reason", type_=table.c.reason.type)}
        session.connection().execute(change.values(made | why), refused)


def table_of(table: type[Base]) -> Table:
    """Return a class's table."""
    rows = inspect(table).local_table
    if not isinstance(rows, Table):
        raise TypeError(f"{table.__name__} is no table")
    return rows


def insert_rows(
    session: Session, table: type[Base], values: Sequence[dict[str, Any]]
) -> Sequence[int]:
    """Insert rows and return their ids, in the order of the values."""
    if not values:
        return []
    rows = table_of(table)
    made = insert(rows).returning(rows.c.id, sort_by_parameter_order=True)
    return session.connection().execute(made, values).scalars().all()


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield distinct values in lists that fit into one statement."""
    wanted = list(dict.fromkeys(values))
    for at in range(0, len(wanted), _CHUNK):
        yield wanted[at : at + _CHUNK]


@dataclass(slots=True, eq=False, kw_only=True)
class Attempt:
    """A submission as far as other records ask; `id` is 0 until it is stored."""

    id: int
    task_id: int
    offering_id: int
    person_id: int
    release_id: int
    number: int
    digest: str
    submitted_at: datetime
    #: The centre where it was handed in; None at central.
    centre: str | None


@dataclass(slots=True)
class Batch:
    """The records of one transaction, those they refer to, and the attempts of their people."""

    session: Session
    centre: str
    rows: Sequence[Row]
    _records: dict[tuple[str, str], Row | None] = field(default_factory=dict)
    _attempts: dict[int, Attempt] = field(default_factory=dict)
    _by_person: dict[tuple[int, int], list[Attempt]] = field(default_factory=dict)
    _runs: dict[int, int] = field(default_factory=dict)
    #: Attempts that are not stored yet, with their values.
    _fresh: list[tuple[Attempt, dict[str, Any]]] = field(default_factory=list)
    #: Records and what they became.
    _became: list[tuple[Row, Attempt]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for row in self.rows:
            self._records.setdefault((row.reference, row.person), row)

    def load_records(self, names: Iterable[tuple[str, str]]) -> None:
        """Read the records that are named by reference and person, those of this batch aside."""
        wanted = {name for name in names if name not in self._records}
        self._records |= dict.fromkeys(wanted)
        for references in chunks(name for name, _person in wanted):
            which = select_rows(self.centre).where(CentreRecord.reference.in_(references))
            for row in read_rows(self.session, which.order_by(CentreRecord.id.desc())):
                if (row.reference, row.person) in wanted:
                    self._records[row.reference, row.person] = row

    def record(self, reference: str, person: str) -> Row | None:
        """Return the first record of that reference about that person, if it was loaded."""
        return self._records.get((reference, person))

    def load_attempts(self, people: Iterable[int]) -> None:
        """Read every attempt of these people."""
        for ids in chunks(people):
            for attempt in self._load(Submission.person_id.in_(ids)):
                self._add(attempt)

    def attempts(self, task_id: int, person_id: int) -> list[Attempt]:
        """Return the person's attempts at a task, the first first, if they were loaded."""
        return self._by_person.get((task_id, person_id), [])

    def attempt(self, submission_id: int) -> Attempt:
        """Return a submission that is known to exist."""
        if submission_id not in self._attempts:
            (self._attempts[submission_id],) = self._load(Submission.id == submission_id)
        return self._attempts[submission_id]

    def add_attempt(self, task: OfferedAssignment, values: dict[str, Any]) -> Attempt:
        """Make a submission, with its number but without an id until `store_attempts`."""
        known = self.attempts(task.id, values["person_id"])
        number = max((one.number for one in known), default=0) + 1
        attempt = Attempt(
            id=0,
            task_id=task.id,
            offering_id=task.offering_id,
            person_id=values["person_id"],
            release_id=values["release_id"],
            number=number,
            digest=values["digest"],
            submitted_at=values["submitted_at"],
            centre=self.centre,
        )
        self._fresh.append((attempt, values | {"attempt": number}))
        self._by_person.setdefault((task.id, attempt.person_id), []).append(attempt)
        return attempt

    def became(self, row: Row, attempt: Attempt) -> None:
        """Note which attempt a record became or is."""
        self._became.append((row, attempt))

    def store_attempts(self) -> None:
        """Write the new attempts, and give their ids to them and to their records."""
        made = insert_rows(self.session, Submission, [values for _one, values in self._fresh])
        for (attempt, _values), number in zip(self._fresh, made, strict=True):
            attempt.id = number
            self._attempts[number], self._runs[number] = attempt, 0
        for row, attempt in self._became:
            row.submission_id = attempt.id
        self._fresh, self._became = [], []

    def load_runs(self, submissions: Iterable[int]) -> None:
        """Read how many runs submissions have, those of this batch aside."""
        for ids in chunks(one for one in submissions if one not in self._runs):
            self._runs |= dict.fromkeys(ids, 0)
            found = self.session.execute(
                select(Run.submission_id, func.max(Run.number))
                .where(Run.submission_id.in_(ids))
                .group_by(Run.submission_id)
            )
            self._runs |= {submission: last for submission, last in found}  # noqa: C416

    def next_run(self, submission_id: int) -> int:
        """Return the number that the next run of a submission gets; its runs were loaded."""
        self._runs[submission_id] += 1
        return self._runs[submission_id]

    def _add(self, attempt: Attempt) -> None:
        self._attempts[attempt.id] = attempt
        self._by_person.setdefault((attempt.task_id, attempt.person_id), []).append(attempt)

    def _load(self, which: Any) -> list[Attempt]:  # noqa: ANN401 - a clause
        rows = self.session.execute(
            select(
                Submission.id,
                Submission.task_id,
                OfferedAssignment.offering_id,
                Submission.person_id,
                Submission.release_id,
                Submission.attempt.label("number"),
                Submission.digest,
                Submission.submitted_at,
                CentreOrigin.centre,
            )
            .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
            .outerjoin(CentreOrigin, CentreOrigin.submission_id == Submission.id)
            .where(which)
            .order_by(Submission.attempt)
        )
        return [Attempt(**row) for row in rows.mappings()]
