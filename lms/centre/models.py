"""Tables of centres: who this machine is, its journal; at central, what came from which centre.

The first three are written at a centre, the others at central. Which record belongs to whom stands
in docs/reference/records.md.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from lms.foundation.db import Base, Instant, Json


class CentreSelf(Base):
    """Which centre this machine is; no row: this is central. One row, with id 1."""

    __tablename__ = "centre_self"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    centre: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(100))
    #: Where central answers; it may never be reached.
    central_url: Mapped[str] = mapped_column(String(300))
    #: Central's public keys, a JWK set.
    central_keys: Mapped[dict[str, Any]] = mapped_column(Json)
    #: The trusted root of the signed repository, base64; empty until there is one.
    root: Mapped[str] = mapped_column(Text)
    #: Rises with every new joining; the journal begins anew with it.
    epoch: Mapped[int]
    joined_at: Mapped[datetime] = mapped_column(Instant)
    #: The newest time that central has signed: this machine's clock is not right if it is before.
    signed_at: Mapped[datetime] = mapped_column(Instant)
    #: When central's newest answer was read; None before the first.
    contact_at: Mapped[datetime | None] = mapped_column(Instant)
    #: Up to which record of this epoch central has everything, blobs too, by a signed receipt.
    complete_to: Mapped[int] = mapped_column(default=0)
    #: The newest receipt, as signed.
    receipt: Mapped[str | None] = mapped_column(Text)
    #: What central said about the newest exchange when it refused it, a Sentence as JSON.
    refusal: Mapped[dict[str, Any] | None] = mapped_column(Json)


class JournalRecord(Base):
    """One record of what happened here; chained, and never changed but for its erased details."""

    __tablename__ = "journal_record"
    __table_args__ = (
        Index("ix_journal_record_subject", "subject"),
        Index("ix_journal_record_person", "person"),
    )

    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: 1, 2, 3 … within the epoch, without a gap.
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: UUIDv7 in 32 hexadecimal digits; kept when a new epoch takes the record over.
    record: Mapped[str] = mapped_column(String(32))
    #: By which later records name this one.
    reference: Mapped[str] = mapped_column(String(24))
    #: A value of lms.centre.rules.Kind.
    kind: Mapped[str] = mapped_column(String(12))
    #: Of whom it tells: JournalPerson.name.
    person: Mapped[str] = mapped_column(String(24))
    #: What it tells of, such as "submission:12".
    subject: Mapped[str] = mapped_column(String(40))
    #: The very text that the chain covers.
    body: Mapped[str] = mapped_column(Text)
    #: What the body commits to by a salted digest, as JSON text; None once erased.
    details: Mapped[str | None] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))


class JournalPerson(Base):
    """The random name that a person has in the journal; erasing deletes person and salt."""

    __tablename__ = "journal_person"

    name: Mapped[str] = mapped_column(String(24), primary_key=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"), unique=True)
    salt: Mapped[str | None] = mapped_column(String(32))
    erased_at: Mapped[datetime | None] = mapped_column(Instant)


class Centre(Base):
    """A centre as central knows it."""

    __tablename__ = "centre"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    #: A value of lms.centre.rules.CentreState.
    state: Mapped[str] = mapped_column(String(10))
    #: sha256 of the ticket's secret while a ticket is out; used once.
    secret_hash: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    #: The epoch that the ticket opens.
    ticket_epoch: Mapped[int]
    #: The epoch that the centre writes in; 0 before it has joined.
    epoch: Mapped[int] = mapped_column(default=0)
    #: Its public keys, a JWK set; also those it signed with before.
    keys: Mapped[dict[str, Any]] = mapped_column(Json)
    #: The keys its grade receipts are signed with, a JWK set.
    receipt_keys: Mapped[dict[str, Any]] = mapped_column(Json)
    software: Mapped[str] = mapped_column(String(40), default="")
    invited_at: Mapped[datetime] = mapped_column(Instant)
    joined_at: Mapped[datetime | None] = mapped_column(Instant)
    contact_at: Mapped[datetime | None] = mapped_column(Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)
    revoked_reason: Mapped[str] = mapped_column(Text, default="")
    #: Which share of its results central grades again, 0.0 to 1.0.
    audit_rate: Mapped[float]


class CentreChain(Base):
    """How far central has a centre's journal, by epoch."""

    __tablename__ = "centre_chain"

    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))
    #: When another history came under the same numbers, and the blob that keeps it.
    forked_at: Mapped[datetime | None] = mapped_column(Instant)
    forked: Mapped[str | None] = mapped_column(String(71))


