"""Checking what was written down: the audit log's chain, every receipt's link, every decision."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.foundation.blobs import digest_of
from lms.foundation.errors import InvalidError
from lms.foundation.signing import canonical, read_signed
from lms.grading.audit import Act, Flaw, Head, body_of, check_chain, entries
from lms.grading.holds import decision_of
from lms.grading.models import AuditEntry, GradeReceipt, RegradePlan, Run
from lms.grading.receipts import results_of
from lms.grading.regrades import decision_of as plan_decision

_PLANS = frozenset({Act.REGRADE_APPLIED, Act.REGRADE_DISCARDED})
_DECISIONS = frozenset({Act.RELEASED, Act.REJECTED, Act.REGRADE_ASKED})


@dataclass(slots=True, kw_only=True)
class AuditReport:
    """What a check of the audit log found."""

    head: Head
    entries: int = 0
    receipts: int = 0
    flaws: list[Flaw] = field(default_factory=list)
    #: Whether the head that was asked for stands in the chain; None when none was asked for.
    knows_head: bool | None = None

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.flaws and self.knows_head is not False


def check_log(
    session: Session, keys: Mapping[str, Ed25519PublicKey], *, known_head: str | None = None
) -> AuditReport:
    """Check the chain, and each receipt, run and decision against it.

    A chain cannot show that its end was cut off: `known_head`, a hash noted down earlier, can.
    """
    head, flaws = check_chain(session)
    report = AuditReport(head=head, entries=head.sequence, flaws=flaws)
    report.receipts = session.scalar(select(func.count()).select_from(GradeReceipt)) or 0
    if known_head is not None:
        found = session.scalar(select(AuditEntry.sequence).where(AuditEntry.hash == known_head))
        report.knows_head = found is not None
    ended: dict[str, int] = {}
    for entry in entries(session):
        report.flaws += _check_entry(session, entry, ended, keys)
    for audit_id in session.scalars(select(Run.audit_id).where(Run.audit_id.is_not(None))):
        if audit_id not in ended:
            report.flaws.append(Flaw(sequence=0, problem=f"the end of run {audit_id} is missing"))
    report.flaws.sort(key=lambda flaw: flaw.sequence)
    return report


def _check_entry(
    session: Session,
    entry: AuditEntry,
    ended: dict[str, int],
    keys: Mapping[str, Ed25519PublicKey],
) -> Iterator[Flaw]:
    try:
        body = body_of(entry)
    except ValueError:
        return  # the chain's check has said so
    run = session.scalar(select(Run).where(Run.audit_id == body.get("run")))
    if entry.kind == Act.FINISHED:
        name = str(body.get("run"))
        if name in ended:
            yield Flaw(sequence=entry.sequence, problem=f"run {name} ended before")
        ended[name] = entry.sequence
        if body.get("receipt") is not None:
            problem = _receipt_problem(session, entry, str(body["receipt"]), run, keys)
            if problem:
                yield Flaw(sequence=entry.sequence, problem=problem)
    elif entry.kind in _PLANS and not _is_planned(session, body.get("decision")):
        yield Flaw(sequence=entry.sequence, problem="who decided the regrade was changed")
    elif entry.kind in _DECISIONS and _is_other_decision(run, body.get("decision")):
        problem = "who decided, what or why was changed after it was written down"
        yield Flaw(sequence=entry.sequence, problem=problem)


def _is_planned(session: Session, digest: object) -> bool:
    plans = session.scalars(select(RegradePlan)).all()
    return any(not plan.salt or plan_decision(plan) == digest for plan in plans)


def _is_other_decision(run: Run | None, digest: object) -> bool:
    # Without its salt, as after a person was erased, a decision can no longer be compared.
    return run is not None and run.verdict_salt is not None and decision_of(run) != digest


def _receipt_problem(
    session: Session,
    entry: AuditEntry,
    digest: str,
    run: Run | None,
    keys: Mapping[str, Ed25519PublicKey],
) -> str:
    receipt = None if run is None else session.get(GradeReceipt, run.id)
    if receipt is None:
        return "its receipt is missing"
    if digest_of(receipt.document.encode()) != digest or receipt.digest != digest:
        return "its receipt was changed"
    try:
        record = read_signed(receipt.document, keys)
    except InvalidError as error:
        return f"its receipt does not hold: {error}"
    if record.get("previous") != entry.previous_hash or receipt.sequence != entry.sequence:
        return "its receipt stands at another place of the chain"
    return _result_problem(record, run)


def _result_problem(record: dict[str, object], run: Run | None) -> str:
    """Compare a receipt with the row that pages show."""
    if run is None:
        return ""
    shown = results_of(run)
    for name, value in shown.items():
        if canonical(record.get(name)) != canonical(value):
            return f"what is stored as {name} differs from its receipt"
    return ""
