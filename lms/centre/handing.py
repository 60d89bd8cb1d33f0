"""A submission that was handed in at a centre becomes an attempt at central."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment, Offering, Release
from lms.centre.batch import Attempt, Batch, Row
from lms.centre.conflicts import note_clock, note_old_release, note_same_work, note_two_places
from lms.centre.models import Centre, CentreOrigin
from lms.centre.outcome import Refused, Waits
from lms.centre.rules import CentreState, believed, from_millis
from lms.exchange.errors import BadSubmissionError
from lms.exchange.models import Submission
from lms.exchange.rules import check_files, submission_digest
from lms.foundation.blobs import BlobStore, Digest, parse_digest
from lms.foundation.errors import NotFoundError
from lms.protocol.sentences import sentence

VIA = "centre"


@dataclass(frozen=True, slots=True, kw_only=True)
class _When:
    """When it was handed in: what the centre says, and what central believes."""

    claimed: datetime
    at: datetime
    #: The newest time that central had signed for the centre by then.
    after: datetime
    clock_ok: bool


@dataclass(slots=True)
class Handing:
    """Turns submissions of one centre into attempts."""

    session: Session
    blobs: BlobStore
    centre: Centre
    batch: Batch
    now: datetime
    _tasks: dict[tuple[str, str], OfferedAssignment | None] = field(default_factory=dict)
    _releases: dict[tuple[int, str], Release | None] = field(default_factory=dict)
    _current: dict[int, Release | None] = field(default_factory=dict)
    _origins: list[tuple[Attempt, dict[str, Any]]] = field(default_factory=list)
    #: What can be written down once the attempts have their ids.
    _notes: list[Callable[[], None]] = field(default_factory=list)

    def store(self) -> None:
        """Write all attempts at once, where they come from, and what is doubtful about them."""
        self.batch.store_attempts()
        if self._origins:
            rows = [{"submission_id": one.id} | values for one, values in self._origins]
            self.session.execute(insert(CentreOrigin), rows)
        for note in self._notes:
            note()
        self._origins, self._notes = [], []

    def submission(self, row: Row, details: dict[str, Any], person_id: int) -> None:
        """Keep the attempt under the person's next number, with where it comes from."""
        task = self._task(details["offering"], details["assignment"])
        release = self._release(task, details["release"])
        listing, digest = self._files(details["files"], release)
        known = self.batch.attempts(task.id, person_id)
        before = [one.submitted_at for one in known if one.centre == self.centre.id]
        when = self._when(row, details, before)
        late = self._is_late(task, when)
        same = next((one for one in known if one.digest == digest), None)
        if same is not None:
            self._same_work(row, same, late=late)
            return
        others = [one for one in known if one.centre != self.centre.id]
        attempt = self.batch.add_attempt(
            task,
            {
                "task_id": task.id,
                "release_id": release.id,
                "person_id": person_id,
                "digest": digest,
                "files": listing,
                "submitted_at": when.at,
                "late": late,
                "via": VIA,
            },
        )
        self._note_origin(row, attempt, when)
        if others:
            self._notes.append(lambda: self._two_places(attempt, others[-1]))
        self._note_doubts(attempt, task, release, when)

    def _note_origin(self, row: Row, attempt: Attempt, when: _When) -> None:
        self.batch.became(row, attempt)
        values = {
            "centre": self.centre.id,
            "record": row.record,
            "claimed_at": when.claimed,
            "clock_ok": when.clock_ok,
            "received_at": row.received_at,
            # Let in after all, it shows where it comes from.
            "marked_at": self.now if self.centre.state == CentreState.REVOKED else None,
        }
        self._origins.append((attempt, values))

    def _two_places(self, attempt: Attempt, other: Attempt) -> None:
        note_two_places(self.session, attempt.id, other.id, centre=self.centre.id, now=self.now)

    def _same_work(self, row: Row, same: Attempt, *, late: bool) -> None:
        self.batch.became(row, same)
        if same.centre is None:
            # From central itself; within a centre the exchange makes one attempt of it already.
            kept = self.session.get_one(Submission, same.id)
            kept.late = kept.late and late
            note_same_work(self.session, same.id, same.id, centre=self.centre.id, now=self.now)

    def _note_doubts(
        self, attempt: Attempt, task: OfferedAssignment, release: Release, when: _When
    ) -> None:
        due, centre, now = task.due_at, self.centre.id, self.now
        if not when.clock_ok and due is not None and when.after <= due < now:
            self._notes.append(lambda: note_clock(self.session, attempt.id, centre=centre, now=now))
        current = self._current_release(task)
        if current and current.number > release.number and when.at >= current.published_at:
            self._notes.append(
                lambda: note_old_release(self.session, attempt.id, centre=centre, now=now)
            )

    def _current_release(self, task: OfferedAssignment) -> Release | None:
        if task.id not in self._current:
            found = task.release_id and self.session.get(Release, task.release_id)
            self._current[task.id] = found or None
        return self._current[task.id]

    @staticmethod
    def _when(row: Row, details: dict[str, Any], before: list[datetime]) -> _When:
        claimed = from_millis(row.facts["at"])
        after = from_millis(details["after"])
        # A journal tells in which order things happened, also where its clock was set back.
        at = max([believed(claimed, after=after, received_at=row.received_at), *before])
        return _When(claimed=claimed, at=at, after=after, clock_ok=at == claimed)

    @staticmethod
    def _is_late(task: OfferedAssignment, when: _When) -> bool:
        if task.due_at is None:
            return False
        # With a clock that was not right, only what cannot have been in time is late.
        return (when.at if when.clock_ok else when.after) > task.due_at

    def _task(self, offering: str, assignment: str) -> OfferedAssignment:
        key = (offering, assignment)
        if key not in self._tasks:
            self._tasks[key] = self.session.scalar(
                select(OfferedAssignment)
                .join(Offering, Offering.id == OfferedAssignment.offering_id)
                .join(Assignment, Assignment.id == OfferedAssignment.assignment_id)
                .where(Offering.key == offering, Assignment.key == assignment)
            )
        task = self._tasks[key]
        if task is None:
            raise Refused(
                sentence("Central does not offer this assignment; offer it, then apply again.")
            )
        return task

    def _release(self, task: OfferedAssignment, bare: str) -> Release:
        key = (task.assignment_id, bare)
        if key not in self._releases:
            self._releases[key] = self.session.scalar(
                select(Release).where(
                    Release.assignment_id == task.assignment_id,
                    Release.digest == f"sha256:{bare}",
                    Release.staged.is_(False),
                )
            )
        release = self._releases[key]
        if release is None:
            raise Refused(sentence("It was made with a release that central has never published."))
        return release

    def _files(
        self, files: list[list[Any]], release: Release
    ) -> tuple[list[dict[str, Any]], Digest]:
        contents = {}
        listing = []
        for path, bare, size in files:
            digest = parse_digest(f"sha256:{bare}")
            try:
                contents[path] = self.blobs.get(digest)
            except NotFoundError as error:
                raise Waits from error
            listing.append({"path": path, "digest": digest, "bytes": size})
        try:
            clean = check_files(contents, [notebook["name"] for notebook in release.notebooks])
        except BadSubmissionError as error:
            raise Refused(error.sentence) from error
        if list(clean) != [entry["path"] for entry in listing] or any(
            len(clean[entry["path"]]) != entry["bytes"] for entry in listing
        ):
            raise Refused(sentence("The list of files does not fit the files."))
        return listing, submission_digest(clean)
