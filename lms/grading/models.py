"""Tables of grading: runs, which are also the queue, and what each found."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from lms.foundation.db import Base, Instant, Json


class Run(Base):
    """One execution of a submission by grading; a queued row is the queue's entry."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("submission_id", "number"),
        Index("ix_run_status_queued_at", "status", "queued_at"),
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


class WorkerBeat(Base):
    """A worker's sign of life, and what it knows of its sandbox; one row a worker name."""

    __tablename__ = "worker_beat"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    sandbox_ok: Mapped[bool]
    #: Sentences as JSON: what the sandbox lacks.
    missing: Mapped[list[dict[str, Any]]] = mapped_column(Json)
