"""Central takes in a centre's journal: verified, in order, each record once, and never thrown away.

Keeping comes first and changes nothing else; what a record does is lms.centre.applying's work.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from lms.centre.errors import RevokedCentreError, UnknownCentreError
from lms.centre.keys import read_keys
from lms.centre.models import (
    Centre,
    CentreBlob,
    CentreChain,
    CentreCheckpoint,
    CentreOrder,
    CentrePerson,
    CentreRecord,
)
from lms.centre.parcels import Line, Parcel, check_signature, unpack
from lms.centre.rules import (
    NOTHING,
    CentreState,
    Kind,
    RecordState,
    claim_code,
    claim_hash,
    record_id,
    reference,
)
from lms.foundation.blobs import BlobStore, Digest
from lms.foundation.signing import Signer
from lms.protocol.sentences import Sentence, sentence

RECEIPT, ORDER = "seodang-journal-receipt/1", "seodang-erasure/1"
_CHUNK = 500
#: What a record's name is made of.
_NAMED = ("at", "kind", "person", "commit")


class Outcome(StrEnum):
    """How taking in a parcel ended."""

    KEPT = "kept"
    #: Something before it has not come.
    GAP = "gap"
    #: Another history under the same numbers.
    FORK = "fork"
    REVOKED = "revoked"
    #: An epoch that no ticket has opened.
    EPOCH = "epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a parcel; commit whatever it is."""

    outcome: Outcome
    centre: str
    epoch: int
    #: Records that were not there before.
    new: int
    #: How far the chain goes now.
    seq: int
    refusal: Sentence | None = None


def take_in(session: Session, blobs: BlobStore, content: bytes, *, now: datetime) -> Taken:
    """Keep the records of a parcel; raises BadParcelError when it does not hold.

    A parcel that came before, or overlaps what came, adds only what is new.
    """
    parcel = unpack(content)
    centre = session.get(Centre, parcel.centre, with_for_update=True, populate_existing=True)
    if centre is None:
        raise UnknownCentreError(parcel.centre)
    check_signature(parcel, read_keys(centre.keys))
    centre.contact_at = now
    epoch = int(parcel.checkpoint["epoch"])
    if not 1 <= epoch <= centre.epoch:
        return _refuse(Outcome.EPOCH, centre, epoch, 0, _EPOCH)
    place = session.get(CentreChain, (centre.id, epoch))
    if place is None:
        place = CentreChain(centre=centre.id, epoch=epoch, seq=0, hash=NOTHING)
        session.add(place)
    if parcel.checkpoint["from"] > place.seq + 1:
        return _refuse(Outcome.GAP, centre, epoch, place.seq, _GAP)
    if _is_fork(session, parcel, place):
        place.forked_at, place.forked = place.forked_at or now, blobs.put(content)
        return _refuse(Outcome.FORK, centre, epoch, place.seq, _FORK)
    fresh = [line for line in parcel.lines if line.seq > place.seq]
    _keep_sheet(session, centre, parcel)
    if fresh:
        _keep(session, blobs, centre, parcel, fresh, now)
        place.seq, place.hash = fresh[-1].seq, fresh[-1].hash
    session.flush()
    if centre.state == CentreState.REVOKED:
        why = RevokedCentreError(centre.name).sentence
        return _refuse(Outcome.REVOKED, centre, epoch, place.seq, why, new=len(fresh))
    return Taken(outcome=Outcome.KEPT, centre=centre.id, epoch=epoch, new=len(fresh), seq=place.seq)


_EPOCH = sentence(
    "Central does not know this epoch of the centre's journal: bring it the centre's reply first "
    "(lms centre approve)."
)
_GAP = sentence("Earlier records have not come yet; central has asked for them.")
_FORK = sentence(
    "Central has other records under these numbers: this machine was put back from a backup. "
    "Nothing is lost; ask central for a new ticket (lms centre invite --again) and join with it."
)


def _refuse(
    outcome: Outcome, centre: Centre, epoch: int, seq: int, why: Sentence, *, new: int = 0
) -> Taken:
    return Taken(outcome=outcome, centre=centre.id, epoch=epoch, new=new, seq=seq, refusal=why)


def _is_fork(session: Session, parcel: Parcel, place: CentreChain) -> bool:
    """Say whether the parcel tells another history than the one that is kept."""
    first = int(parcel.checkpoint["from"])
    known = dict(
        session.execute(
            select(CentreRecord.seq, CentreRecord.hash).where(
                CentreRecord.centre == place.centre,
                CentreRecord.epoch == place.epoch,
                CentreRecord.seq >= first - 1,
                CentreRecord.seq <= int(parcel.checkpoint["to"]),
            )
        ).all()
    )
    before = known.get(first - 1, NOTHING)
    if before != parcel.checkpoint["start"]:
        return True
    return any(known.get(line.seq, line.hash) != line.hash for line in parcel.lines)


