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

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment, Release
from lms.centre.batch import Attempt, Batch, Row, insert_rows
from lms.centre.keys import read_keys
from lms.centre.models import Centre, CentreResult
from lms.centre.outcome import Refused, Waits
from lms.centre.rules import Kind, RecordState, ResultState, from_millis, points_of
from lms.foundation.blobs import BlobStore, parse_digest
from lms.foundation.errors import InvalidError, NotFoundError
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


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A run that is not stored yet, by the values of its rows."""

    row: Row
    values: dict[str, Any]
    notebooks: list[dict[str, Any]]
    #: By notebook.
    cells: list[list[dict[str, Any]]]


@dataclass(slots=True)
class Results:
    """Turns results and decisions of one centre into runs; `made` are those results."""

    session: Session
    blobs: BlobStore
    centre: Centre
    batch: Batch
    now: datetime
    made: list[Row] = field(default_factory=list)
    _fresh: list[_Fresh] = field(default_factory=list)
    _releases: dict[object, Release] = field(default_factory=dict)
    _keys: dict[str, Ed25519PublicKey] | None = None

    def result(self, row: Row, details: dict[str, Any], person_id: int) -> None:
        """Make the run as the centre found it; it is written by `store`."""
        del person_id
        source = self._referred(details["of"], Kind.SUBMISSION, row)
        submission = self.batch.attempt(source.submission_id or 0)
        release = self._release(submission, details.get("release"))
        document = self._document(details["doc"])
        self._check_receipt(details, document, submission, release)
        _check_scores(details, document, release)
        notebooks = [_notebook(entry) for entry in document["notebooks"]]
        cells = [[_cell(cell) for cell in entry["cells"]] for entry in document["notebooks"]]
        values = self._run(row, details, document, submission, release)
        row.submission_id = submission.id
        self._fresh.append(_Fresh(row, values, notebooks, cells))

    def store(self) -> None:
        """Write all runs at once, with their notebooks and cells."""
        fresh, self._fresh = self._fresh, []
        runs = insert_rows(self.session, Run, [one.values for one in fresh])
        notebooks, cells, results = [], [], []
        for one, run in zip(fresh, runs, strict=True):
            one.row.run_id = run
            notebooks += [notebook | {"run_id": run} for notebook in one.notebooks]
            results.append(self._result(one.row, run))
        made = iter(insert_rows(self.session, NotebookRun, notebooks))
        for one in fresh:
            for scores in one.cells:
                number = next(made)
                cells += [cell | {"notebook_run_id": number} for cell in scores]
        for table, rows in ((CellScore, cells), (CentreResult, results)):
            if rows:
                self.session.execute(insert(table), rows)
        for one, run in zip(fresh, runs, strict=True):
            if one.values["held"]:
                hold(self.session, self.session.get_one(Run, run), now=self.now)
        self.made += [one.row for one in fresh]

    def _result(self, row: Row, run: int) -> dict[str, Any]:
        return {
            "run_id": run,
            "centre": self.centre.id,
            "record": row.record,
            "checkpoint_id": row.checkpoint_id,
            "state": ResultState.PROVISIONAL,
        }

    def grade(self, row: Row, details: dict[str, Any], person_id: int) -> None:
        """Keep what a person at the centre decided, unless somebody at central has decided."""
        del person_id
        source = self._referred(details["of"], Kind.RESULT, row)
        run = self.session.get_one(Run, source.run_id)
        row.submission_id, row.run_id = run.submission_id, run.id
        if run.verdict is not None:
            return
        run.verdict, run.verdict_reason = Verdict(details["verdict"]), str(details["reason"])
        run.held, run.released_at = False, _at(row)

    def _referred(self, name: str, kind: Kind, row: Row) -> Row:
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
        try:
            content = self.blobs.get(digest)
        except NotFoundError as error:
            raise Waits from error
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
            if self._keys is None:
                self._keys = read_keys(self.centre.receipt_keys)
            record = read_signed(document["receipt"] or "", self._keys)
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
        row: Row,
        details: dict[str, Any],
        document: dict[str, Any],
        submission: Attempt,
        release: Release,
    ) -> dict[str, Any]:
        return {
            "submission_id": submission.id,
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
            # Last: what was refused above must leave no gap.
            "number": self.batch.next_run(submission.id),
        }


def hold(session: Session, run: Run, *, now: datetime) -> None:
    """Hold a centre's run for a person: from now on the audit log knows it by a name."""
    run.held = True
    if run.audit_id is None:
        run.audit_id = str(uuid.uuid4())
        body = {"run": run.audit_id, "receipt": None, "preview": False}
        append(session, Act.FINISHED, body, now=now)
    append(session, Act.HELD, {"run": run.audit_id}, now=now)


def _at(row: Row) -> datetime:
    return from_millis(row.facts["at"])


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
