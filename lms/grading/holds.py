"""Held runs: scores that wait for a person, and what the person decides.

While a run is held its student sees neither score nor feedback, and it does not count. Who decided,
when and why stands in the run's row; the audit log has the act, and a digest of who and why.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session, aliased

from lms.catalogue.models import OfferedAssignment, Offering
from lms.exchange.models import Submission
from lms.foundation.errors import ConflictError, InvalidError, NotFoundError
from lms.foundation.events import publish
from lms.grading.audit import Act, append, decision_digest, new_salt
from lms.grading.events import RunDecided
from lms.grading.models import Run
from lms.grading.queue import enqueue
from lms.grading.rules import Verdict
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.grading import Integrity
from lms.protocol.sentences import Sentence, sentence

Columns = TypeVarTuple("Columns")

_MAX_REASON = 2_000
_ACTS = {
    Verdict.RELEASED: Act.RELEASED,
    Verdict.ZERO: Act.REJECTED,
    Verdict.SET_ASIDE: Act.REJECTED,
    Verdict.REGRADED: Act.REGRADE_ASKED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """One run that waits for a person."""

    run: Run
    submission: Submission
    task: OfferedAssignment
    person: Person

    @property
    def reason(self) -> Sentence | None:
        """Why it is held; for staff."""
        return None if self.run.hold_reason is None else Sentence.from_json(self.run.hold_reason)


def told(run: Run) -> Sentence | None:
    """Return what the student is told about a held run or a person's decision on it."""
    if run.held:
        return sentence(
            "A person will look at this submission before its score is shown. "
            "There is nothing you have to do."
        )
    if run.verdict == Verdict.ZERO:
        return sentence(
            "A person looked at this submission, and it counts with 0 points: %(reason)s",
            reason=run.verdict_reason or "",
        )
    if run.verdict == Verdict.SET_ASIDE:
        return sentence(
            "A person looked at this submission, and it does not count: %(reason)s",
            reason=run.verdict_reason or "",
        )
    return None


def list_held(session: Session, offering_id: int, *, actor: Actor) -> list[HeldRun]:
    """Return the offering's runs that wait for a person, the oldest first."""
    actor.require("submission:read", offering_id)
    rows = session.execute(
        _held(select(Run, Submission, OfferedAssignment, Person))
        .join(Person, Person.id == Submission.person_id)
        .where(OfferedAssignment.offering_id == offering_id)
        .order_by(Run.finished_at, Run.id)
    )
    return [
        HeldRun(run=run, submission=submission, task=task, person=person)
        for run, submission, task, person in rows
    ]


def count_held(session: Session, offering_ids: Iterable[int]) -> dict[int, dict[Integrity, int]]:
    """Return how many runs wait for a person, by offering and by what is known of them."""
    rows = session.execute(
        _held(select(OfferedAssignment.offering_id, Run.integrity, func.count()))
        .where(OfferedAssignment.offering_id.in_(list(offering_ids)))
        .group_by(OfferedAssignment.offering_id, Run.integrity)
    )
    found: dict[int, dict[Integrity, int]] = {}
    for offering_id, integrity, count in rows:
        found.setdefault(offering_id, {})[Integrity(integrity or Integrity.UNVERIFIED)] = count
    return found


def _held(query: Select[*Columns]) -> Select[*Columns]:
    """Narrow to the newest run of each submission that is held."""
    return (
        query.select_from(Run)
        .join(Submission, Submission.id == Run.submission_id)
        .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
        .where(Run.held.is_(True), Run.preview.is_(False), _is_newest())
    )


def _is_newest() -> ColumnElement[bool]:
    other = aliased(Run)
    return ~(
        select(other.id)
        .where(
            other.submission_id == Run.submission_id,
            other.number > Run.number,
            other.preview.is_(False),
        )
        .exists()
    )


def release(session: Session, run_id: int, *, actor: Actor, now: datetime, reason: str = "") -> Run:
    """Let a held run's score stand: it is shown and counted from now on."""
    return _decide(session, run_id, Verdict.RELEASED, reason, actor=actor, now=now)


def reject(
    session: Session,
    run_id: int,
    reason: str,
    *,
    counts: bool,
    actor: Actor,
    now: datetime,
) -> Run:
    """Refuse a held run's score, with a reason that its student reads.

    It counts with no points, or (`counts` false) the attempt is set aside as if not handed in.
    """
    if not reason.strip():
        raise InvalidError(
            sentence("Write the reason: it is shown to the student and kept with the result.")
        )
    verdict = Verdict.ZERO if counts else Verdict.SET_ASIDE
    return _decide(session, run_id, verdict, reason, actor=actor, now=now)


def ask_regrade(
    session: Session, run_id: int, *, actor: Actor, now: datetime, reason: str = ""
) -> Run:
    """Have a held run's submission run anew; returns the new run, which then counts."""
    old = _decide(session, run_id, Verdict.REGRADED, reason, actor=actor, now=now)
    run = enqueue(session, old.submission_id, now=now)
    run.release_id, run.fresh = old.release_id, True
    session.flush()
    return run


def set_practice(session: Session, offering: Offering, *, practice: bool, actor: Actor) -> None:
    """Say whether an offering shows scores that nobody could verify; held runs stay held."""
    actor.require("submission:decide", offering.id)
    offering.practice = practice
    session.flush()


def _decide(
    session: Session, run_id: int, verdict: Verdict, reason: str, *, actor: Actor, now: datetime
) -> Run:
    run = _get_held(session, run_id, actor)
    run.held = False
    run.verdict, run.verdict_reason = verdict, reason.strip()[:_MAX_REASON]
    run.verdict_salt, run.released_at = new_salt(), now
    run.released_by = actor.person_id or None
    session.flush()
    body = {"run": run.audit_id, "verdict": verdict.value, "decision": decision_of(run)}
    append(session, _ACTS[verdict], body, now=now)
    publish(session, RunDecided(run_id=run.id, at=now))
    return run


def decision_of(run: Run) -> str:
    """Return the digest of a decision, as the audit log has it."""
    return decision_digest(
        run.verdict_salt or "", by=run.released_by, verdict=run.verdict, reason=run.verdict_reason
    )


def _get_held(session: Session, run_id: int, actor: Actor) -> Run:
    """Return the run, locked: two people who decide at once do not both win."""
    run = session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.preview.is_(False))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    offering_id = session.scalar(
        select(OfferedAssignment.offering_id)
        .join(Submission, Submission.task_id == OfferedAssignment.id)
        .join(Run, Run.submission_id == Submission.id)
        .where(Run.id == run_id)
    )
    if run is None or not actor.may("submission:read", offering_id):
        raise NotFoundError(sentence("There is no such run, or it is not yours to see."))
    actor.require("submission:decide", offering_id)
    if not run.held:
        raise ConflictError(
            sentence("This run is not held, or somebody has decided already; look at it again.")
        )
    return run