def _keep(
    session: Session,
    blobs: BlobStore,
    centre: Centre,
    parcel: Parcel,
    lines: Sequence[Line],
    now: datetime,
) -> None:
    checkpoint = CentreCheckpoint(
        centre=centre.id,
        epoch=parcel.checkpoint["epoch"],
        first=lines[0].seq,
        last=lines[-1].seq,
        document=parcel.document,
        received_at=now,
    )
    session.add(checkpoint)
    session.flush()
    revoked = centre.state == CentreState.REVOKED
    rows = [
        {
            "centre": centre.id,
            "epoch": checkpoint.epoch,
            "seq": line.seq,
            "record": record_id(*(line.facts[name] for name in _NAMED)),
            "reference": reference(line.facts["commit"]),
            "kind": line.facts["kind"][:12],
            "person": line.facts["person"][:24],
            "body": line.body,
            "details": line.details,
            "hash": line.hash,
            "checkpoint_id": checkpoint.id,
            "received_at": now,
            "state": RecordState.QUARANTINED if revoked else RecordState.NEW,
        }
        for line in lines
    ]
    session.execute(insert(CentreRecord), rows)
    _want_blobs(session, blobs, centre.id, lines)


def _want_blobs(session: Session, blobs: BlobStore, centre: str, lines: Sequence[Line]) -> None:
    named = {digest for line in lines for digest in named_blobs(line.details)}
    missing = sorted(digest for digest in named if digest not in blobs)
    if missing:
        known = set(session.scalars(select(CentreBlob.digest).where(CentreBlob.centre == centre)))
        rows = [{"centre": centre, "digest": one} for one in missing if one not in known]
        if rows:
            session.execute(insert(CentreBlob), rows)


def named_blobs(details: str | None) -> Iterator[Digest]:
    """Yield the digests of the blobs that a record's details name; what is no digest is passed."""
    if details is None:
        return
    try:
        facts: dict[str, Any] = json.loads(details)
        found = [entry[1] for entry in facts.get("files", ())] + [facts.get("doc")]
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, RecursionError):
        # Applying it will say what is wrong with it.
        return
    for bare in found:
        if isinstance(bare, str) and len(bare) == len(NOTHING) and set(bare) <= _HEX:
            yield Digest(f"sha256:{bare}")


_HEX = frozenset("0123456789abcdef")


def _keep_sheet(session: Session, centre: Centre, parcel: Parcel) -> None:
    """Take over the salts of people, which may be erased again, and the keys of receipts."""
    keys = parcel.sheet.get("receipt_keys")
    if read_keys(keys):
        centre.receipt_keys = keys  # type: ignore[assignment]  # read_keys has looked at it
    people = parcel.sheet.get("people", {})
    names = sorted(people)
    known: dict[str, CentrePerson] = {}
    for at in range(0, len(names), _CHUNK):
        rows = session.scalars(
            select(CentrePerson).where(
                CentrePerson.centre == centre.id, CentrePerson.name.in_(names[at : at + _CHUNK])
            )
        )
        known |= {row.name: row for row in rows}
    for name in names:
        row = known.get(name)
        if row is None:
            row = CentrePerson(centre=centre.id, name=name[:24])
            session.add(row)
        about = people[name]
        if row.erased_at is None and row.salt is None:
            row.salt, row.claim = about["salt"], claim_hash(claim_code(about["salt"]))
            row.display_name = about["name"][:100]


def wanted_blobs(session: Session, centre: str) -> list[str]:
    """Return the digests that central still lacks from a centre."""
    return list(
        session.scalars(
            select(CentreBlob.digest).where(CentreBlob.centre == centre).order_by(CentreBlob.digest)
        )
    )


def note_blob(session: Session, digest: str) -> None:
    """Note that a blob has come, whoever sent it."""
    session.execute(delete(CentreBlob).where(CentreBlob.digest == digest))


def make_answer(
    session: Session, centre: Centre, epoch: int, signer: Signer, *, refusal: Sentence | None,
    now: datetime,
) -> str:  # fmt: skip
    """Return what central signs for a centre: what it has of an epoch, what it lacks, its orders.

    `complete` is how far everything is here, blobs too: only that may be let go at the centre.
    """
    place = session.get(CentreChain, (centre.id, epoch))
    wanted = wanted_blobs(session, centre.id)
    seq, head = (0, NOTHING) if place is None else (place.seq, place.hash)
    orders = session.scalars(
        select(CentreOrder.document)
        .where(CentreOrder.centre == centre.id, CentreOrder.done_at.is_(None))
        .order_by(CentreOrder.id)
    )
    return signer.sign(
        {
            "format": RECEIPT,
            "centre": centre.id,
            "epoch": epoch,
            "to": seq,
            "head": head,
            "complete": _complete(session, centre.id, epoch, seq, set(wanted)),
            "wanted": wanted,
            "orders": list(orders),
            "refusal": None if refusal is None else refusal.to_json(),
            "time": now.isoformat(),
        }
    )


def _complete(session: Session, centre: str, epoch: int, seq: int, wanted: set[str]) -> int:
    """Return up to which record nothing is lacking."""
    if not wanted:
        return seq
    rows = session.execute(
        select(CentreRecord.seq, CentreRecord.details)
        .where(
            CentreRecord.centre == centre,
            CentreRecord.epoch == epoch,
            CentreRecord.kind.in_([Kind.SUBMISSION, Kind.RESULT]),
        )
        .order_by(CentreRecord.seq)
    )
    for number, details in rows:
        if not wanted.isdisjoint(named_blobs(details)):
            return int(number) - 1
    return seq
