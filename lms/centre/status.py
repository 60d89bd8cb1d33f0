"""How syncing stands: a centre's own view, and central's table of centres."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.centre.models import (
    Centre,
    CentreBlob,
    CentreChain,
    CentreConflict,
    CentreOrder,
    CentreOrigin,
    CentreRecord,
    CentreResult,
    CentreSelf,
)
from lms.centre.rules import RecordState, ResultState
from lms.centre.sending import newest
from lms.protocol.sentences import Sentence


def own_status(session: Session, me: CentreSelf, *, now: datetime) -> dict[str, Any]:
    """Return a centre's own view as JSON values."""
    last = newest(session, me)
    return {
        "mode": "centre",
        "name": me.name,
        "centre": me.centre,
        "central": me.central_url,
        "epoch": me.epoch,
        "last_contact": _instant(me.contact_at),
        "records": last,
        "waiting": last - me.complete_to,
        "clock_ok": now >= me.signed_at,
        "refusal": None if me.refusal is None else str(Sentence.from_json(me.refusal)),
    }


def central_status(session: Session) -> dict[str, Any]:
    """Return central's table of centres as JSON values."""
    centres = session.scalars(select(Centre).order_by(Centre.name)).all()
    return {"mode": "central", "centres": [_centre(session, centre) for centre in centres]}


def refusals(session: Session, centre: Centre, limit: int = 50) -> list[dict[str, Any]]:
    """Return what central would not take over from a centre, the newest first, and why."""
    rows = session.scalars(
        select(CentreRecord)
        .where(CentreRecord.centre == centre.id, CentreRecord.state == RecordState.REFUSED)
        .order_by(CentreRecord.id.desc())
        .limit(limit)
    )
    return [
        {
            "epoch": row.epoch,
            "record": row.seq,
            "kind": row.kind,
            "reason": "" if row.reason is None else str(Sentence.from_json(row.reason)),
        }
        for row in rows
    ]


def conflicts(session: Session, centre: Centre, limit: int = 50) -> list[dict[str, Any]]:
    """Return where two truths met, the newest first, and what was decided."""
    rows = session.scalars(
        select(CentreConflict)
        .where(CentreConflict.centre == centre.id)
        .order_by(CentreConflict.id.desc())
        .limit(limit)
    )
    return [
        {
            "kind": row.kind,
            "submission": row.submission_id,
            "other": row.other_id,
            "decision": str(Sentence.from_json(row.decision)),
        }
        for row in rows
    ]


def disputes(session: Session, centre: Centre) -> list[dict[str, Any]]:
    """Return the results that central's own grading does not confirm: both runs."""
    rows = session.scalars(
        select(CentreResult)
        .where(CentreResult.centre == centre.id, CentreResult.state == ResultState.DISPUTED)
        .order_by(CentreResult.run_id)
    )
    return [{"run": row.run_id, "central_run": row.audit_run_id} for row in rows]


def _centre(session: Session, centre: Centre) -> dict[str, Any]:
    records = _by_state(session, CentreRecord.state, CentreRecord.centre == centre.id)
    return {
        "name": centre.name,
        "centre": centre.id,
        "state": centre.state,
        "epoch": centre.epoch,
        "software": centre.software,
        "last_contact": _instant(centre.contact_at),
        "records": records,
        "waiting": records.get(RecordState.WAITING, 0) + records.get(RecordState.NEW, 0),
        "files_wanted": _count(session, CentreBlob, CentreBlob.centre == centre.id),
        "submissions": _count(session, CentreOrigin, CentreOrigin.centre == centre.id),
        "results": _by_state(session, CentreResult.state, CentreResult.centre == centre.id),
        "audit_rate": centre.audit_rate,
        "forked": _count(
            session,
            CentreChain,
            (CentreChain.centre == centre.id) & CentreChain.forked_at.is_not(None),
        ),
        "erasures_open": _count(
            session,
            CentreOrder,
            (CentreOrder.centre == centre.id) & CentreOrder.done_at.is_(None),
        ),
        "refused": refusals(session, centre),
        "conflicts": conflicts(session, centre),
        "disputes": disputes(session, centre),
    }


def _by_state(session: Session, column: Any, where: Any) -> dict[str, int]:  # noqa: ANN401
    rows = session.execute(select(column, func.count()).where(where).group_by(column))
    return {str(state): count for state, count in rows}


def _count(session: Session, table: type, where: Any) -> int:  # noqa: ANN401
    return session.scalar(select(func.count()).select_from(table).where(where)) or 0


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
