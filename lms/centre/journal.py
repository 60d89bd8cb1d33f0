"""A centre's journal: what happened here, appended in the transaction in which it happens.

At central, where no row says which centre this is, all of it does nothing. Writers wait for one
another; this lock is taken after the audit log's, never before it.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment, Offering, Release
from lms.centre.models import CentreSelf, JournalPerson, JournalRecord
from lms.centre.rules import (
    NOTHING,
    Kind,
    chain,
    commitment,
    compact,
    millis,
    record_id,
    reference,
)
from lms.enrolment.events import EnrolmentChanged
from lms.enrolment.models import Enrolment
from lms.exchange.events import SubmissionReceived
from lms.exchange.models import Submission
from lms.foundation.blobs import BlobStore
from lms.grading.events import RunApplied, RunDecided, RunFinished
from lms.grading.models import CellScore, GradeReceipt, NotebookRun, Run

#: Any number that no other lock of this database uses.
_LOCK = 7_304_212_211
_SHA256 = "sha256:"


@dataclass(frozen=True, slots=True)
class Journal:
    """Hears of what happens and writes it down; documents of results go to `blobs`."""

    blobs: BlobStore

    def on_enrolment(self, session: Session, event: EnrolmentChanged) -> None:
        """Record that somebody's place in an offering changed."""
        if find_epoch(session) is None:
            return
        enrolment = session.get_one(Enrolment, event.enrolment_id)
        details = {
            "offering": session.get_one(Offering, enrolment.offering_id).key,
            "role": str(enrolment.role),
            "state": str(enrolment.state),
        }
        subject = f"enrolment:{enrolment.id}"
        append(session, Kind.ENROLMENT, enrolment.person_id, details, subject, now=event.at)

    def on_submission(self, session: Session, event: SubmissionReceived) -> None:
        """Record a new attempt."""
        if find_epoch(session) is not None:
            _submission(session, session.get_one(Submission, event.submission_id))

    def on_run(self, session: Session, event: RunFinished | RunApplied) -> None:
        """Record a result that counts; a preview of a regrade is nobody's result yet."""
        if find_epoch(session) is None:
            return
        run = session.get_one(Run, event.run_id)
        if not run.preview:
            self._result(session, run)

    def on_decision(self, session: Session, event: RunDecided) -> None:
        """Record what a person decided of a held run."""
        if find_epoch(session) is None:
            return
        run = session.get_one(Run, event.run_id)
        at = run.released_at or event.at
        details = {
            "of": self._result(session, run).reference,
            "verdict": str(run.verdict),
            "reason": run.verdict_reason or "",
        }
        submission = session.get_one(Submission, run.submission_id)
        append(session, Kind.GRADE, submission.person_id, details, f"decision:{run.id}", now=at)

    def _result(self, session: Session, run: Run) -> JournalRecord:
        known = find_record(session, f"run:{run.id}")
        if known is not None:
            return known
        submission = session.get_one(Submission, run.submission_id)
        at = run.finished_at or submission.submitted_at
        details = {
            "of": _submission(session, submission).reference,
            "number": run.number,
            "status": str(run.status),
            "score": run.score,
            "max": run.max_score,
            "held": run.held,
            "doc": self._document(session, run),
        }
        if run.release_id is not None and run.release_id != submission.release_id:
            details["release"] = _bare(session.get_one(Release, run.release_id).digest)
        return append(session, Kind.RESULT, submission.person_id, details, f"run:{run.id}", now=at)

    def _document(self, session: Session, run: Run) -> str:
        receipt = session.get(GradeReceipt, run.id)
        document = {
            "receipt": None if receipt is None else receipt.document,
            "integrity": run.integrity,
            "unsafe": run.unsafe,
            "reason": run.reason,
            "hold_reason": run.hold_reason,
            "notebooks": [_notebook(notebook) for notebook in run.notebooks],
        }
        return _bare(self.blobs.put(compact(document).encode()))


def find_epoch(session: Session) -> int | None:
    """Return the epoch that this centre writes in; None at central."""
    return session.scalar(select(CentreSelf.epoch).where(CentreSelf.id == 1))


def find_record(session: Session, subject: str) -> JournalRecord | None:
    """Return the newest record about `subject`."""
    return session.scalar(
        select(JournalRecord)
        .where(JournalRecord.subject == subject)
        .order_by(JournalRecord.epoch.desc(), JournalRecord.seq.desc())
        .limit(1)
    )


def append(
    session: Session,
    kind: Kind,
    person_id: int,
    details: dict[str, Any],
    subject: str,
    *,
    now: datetime,
) -> JournalRecord:
    """Write a record down; its body names the person by a random name and digests alone."""
    me = _lock(session)
    person = _person(session, person_id)
    text, at = compact(details), millis(now)
    body = {
        "kind": kind.value,
        "person": person.name,
        "at": at,
        "commit": commitment(person.salt or "", at, kind.value, text),
        "clock": int(now >= me.signed_at),
    }
    return _write(session, me, body, subject, text)


