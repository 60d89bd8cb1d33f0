"""What a batch of records needs of the database, read at once and kept up while it is applied."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table, func, inspect, select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment
from lms.centre.models import CentreOrigin, CentreRecord
from lms.exchange.models import Submission
from lms.foundation.db import Base
from lms.grading.models import Run


def _rows(table: type[Base]) -> Table:
    rows = inspect(table).local_table
    if not isinstance(rows, Table):
        raise TypeError(f"{table.__name__} is no table")
    return rows


def insert_row(session: Session, table: type[Base], values: dict[str, Any]) -> int:
    """Insert one row and return its id, without the cost of an object to keep."""
    made = session.connection().execute(_rows(table).insert(), values)
    key = made.inserted_primary_key
    if key is None:
        raise TypeError(f"{table.__name__} has no number of its own")
    return int(key[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A submission as far as other records ask."""

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
    rows: Sequence[CentreRecord]
    _records: dict[tuple[str, str], CentreRecord] = field(default_factory=dict)
    _attempts: dict[int, Attempt] = field(default_factory=dict)
    _by_person: dict[tuple[int, int], list[Attempt]] = field(default_factory=dict)
    _read: set[int] = field(default_factory=set)
    _runs: dict[int, int] = field(default_factory=dict)
    _offerings: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            self._records.setdefault((row.reference, row.person), row)

    def record(self, reference: str, person: str) -> CentreRecord | None:
        """Return the first record of that reference about that person."""
        key = (reference, person)
        if key not in self._records:
            found = self.session.scalar(
                select(CentreRecord)
                .where(
                    CentreRecord.centre == self.centre,
                    CentreRecord.reference == reference,
                    CentreRecord.person == person,
                )
                .order_by(CentreRecord.id)
                .limit(1)
            )
            if found is None:
                return None
            self._records[key] = found
        return self._records[key]

    def attempts(self, task_id: int, person_id: int) -> list[Attempt]:
        """Return the person's attempts at a task, the first first."""
        if person_id not in self._read:
            self._read.add(person_id)
            for attempt in self._load(Submission.person_id == person_id):
                self._add(attempt)
        return self._by_person.get((task_id, person_id), [])

    def attempt(self, submission_id: int) -> Attempt:
        """Return a submission that is known to exist."""
        if submission_id not in self._attempts:
            (found,) = self._load(Submission.id == submission_id)
            self._attempts[found.id] = found
        return self._attempts[submission_id]

    def add_attempt(self, task: OfferedAssignment, values: dict[str, Any]) -> Attempt:
        """Store a submission; returns it with its number."""
        known = self.attempts(task.id, values["person_id"])
        number = max((one.number for one in known), default=0) + 1
        made = insert_row(self.session, Submission, values | {"attempt": number})
        attempt = Attempt(
            id=made,
            task_id=task.id,
            offering_id=task.offering_id,
            person_id=values["person_id"],
            release_id=values["release_id"],
            number=number,
            digest=values["digest"],
            submitted_at=values["submitted_at"],
            centre=self.centre,
        )
        self._runs[made] = 0
        self._add(attempt)
        return attempt

    def next_run(self, submission_id: int) -> int:
        """Return the number that the submission's next run gets."""
        if submission_id not in self._runs:
            last = self.session.scalar(
                select(func.max(Run.number)).where(Run.submission_id == submission_id)
            )
            self._runs[submission_id] = last or 0
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
