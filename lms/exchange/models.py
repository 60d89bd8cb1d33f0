"""Tables of what was handed in."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from lms.foundation.db import Base, Instant, Json


class Submission(Base):
    """Immutable content handed in; the same bytes sent twice are one attempt."""

    __tablename__ = "submission"
    __table_args__ = (
        UniqueConstraint("task_id", "person_id", "attempt"),
        UniqueConstraint("task_id", "person_id", "digest"),
        Index("ix_submission_person_id_submitted_at", "person_id", "submitted_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    #: The assignment in its offering.
    task_id: Mapped[int] = mapped_column(ForeignKey("offered_assignment.id"))
    #: The release that was current when it was received; grading uses it.
    release_id: Mapped[int] = mapped_column(ForeignKey("release.id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    #: 1, 2, 3 … for this person and task.
    attempt: Mapped[int]
    #: Digest of the list of files; what the receipt names.
    digest: Mapped[str] = mapped_column(String(71))
    #: [{"path", "digest", "bytes"}], sorted by path.
    files: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    #: The server's clock, never the student's.
    submitted_at: Mapped[datetime] = mapped_column(Instant)
    late: Mapped[bool]
    #: "page", "notebook" or "command".
    via: Mapped[str] = mapped_column(String(10))