def append_erasure(session: Session, name: str, *, now: datetime) -> JournalRecord:
    """Write down that the person of this random name was erased here."""
    me = _lock(session)
    body = {
        "kind": Kind.ERASURE.value,
        "person": name,
        "at": millis(now),
        "commit": "",
        "clock": int(now >= me.signed_at),
    }
    return _write(session, me, body, f"erasure:{name}", None)


def carry_over(session: Session, me: CentreSelf, epoch: int) -> int:
    """Begin a new epoch with all that central has no receipt for; returns how many records.

    After a backup was put back, the old epoch holds another history at central. Records keep their
    names, so what central has already it knows again.
    """
    unsent = session.scalars(
        select(JournalRecord)
        .where(JournalRecord.epoch == me.epoch, JournalRecord.seq > me.complete_to)
        .order_by(JournalRecord.seq)
    ).all()
    me.epoch, me.complete_to, me.receipt, me.refusal = epoch, 0, None, None
    session.flush()
    for old in unsent:
        _write(session, me, _portable(old.body), old.subject, old.details)
    return len(unsent)


def head(session: Session, epoch: int) -> tuple[int, str]:
    """Return number and hash of the epoch's newest record."""
    row = session.execute(
        select(JournalRecord.seq, JournalRecord.hash)
        .where(JournalRecord.epoch == epoch)
        .order_by(JournalRecord.seq.desc())
        .limit(1)
    ).first()
    return (0, NOTHING) if row is None else (row[0], row[1])


def _lock(session: Session) -> CentreSelf:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    return session.get_one(CentreSelf, 1)


def _write(
    session: Session, me: CentreSelf, facts: dict[str, Any], subject: str, details: str | None
) -> JournalRecord:
    last, previous = head(session, me.epoch)
    body = compact(facts | {"v": 1, "seq": last + 1, "epoch": me.epoch, "centre": me.centre})
    row = JournalRecord(
        epoch=me.epoch,
        seq=last + 1,
        record=record_id(facts["at"], facts["kind"], facts["person"], facts["commit"]),
        reference=reference(facts["commit"]),
        kind=facts["kind"],
        person=facts["person"],
        subject=subject,
        body=body,
        details=details,
        hash=chain(previous, body),
    )
    session.add(row)
    session.flush()
    return row


def _portable(body: str) -> dict[str, Any]:
    import json

    facts: dict[str, Any] = json.loads(body)
    return {name: facts[name] for name in ("kind", "person", "at", "commit", "clock")}


def _person(session: Session, person_id: int) -> JournalPerson:
    person = session.scalar(select(JournalPerson).where(JournalPerson.person_id == person_id))
    if person is None:
        person = JournalPerson(
            name=secrets.token_hex(12), person_id=person_id, salt=secrets.token_hex(16)
        )
        session.add(person)
        session.flush()
    return person


def _submission(session: Session, submission: Submission) -> JournalRecord:
    """Return the record of a submission, writing it if it was handed in before this joined."""
    subject = f"submission:{submission.id}"
    known = find_record(session, subject)
    if known is not None:
        return known
    offering, assignment, release = session.execute(
        select(Offering.key, Assignment.key, Release.digest)
        .join(OfferedAssignment, OfferedAssignment.offering_id == Offering.id)
        .join(Assignment, Assignment.id == OfferedAssignment.assignment_id)
        .join(Release, Release.id == submission.release_id)
        .where(OfferedAssignment.id == submission.task_id)
    ).one()
    signed_at = session.get_one(CentreSelf, 1).signed_at
    details = {
        "offering": offering,
        "assignment": assignment,
        "release": _bare(release),
        "attempt": submission.attempt,
        "files": [[f["path"], _bare(f["digest"]), f["bytes"]] for f in submission.files],
        "after": millis(signed_at),
        "late": submission.late,
        "via": submission.via,
    }
    now = submission.submitted_at
    return append(session, Kind.SUBMISSION, submission.person_id, details, subject, now=now)


def _notebook(row: NotebookRun) -> dict[str, Any]:
    return {
        "notebook": row.notebook,
        "status": row.status,
        "integrity": row.integrity,
        "score": row.score,
        "max_score": row.max_score,
        "reason": row.reason,
        "integrity_reason": row.integrity_reason,
        "detail": row.detail,
        "cells": [_cell(cell) for cell in row.cells],
    }


def _cell(row: CellScore) -> dict[str, Any]:
    return {
        "grade_id": row.grade_id,
        "auto_score": row.auto_score,
        "max_score": row.max_score,
        "needs_manual": row.needs_manual,
        "comment": row.comment,
        "integrity": row.integrity,
        "integrity_reason": row.integrity_reason,
    }


def _bare(digest: str) -> str:
    return digest.removeprefix(_SHA256)
