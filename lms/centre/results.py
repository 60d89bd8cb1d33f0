"""A result that a centre graded becomes a provisional run at central, never more than it can be.

The document behind it holds the centre's signed grade receipt and what was found cell by cell; both
must say the same, and fit the release that central has published.
"""

import json
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment, Release
from lms.centre.batch import Attempt, Batch, insert_row
from lms.centre.keys import read_keys
from lms.centre.models import Centre, CentreRecord, CentreResult
from lms.centre.outcome import Refused, Waits
from lms.centre.rules import Kind, RecordState, ResultState, from_millis, points_of
from lms.foundation.blobs import BlobStore, parse_digest
from lms.foundation.errors import InvalidError
from lms.foundation.signing import read_signed
from lms.grading.audit import Act, append
from lms.grading.models import CellScore, NotebookRun, Run
from lms.grading.rules import Verdict
from lms.protocol.grading import Integrity, RunStatus
from lms.protocol.sentences import sentence

_ENDED = frozenset(RunStatus) - {RunStatus.QUEUED, RunStatus.RUNNING}
_MAX_DOCUMENT = 8 << 20
_OPEN = frozenset({RecordState.NEW, RecordState.WAITING})
#: What floating point may add up to differently.
_CLOSE = 1e-6


@dataclass(slots=True)
class Results:
    """Turns results and decisions of one centre into runs; `made` are those of this transaction."""

    session: Session
    blobs: BlobStore
    centre: Centre
    batch: Batch
    now: datetime
    made: list[CentreResult] = field(default_factory=list)
    _cells: list[dict[str, Any]] = field(default_factory=list)
    _releases: dict[object, Release] = field(default_factory=dict)

    def store_cells(self) -> None:
        """Store the cells of all results at once."""
        if self._cells:
            self.session.execute(insert(CellScore), self._cells)
            self._cells = []

    def result(self, row: CentreRecord, details: dict[str, Any], person_id: int) -> None:
        """Keep the run as the centre found it."""
        del person_id
        source = self._referred(details["of"], Kind.SUBMISSION, row)
        submission = self.batch.attempt(source.submission_id or 0)
        release = self._release(submission, details.get("release"))
        document = self._document(details["doc"])
        self._check_receipt(details, document, submission, release)
        _check_scores(details, document, release)
        run = self._run(row, details, document, submission, release)
        row.submission_id, row.run_id = submission.id, run
        result = CentreResult(
            run_id=run,
            centre=self.centre.id,
            record=row.record,
            checkpoint_id=row.checkpoint_id,
            state=ResultState.PROVISIONAL,
        )
        self.session.add(result)
        self.made.append(result)

    def grade(self, row: CentreRecord, details: dict[str, Any], person_id: int) -> None:
        """Keep what a person at the centre decided, unless somebody at central has decided."""
        del person_id
        source = self._referred(details["of"], Kind.RESULT, row)
        run = self.session.get_one(Run, source.run_id)
        row.submission_id, row.run_id = run.submission_id, run.id
        if run.verdict is not None:
            return
        run.verdict, run.verdict_reason = Verdict(details["verdict"]), str(details["reason"])
        run.held, run.released_at = False, _at(row)

    def _referred(self, name: str, kind: Kind, row: CentreRecord) -> CentreRecord:
        found = self.batch.record(name, row.person)
        if found is not None and found.kind != kind:
            found = None
        if found is not None and found.state in _OPEN:
            raise Waits
        whole = found is not None and (found.submission_id if kind is Kind.SUBMISSION else
                                       found.run_id) is not None  # fmt: skip
        if found is None or not whole:
            raise Refused(sentence("The record that it belongs to was refused or is not there."))
        return found

    def _release(self, submission: Attempt, bare: str | None) -> Release:
        key = (submission.task_id, bare or submission.release_id)
        if key not in self._releases:
            release = self._find_release(submission, bare)
            if release is None:
                raise Refused(
                    sentence("It was graded against a release that central has never published.")
                )
            self._releases[key] = release
        return self._releases[key]

    def _find_release(self, submission: Attempt, bare: str | None) -> Release | None:
        if bare is None:
            return self.session.get_one(Release, submission.release_id)
        task = self.session.get_one(OfferedAssignment, submission.task_id)
        return self.session.scalar(
            select(Release).where(
                Release.assignment_id == task.assignment_id,
                Release.digest == f"sha256:{bare}",
                Release.staged.is_(False),
            )
        )

    def _document(self, bare: str) -> dict[str, Any]:
        digest = parse_digest(f"sha256:{bare}")
        if digest not in self.blobs:
            raise Waits
        content = self.blobs.get(digest)
        if len(content) > _MAX_DOCUMENT:
            raise ValueError("too large")
        document: dict[str, Any] = json.loads(content)
        return document

    def _check_receipt(
        self,
        details: dict[str, Any],
        document: dict[str, Any],
        submission: Attempt,
        release: Release,
    ) -> None:
        try:
            keys = read_keys(self.centre.receipt_keys)
            record = read_signed(document["receipt"] or "", keys)
        except InvalidError as error:
            raise Refused(sentence("Its grade receipt is missing or does not hold.")) from error
        said = (record["digests"]["submission"], record["digests"]["release"],
                record["status"], record["score"], record["max_score"])  # fmt: skip
        meant = (submission.digest, release.digest,
                 details["status"], details["score"], details["max"])  # fmt: skip
        cells = [_plain(notebook) for notebook in document["notebooks"]]
        if said != meant or cells != [_plain(notebook) for notebook in record["notebooks"]]:
            raise Refused(sentence("Its grade receipt says something else than the record."))

    def _run(
        self,
        row: CentreRecord,
        details: dict[str, Any],
        document: dict[str, Any],
        submission: Attempt,
        release: Release,
    ) -> int:
        values = {
            "submission_id": submission.id,
            "number": self.batch.next_run(submission.id),
            "status": RunStatus(details["status"]),
            "queued_at": submission.submitted_at,
            "finished_at": min(_at(row), self.now),
            "score": details["score"],
            "max_score": details["max"],
            "integrity": _integrity(document["integrity"]),
            "reason": document["reason"],
            "unsafe": bool(document["unsafe"]),
            "offering_id": submission.offering_id,
            "release_id": None if release.id == submission.release_id else release.id,
            "held": bool(details["held"]),
            "hold_reason": document["hold_reason"],
        }
        notebooks = [_notebook(entry) for entry in document["notebooks"]]
        cells = [[_cell(cell) for cell in entry["cells"]] for entry in document["notebooks"]]
        run = insert_row(self.session, Run, values)
        for notebook, scores in zip(notebooks, cells, strict=True):
            made = insert_row(self.session, NotebookRun, notebook | {"run_id": run})
            self._cells += [cell | {"notebook_run_id": made} for cell in scores]
        if values["held"]:
            hold(self.session, self.session.get_one(Run, run), now=self.now)
        return run


