"""Grade receipts: the signed record of a finished run, and its place in the audit log.

A receipt names no person: it names the bytes that were handed in, and whoever has them can show
that it is theirs.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.exchange.models import Submission
from lms.exchange.service import get_submission
from lms.foundation.blobs import digest_of
from lms.foundation.errors import ConflictError, NotFoundError
from lms.foundation.signing import Signer
from lms.grading.audit import Act, append, lock_head
from lms.grading.events import RunFinished
from lms.grading.models import CellScore, GradeReceipt, NotebookRun, Run
from lms.grading.runs import latest_run
from lms.identity.scopes import Actor
from lms.protocol.sentences import sentence

#: The form of the record; a new number for every change that an old reader would get wrong.
FORMAT = "seodang-grade-receipt/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Writes the end of every run into the audit log, with a signed receipt where it can sign."""

    #: Returns the key in force; without one there are no receipts.
    signer: Callable[[], Signer] | None = None
    #: Who vouches: the address of this site.
    issuer: str = ""

    def record(self, session: Session, event: RunFinished) -> None:
        """Record a run's end, in the transaction that ends it."""
        signer = None if self.signer is None else self.signer()
        run = session.get_one(Run, event.run_id)
        if run.finished_at is None:
            # It was ended by a statement that this session's objects do not know of.
            session.refresh(run)
        run.audit_id = str(uuid.uuid4())
        session.flush()
        at = run.finished_at
        if at is None:
            raise ValueError("a run that has not finished has no receipt")
        head = lock_head(session)
        document = None
        if signer is not None:
            record = make_record(session, run, issuer=self.issuer, previous=head.hash)
            document = signer.sign(record)
        digest = None if document is None else digest_of(document.encode())
        body = {"run": run.audit_id, "receipt": digest, "preview": run.preview}
        entry = append(session, Act.FINISHED, body, now=at)
        if signer is not None and document is not None and digest is not None:
            session.add(
                GradeReceipt(
                    run_id=run.id,
                    key_id=signer.key_id,
                    document=document,
                    digest=digest,
                    sequence=entry.sequence,
                )
            )
        if run.held:
            append(session, Act.HELD, {"run": run.audit_id}, now=at)
        session.flush()


def make_record(session: Session, run: Run, *, issuer: str, previous: str) -> dict[str, Any]:
    """Return what a receipt says of a finished run; `previous` is the audit log's head."""
    submission = session.get_one(Submission, run.submission_id)
    task = session.scalars(
        select(OfferedAssignment)
        .where(OfferedAssignment.id == submission.task_id)
        .options(
            joinedload(OfferedAssignment.offering),
            joinedload(OfferedAssignment.assignment).joinedload(Assignment.course),
        )
    ).one()
    release = session.get_one(Release, run.release_id or submission.release_id)
    recipe = run.recipe or {}
    return {
        "format": FORMAT,
        "id": run.audit_id,
        "issuer": issuer,
        "grader": f"seodang {version('seodang')}",
        "engine": recipe.get("engine"),
        "course": task.assignment.course.key,
        "offering": task.offering.key,
        "assignment": task.assignment.key,
        "attempt": submission.attempt,
        "submitted_at": submission.submitted_at.isoformat(),
        "digests": {
            "release": release.digest,
            "source": recipe.get("source"),
            "tests": recipe.get("tests"),
            "submission": submission.digest,
            "environment": recipe.get("environment"),
            **({"requirements": release.environment} if release.environment else {}),
        },
        "seed": recipe.get("seed"),
        "limits": recipe.get("limits"),
        "mode": recipe.get("mode"),
        "previous": previous,
        **results_of(run),
    }


def results_of(run: Run) -> dict[str, Any]:
    """Return what a receipt says of a run's results: what pages show from the rows."""
    return {
        "started_at": None if run.started_at is None else run.started_at.isoformat(),
        "finished_at": None if run.finished_at is None else run.finished_at.isoformat(),
        "status": run.status,
        "integrity": run.integrity,
        "sandboxed": not run.unsafe,
        "score": run.score,
        "max_score": run.max_score,
        "notebooks": [_notebook(notebook) for notebook in run.notebooks],
    }


def _notebook(notebook: NotebookRun) -> dict[str, Any]:
    return {
        "notebook": notebook.notebook,
        "status": notebook.status,
        "integrity": notebook.integrity,
        "score": notebook.score,
        "max_score": notebook.max_score,
        "cells": [_cell(cell) for cell in notebook.cells],
    }


def _cell(cell: CellScore) -> dict[str, Any]:
    return {
        "grade_id": cell.grade_id,
        "auto_score": cell.auto_score,
        "max_score": cell.max_score,
        "needs_manual": cell.needs_manual,
        "integrity": cell.integrity,
    }


def get_receipt(session: Session, submission_id: int, *, actor: Actor) -> GradeReceipt:
    """Return the receipt of a submission's standing run, for its owner or whoever may read it.

    Raises ConflictError while the run waits for a person and the asker is its owner alone.
    """
    submission, task = get_submission(session, submission_id, actor=actor)
    run = latest_run(session, submission.id)
    if run is not None and run.held and not actor.may("submission:read", task.offering_id):
        raise ConflictError(
            sentence("A person looks at this submission first; its receipt is here after that.")
        )
    receipt = None if run is None else session.get(GradeReceipt, run.id)
    if receipt is None:
        raise NotFoundError(
            sentence("There is no grade receipt yet; it is made when grading has ended.")
        )
    return receipt