class CentreCheckpoint(Base):
    """A signed stretch of a centre's journal."""

    __tablename__ = "centre_checkpoint"
    __table_args__ = (Index("ix_centre_checkpoint_centre", "centre", "epoch", "last"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"))
    epoch: Mapped[int]
    first: Mapped[int]
    last: Mapped[int]
    #: As it was signed.
    document: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(Instant)


class CentreRecord(Base):
    """A record that came from a centre, and what became of it."""

    __tablename__ = "centre_record"
    __table_args__ = (
        UniqueConstraint("centre", "epoch", "seq"),
        Index("ix_centre_record_record", "centre", "record"),
        Index("ix_centre_record_reference", "centre", "reference"),
        Index("ix_centre_record_state", "centre", "state"),
        Index("ix_centre_record_person", "centre", "person"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"))
    epoch: Mapped[int]
    seq: Mapped[int]
    record: Mapped[str] = mapped_column(String(32))
    #: By which later records name this one.
    reference: Mapped[str] = mapped_column(String(24))
    kind: Mapped[str] = mapped_column(String(12))
    person: Mapped[str] = mapped_column(String(24))
    body: Mapped[str] = mapped_column(Text)
    details: Mapped[str | None] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(String(64))
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("centre_checkpoint.id"))
    received_at: Mapped[datetime] = mapped_column(Instant)
    #: A value of lms.centre.rules.RecordState.
    state: Mapped[str] = mapped_column(String(12))
    #: Why it was refused, a Sentence as JSON.
    reason: Mapped[dict[str, Any] | None] = mapped_column(Json)
    submission_id: Mapped[int | None] = mapped_column(ForeignKey("submission.id"), index=True)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))


class CentrePerson(Base):
    """Somebody a centre's records tell of; `person_id` is a placeholder until the code is used."""

    __tablename__ = "centre_person"
    __table_args__ = (Index("ix_centre_person_claim", "claim"),)

    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(24), primary_key=True)
    person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    salt: Mapped[str | None] = mapped_column(String(32))
    #: The name as the centre has it, for the placeholder.
    display_name: Mapped[str | None] = mapped_column(String(100))
    #: sha256 of the claim code.
    claim: Mapped[str | None] = mapped_column(String(64))
    linked_at: Mapped[datetime | None] = mapped_column(Instant)
    erased_at: Mapped[datetime | None] = mapped_column(Instant)


class CentreBlob(Base):
    """A blob that a centre's records name and central does not have yet."""

    __tablename__ = "centre_blob"

    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), primary_key=True)
    #: "sha256:" and 64 hexadecimal digits.
    digest: Mapped[str] = mapped_column(String(71), primary_key=True)


class CentreOrigin(Base):
    """Where a submission was handed in, when it was not here."""

    __tablename__ = "centre_origin"

    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), primary_key=True)
    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), index=True)
    record: Mapped[str] = mapped_column(String(32))
    #: What the centre's clock said; the submission's own time is what central believes.
    claimed_at: Mapped[datetime] = mapped_column(Instant)
    clock_ok: Mapped[bool]
    received_at: Mapped[datetime] = mapped_column(Instant)
    #: When its centre was revoked.
    marked_at: Mapped[datetime | None] = mapped_column(Instant)


class CentreResult(Base):
    """A run that a centre graded, and what central's own grading said of it."""

    __tablename__ = "centre_result"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), index=True)
    record: Mapped[str] = mapped_column(String(32))
    checkpoint_id: Mapped[int] = mapped_column(ForeignKey("centre_checkpoint.id"))
    #: A value of lms.centre.rules.ResultState.
    state: Mapped[str] = mapped_column(String(12))
    #: Central's run of the same bytes, once the sample has chosen it.
    audit_run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"), index=True)
    checked_at: Mapped[datetime | None] = mapped_column(Instant)


class CentreConflict(Base):
    """Two truths about the same work, both kept, and what policy decided."""

    __tablename__ = "centre_conflict"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: A value of lms.centre.rules.ConflictKind.
    kind: Mapped[str] = mapped_column(String(12))
    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), index=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"))
    other_id: Mapped[int | None] = mapped_column(ForeignKey("submission.id"))
    #: A Sentence as JSON.
    decision: Mapped[dict[str, Any]] = mapped_column(Json)
    at: Mapped[datetime] = mapped_column(Instant)


class CentreOrder(Base):
    """A signed order to erase somebody, until the centre's journal says that it is done."""

    __tablename__ = "centre_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    centre: Mapped[str] = mapped_column(ForeignKey("centre.id"), index=True)
    person: Mapped[str] = mapped_column(String(24))
    document: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(Instant)
    done_at: Mapped[datetime | None] = mapped_column(Instant)