def hold(session: Session, run: Run, *, now: datetime) -> None:
    """Hold a centre's run for a person: from now on the audit log knows it by a name."""
    run.held = True
    if run.audit_id is None:
        run.audit_id = str(uuid.uuid4())
        body = {"run": run.audit_id, "receipt": None, "preview": False}
        append(session, Act.FINISHED, body, now=now)
    append(session, Act.HELD, {"run": run.audit_id}, now=now)


def _at(row: CentreRecord) -> datetime:
    return from_millis(json.loads(row.body)["at"])


def _check_scores(details: dict[str, Any], document: dict[str, Any], release: Release) -> None:
    if RunStatus(details["status"]) not in _ENDED:
        raise ValueError("not ended")
    worth = points_of(release.notebooks)
    given = 0.0
    for notebook in document["notebooks"]:
        for cell in notebook["cells"]:
            most = worth.get((notebook["notebook"], cell["grade_id"]))
            if most is None or not _fits(cell["max_score"], most) or cell["max_score"] != most:
                raise Refused(_OTHER_POINTS)
            given += _checked(cell["auto_score"], most)
        _checked(notebook["score"], release.points)
    score = details["score"]
    if score is not None and _checked(score, release.points) > given + _CLOSE:
        raise Refused(sentence("Its score is more than its cells add up to."))
    if details["max"] is not None and details["max"] > release.points + _CLOSE:
        raise Refused(_OTHER_POINTS)


_OTHER_POINTS = sentence("Its cells or their points are not those of the release.")


def _checked(score: float | None, most: float) -> float:
    if score is None:
        return 0.0
    if not _fits(score, most):
        raise Refused(
            sentence(
                "It gives %(score)s points where %(most)s can be had.",
                score=str(score)[:20],
                most=f"{most:g}",
            )
        )
    return float(score)


def _fits(score: object, most: float) -> bool:
    number = isinstance(score, int | float) and not isinstance(score, bool)
    return number and math.isfinite(score) and 0 <= score <= most + _CLOSE  # type: ignore[arg-type, operator]


def _plain(notebook: dict[str, Any]) -> tuple[object, ...]:
    """Return what a receipt says of a notebook, to be compared."""
    return (notebook["notebook"], notebook["status"], notebook["score"], tuple(_scores(notebook)))


def _scores(notebook: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for cell in notebook["cells"]:
        yield cell["grade_id"], cell["auto_score"], cell["max_score"], cell["needs_manual"]


def _notebook(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "notebook": str(entry["notebook"])[:200],
        "status": RunStatus(entry["status"]),
        "integrity": Integrity(entry["integrity"]),
        "score": float(entry["score"]),
        "max_score": float(entry["max_score"]),
        "reason": entry["reason"],
        "integrity_reason": entry["integrity_reason"],
        "detail": entry["detail"],
    }


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    return {
        "grade_id": str(cell["grade_id"])[:128],
        "auto_score": cell["auto_score"],
        "max_score": cell["max_score"],
        "needs_manual": bool(cell["needs_manual"]),
        "comment": cell["comment"],
        "integrity": _integrity(cell["integrity"]),
        "integrity_reason": cell["integrity_reason"],
    }


def _integrity(value: str | None) -> Integrity | None:
    return None if value is None else Integrity(value)
