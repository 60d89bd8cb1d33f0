"""Tables of grading: runs, which are also the queue, and what each found."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from lms.foundation.db import Base, Instant, Json


class Run(Base):
    """One execution of a submission by grading; a queued row is the queue's entry."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("submission_id", "number"),
        # Every question the queue is asked: see lms.grading.order.
        Index("ix_run_order", "status", "resource", "priority", "offering_id", "queued_at", "id"),
        Index("ix_run_audit_id", "audit_id", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"))
    #: 1 for the first grading of the submission, then one more for each regrade.
    number: Mapped[int]
    #: A value of lms.protocol.grading.RunStatus.
    status: Mapped[str] = mapped_column(String(16))
    queued_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    #: Rises with every claim; a result that carries an older one is refused (fencing).
    claim: Mapped[int] = mapped_column(default=0)
    #: Which worker holds it.
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    lease_expires_at: Mapped[datetime | None] = mapped_column(Instant)
    #: How often our own fault (a killed worker) cost it a run; never counted against the student.
    interruptions: Mapped[int] = mapped_column(default=0)
    score: Mapped[float | None]
    max_score: Mapped[float | None]
    integrity: Mapped[str | None] = mapped_column(String(12))
    #: A Sentence as JSON, when the status is not a plain grade.
    reason: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: True when it ran without a sandbox (LMS_UNSAFE_GRADING).
    unsafe: Mapped[bool] = mapped_column(default=False)
    #: Higher goes first: exams 10, ordinary work 0, previews of a regrade -10.
    priority: Mapped[int] = mapped_column(default=0)
    #: What kind of worker it needs: "cpu" or "gpu".
    resource: Mapped[str] = mapped_column(String(8), default="cpu")
    #: Digest of the requirements whose environment it waits for, set aside meanwhile; or empty.
    environment: Mapped[str] = mapped_column(String(71), default="")
    #: Whose turn it uses; by value, for the queue's order alone. 0 where nobody wrote it down.
    offering_id: Mapped[int] = mapped_column(default=0)
    #: The release it is graded against; None means the submission's own.
    release_id: Mapped[int | None] = mapped_column(ForeignKey("release.id"))
    #: True while its results are only a regrade's preview: nobody's result yet.
    preview: Mapped[bool] = mapped_column(default=False)
    #: True when it must run anew even if the result is known.
    fresh: Mapped[bool] = mapped_column(default=False)
    #: Everything the result follows from, as digests: see lms.grading.cache.Recipe.
    recipe: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: Its random name in the audit log and on its receipt, from its end on.
    audit_id: Mapped[str | None] = mapped_column(String(36))
    #: True while the score waits for a person: not shown to the student and not counted.
    held: Mapped[bool] = mapped_column(default=False)
    #: A Sentence as JSON: why it is or was held.
    hold_reason: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: What a person decided of a held run: a value of lms.grading.rules.Verdict.
    verdict: Mapped[str | None] = mapped_column(String(12))
    #: The person's reason, in their words.
    verdict_reason: Mapped[str | None] = mapped_column(Text)
    #: Random; with it the audit log's digest of the decision can be told from the row.
    verdict_salt: Mapped[str | None] = mapped_column(String(32))
    #: Who decided, and when; whatever the verdict was.
    released_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    released_at: Mapped[datetime | None] = mapped_column(Instant)

    notebooks: Mapped[list["NotebookRun"]] = relationship(order_by="NotebookRun.id")


class NotebookRun(Base):
    """What a run found in one notebook."""

    __tablename__ = "notebook_run"
    __table_args__ = (UniqueConstraint("run_id", "notebook"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    notebook: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(16))
    integrity: Mapped[str] = mapped_column(String(12))
    score: Mapped[float]
    max_score: Mapped[float]
    reason: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: A Sentence as JSON: why it is not `verified`; for instructors.
    integrity_reason: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: {"cell", "limit", "last_output"}: lms.protocol.grading.Detail; for instructors.
    detail: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: Blob of the executed notebook; for people who grade.
    autograded: Mapped[str | None] = mapped_column(String(71))
    #: Blob of the feedback page; free of hidden tests.
    feedback: Mapped[str | None] = mapped_column(String(71))

    cells: Mapped[list["CellScore"]] = relationship(order_by="CellScore.id")


class CellScore(Base):
    """The score of one graded cell."""

    __tablename__ = "cell_score"
    __table_args__ = (UniqueConstraint("notebook_run_id", "grade_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    notebook_run_id: Mapped[int] = mapped_column(ForeignKey("notebook_run.id"))
    grade_id: Mapped[str] = mapped_column(String(128))
    #: None when the cell was not run.
    auto_score: Mapped[float | None]
    max_score: Mapped[float]
    needs_manual: Mapped[bool]
    comment: Mapped[str | None]
    #: A value of lms.protocol.grading.Integrity; None when no test scored the cell.
    integrity: Mapped[str | None] = mapped_column(String(12))
    #: A Sentence as JSON: why the score is not `verified`; for instructors.
    integrity_reason: Mapped[dict[str, Any] | None] = mapped_column(Json)


class ResultCache(Base):
    """What a recipe gave: the same bytes graded in the same way are not run twice."""

    __tablename__ = "result_cache"

    #: Digest of the recipe: see lms.grading.cache.
    key: Mapped[str] = mapped_column(String(71), primary_key=True)
    #: The run that found it, or that is finding it now.
    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    at: Mapped[datetime] = mapped_column(Instant)
    #: The findings; None while `run_id` is still at it.
    findings: Mapped[list[dict[str, Any]] | None] = mapped_column(Json)


class AuditEntry(Base):
    """One act of grading, chained to the act before it by its hash; never changed, never deleted.

    Bodies hold digests and row numbers and nothing that tells who a person is.
    """

    __tablename__ = "audit_entry"

    #: 1, 2, 3 … without a gap.
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Instant)
    #: "run.finished", "run.held", …: see lms.grading.audit.
    kind: Mapped[str] = mapped_column(String(32))
    #: Canonical JSON, kept as the very text that was hashed.
    body: Mapped[str] = mapped_column(Text)
    #: Hash of the entry before; 64 zeros for the first.
    previous_hash: Mapped[str] = mapped_column(String(71))
    hash: Mapped[str] = mapped_column(String(71), unique=True)


class GradeReceipt(Base):
    """The signed record of a finished run, and where the audit log names it."""

    __tablename__ = "receipt"

    run_id: Mapped[int] = mapped_column(ForeignKey("run.id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64))
    #: The signed document, byte for byte.
    document: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(71))
    sequence: Mapped[int] = mapped_column(ForeignKey("audit_entry.sequence"))


class RegradePlan(Base):
    """A changed assignment and the submissions it touches, graded aside until a person decides."""

    __tablename__ = "regrade_plan"

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignment.id"), index=True)
    release_id: Mapped[int] = mapped_column(ForeignKey("release.id"))
    #: A value of lms.grading.rules.PlanState.
    state: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(Instant)
    #: None for the command line.
    created_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    decided_at: Mapped[datetime | None] = mapped_column(Instant)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    #: Random; with it the audit log's digest of the decision can be told from the row.
    salt: Mapped[str] = mapped_column(String(32))
    #: What changed against the releases that submissions were graded with:
    #: [{"notebook", "cells", "kind"}], see lms.grading.changes.
    changes: Mapped[list[dict[str, Any]]] = mapped_column(Json)

    previews: Mapped[list["RegradePreview"]] = relationship(order_by="RegradePreview.id")


class RegradePreview(Base):
    """One touched submission: the run that counts now, and the run against the new release."""

    __tablename__ = "regrade_preview"
    __table_args__ = (UniqueConstraint("plan_id", "submission_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    plan_id: Mapped[int] = mapped_column(ForeignKey("regrade_plan.id"))
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"))
    old_run_id: Mapped[int] = mapped_column(ForeignKey("run.id"))
    #: None when the plan was discarded before it ran.
    new_run_id: Mapped[int | None] = mapped_column(ForeignKey("run.id"))


class WorkerBeat(Base):
    """A worker's sign of life, and what it knows of its sandbox; one row a worker name."""

    __tablename__ = "worker_beat"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    sandbox_ok: Mapped[bool]
    #: Sentences as JSON: what the sandbox lacks.
    missing: Mapped[list[dict[str, Any]]] = mapped_column(Json)
