"""Use cases of the exchange: submit and read back."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment
from lms.exchange.errors import NotEnrolledError, NotReleasedError, SubmissionNotFoundError
from lms.exchange.events import SubmissionReceived
from lms.exchange.models import Submission
from lms.exchange.rules import check_files, submission_digest
from lms.foundation.blobs import BlobStore
from lms.foundation.events import publish
from lms.identity.models import Person
from lms.identity.scopes import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a student can keep: it names the bytes, the server's time and the attempt."""

    submission_id: int
    offering: str
    assignment: str
    username: str
    attempt: int
    digest: str
    release: str
    submitted_at: datetime
    late: bool
    #: True when the same bytes had been submitted before: this is that attempt's receipt.
    duplicate: bool

    def to_json(self) -> dict[str, object]:
        """Return the receipt as JSON values."""
        return {
            "submission": self.submission_id,
            "offering": self.offering,
            "assignment": self.assignment,
            "student": self.username,
            "attempt": self.attempt,
            "digest": self.digest,
            "release": self.release,
            "submitted_at": self.submitted_at.isoformat(),
            "late": self.late,
            "duplicate": self.duplicate,
        }


def submit(
    session: Session,
    blobs: BlobStore,
    task: OfferedAssignment,
    files: Mapping[str, bytes],
    *,
    actor: Actor,
    now: datetime,
    via: str,
) -> Receipt:
    """Record `files` as the actor's next attempt; late work is kept and marked.

    The bytes are on disk before the row is written. The same bytes sent again give the receipt of
    the first time. Raises NotEnrolledError, NotReleasedError or BadSubmissionError.
    """
    if not actor.may("submission:write", task.offering_id):
        raise NotEnrolledError
    if task.release is None:
        raise NotReleasedError
    cleaned = check_files(files, [notebook["name"] for notebook in task.release.notebooks])
    digest = submission_digest(cleaned)
    # The same person submitting twice at once: one waits here, and then sees what the other did.
    session.execute(select(Person.id).where(Person.id == actor.person_id).with_for_update())
    known = session.scalar(
        select(Submission).where(
            Submission.task_id == task.id,
            Submission.person_id == actor.person_id,
            Submission.digest == digest,
        )
    )
    if known is not None:
        return receipt_of(session, known, task, duplicate=True)
    submission = Submission(
        task_id=task.id,
        release_id=task.release.id,
        person_id=actor.person_id,
        attempt=_last_attempt(session, task.id, actor.person_id) + 1,
        digest=digest,
        files=[
            {"path": path, "digest": blobs.put(content), "bytes": len(content)}
            for path, content in cleaned.items()
        ],
        submitted_at=now,
        late=task.due_at is not None and now > task.due_at,
        via=via,
    )
    session.add(submission)
    session.flush()
    publish(session, SubmissionReceived(submission_id=submission.id, at=now))
    return receipt_of(session, submission, task)


def _last_attempt(session: Session, task_id: int, person_id: int) -> int:
    last = session.scalar(
        select(func.max(Submission.attempt)).where(
            Submission.task_id == task_id, Submission.person_id == person_id
        )
    )
    return last or 0


def receipt_of(
    session: Session, submission: Submission, task: OfferedAssignment, *, duplicate: bool = False
) -> Receipt:
    """Return the receipt of a stored submission."""
    person = session.get_one(Person, submission.person_id)
    release = next(r for r in task.assignment.releases if r.id == submission.release_id)
    return Receipt(
        submission_id=submission.id,
        offering=task.offering.key,
        assignment=task.assignment.key,
        username=person.username,
        attempt=submission.attempt,
        digest=submission.digest,
        release=release.digest,
        submitted_at=submission.submitted_at,
        late=submission.late,
        duplicate=duplicate,
    )


def list_submissions(session: Session, task_id: int, person_id: int) -> list[Submission]:
    """Return a person's attempts at a task, newest first."""
    return list(
        session.scalars(
            select(Submission)
            .where(Submission.task_id == task_id, Submission.person_id == person_id)
            .order_by(Submission.attempt.desc())
        )
    )


def list_own(session: Session, person_id: int) -> list[Submission]:
    """Return all of a person's attempts at anything, newest first."""
    return list(
        session.scalars(
            select(Submission)
            .where(Submission.person_id == person_id)
            .order_by(Submission.submitted_at.desc(), Submission.id.desc())
        )
    )


def count_submitted(session: Session, person_id: int) -> dict[int, int]:
    """Return how many tasks the person has handed in at least once, by offering."""
    rows = session.execute(
        select(OfferedAssignment.offering_id, func.count(func.distinct(Submission.task_id)))
        .join(Submission, Submission.task_id == OfferedAssignment.id)
        .where(Submission.person_id == person_id)
        .group_by(OfferedAssignment.offering_id)
    )
    return {row[0]: row[1] for row in rows}


def count_received(session: Session, offering_ids: Iterable[int]) -> dict[int, int]:
    """Return how many attempts came in, by offering."""
    rows = session.execute(
        select(OfferedAssignment.offering_id, func.count())
        .join(Submission, Submission.task_id == OfferedAssignment.id)
        .where(OfferedAssignment.offering_id.in_(list(offering_ids)))
        .group_by(OfferedAssignment.offering_id)
    )
    return {row[0]: row[1] for row in rows}


def get_submission(
    session: Session, submission_id: int, *, actor: Actor
) -> tuple[Submission, OfferedAssignment]:
    """Return a submission and its task, for its owner or whoever may read the offering's."""
    row = session.execute(
        select(Submission, OfferedAssignment)
        .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
        .where(Submission.id == submission_id)
    ).first()
    if row is None:
        raise SubmissionNotFoundError
    submission, task = row
    if submission.person_id != actor.person_id and not actor.may(
        "submission:read", task.offering_id
    ):
        raise SubmissionNotFoundError
    return submission, task


def list_received(
    session: Session, task_id: int, *, actor: Actor
) -> list[tuple[Submission, Person]]:
    """Return the newest attempt of each person at the task, by name."""
    task = session.get(OfferedAssignment, task_id)
    if task is None:
        raise SubmissionNotFoundError
    actor.require("submission:read", task.offering_id)
    newest = (
        select(Submission.person_id, func.max(Submission.attempt).label("attempt"))
        .where(Submission.task_id == task_id)
        .group_by(Submission.person_id)
        .subquery()
    )
    rows = session.execute(
        select(Submission, Person)
        .join(
            newest,
            (newest.c.person_id == Submission.person_id) & (newest.c.attempt == Submission.attempt),
        )
        .join(Person, Person.id == Submission.person_id)
        .where(Submission.task_id == task_id)
        .order_by(Person.display_name, Person.id)
    )
    return [(submission, person) for submission, person in rows]


def read_submission(blobs: BlobStore, submission: Submission) -> dict[str, bytes]:
    """Return the files of a submission by path."""
    return {entry["path"]: blobs.get(entry["digest"]) for entry in submission.files}


def receipt_text(receipt: Receipt) -> str:
    """Return the receipt as a JSON document to keep."""
    return json.dumps(receipt.to_json(), ensure_ascii=False, indent=2) + "\n"
