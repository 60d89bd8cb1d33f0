"""The audit log: every act of grading in a chain of hashes, written with the act itself.

Each entry's hash covers the entry before it, so that none can be changed, taken out or slipped in
without breaking the chain. Writers wait for one another, and a transaction that is rolled back
leaves no gap. Take this lock last: what is locked after it could wait for one who waits for it.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.foundation.blobs import digest_of
from lms.foundation.signing import canonical
from lms.grading.models import AuditEntry

#: What the first entry names as the one before it.
NOTHING = "sha256:" + "0" * 64
#: Any number that no other lock of this database uses.
_LOCK = 7_304_212_210
_CHUNK = 1_000


class Act(StrEnum):
    """What can happen to a run, to hidden tests, and to what a revoked centre sent."""

    FINISHED = "run.finished"
    HELD = "run.held"
    RELEASED = "run.released"
    REJECTED = "run.rejected"
    REGRADE_ASKED = "run.regrade_asked"
    REGRADE_APPLIED = "regrade.applied"
    REGRADE_DISCARDED = "regrade.discarded"
    SEAL_CODE_GIVEN = "seal.code_given"
    SEAL_OPENED = "seal.opened"
    APART_RELEASED = "apart.released"
    APART_REFUSED = "apart.refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest entry."""

    sequence: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Where the log or a receipt does not hold."""

    sequence: int
    problem: str


def lock_head(session: Session) -> Head:
    """Return the newest entry; nobody else can append until this transaction ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    row = session.execute(
        select(AuditEntry.sequence, AuditEntry.hash).order_by(AuditEntry.sequence.desc()).limit(1)
    ).first()
    return Head(sequence=0, hash=NOTHING) if row is None else Head(sequence=row[0], hash=row[1])


def append(session: Session, act: Act, body: Mapping[str, object], *, now: datetime) -> AuditEntry:
    """Write an act down, in the transaction that does it; `body` names no person."""
    head = lock_head(session)
    text = canonical(body).decode()
    entry = AuditEntry(
        sequence=head.sequence + 1,
        at=now,
        kind=act.value,
        body=text,
        previous_hash=head.hash,
        hash=hash_of(head.sequence + 1, now, act.value, text, head.hash),
    )
    session.add(entry)
    session.flush()
    return entry


def hash_of(sequence: int, at: datetime, kind: str, body: str, previous: str) -> str:
    """Return the hash of an entry."""
    # Microseconds since the epoch: what every database gives back as it was.
    micros = round(at.timestamp() * 1_000_000)
    return digest_of(canonical([sequence, micros, kind, body, previous]))


def new_salt() -> str:
    """Return what hides a decision's facts in the log from whoever lacks the row."""
    return secrets.token_hex(16)


def decision_digest(salt: str, **facts: object) -> str:
    """Return the digest of who decided what and why; without the salt it tells nothing."""
    return digest_of(canonical({"salt": salt, **facts}))


def entries(session: Session) -> Iterator[AuditEntry]:
    """Yield every entry in order, without holding them all."""
    last = 0
    while chunk := session.scalars(
        select(AuditEntry)
        .where(AuditEntry.sequence > last)
        .order_by(AuditEntry.sequence)
        .limit(_CHUNK)
    ).all():
        yield from chunk
        last = chunk[-1].sequence
        for entry in chunk:
            session.expunge(entry)


def check_chain(session: Session) -> tuple[Head, list[Flaw]]:
    """Return the head and every break of the chain."""
    head, flaws = Head(sequence=0, hash=NOTHING), []
    for entry in entries(session):
        expected = hash_of(entry.sequence, entry.at, entry.kind, entry.body, entry.previous_hash)
        if entry.sequence != head.sequence + 1:
            flaws.append(Flaw(sequence=entry.sequence, problem="an entry before it is missing"))
        elif entry.previous_hash != head.hash:
            flaws.append(Flaw(sequence=entry.sequence, problem="it does not follow the one before"))
        if entry.hash != expected:
            flaws.append(Flaw(sequence=entry.sequence, problem="it was changed"))
        head = Head(sequence=entry.sequence, hash=entry.hash)
    return head, flaws


def body_of(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry's body as values."""
    value: dict[str, Any] = json.loads(entry.body)
    return value
