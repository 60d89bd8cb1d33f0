"""A centre's side of syncing: what goes up, and what central's signed answers say."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.centre.keys import read_keys
from lms.centre.models import CentreSelf, JournalPerson, JournalRecord
from lms.centre.parcels import MAX_RECORDS, pack
from lms.centre.receiving import RECEIPT, named_blobs
from lms.centre.rules import NOTHING
from lms.foundation.errors import InvalidError
from lms.foundation.signing import Signer, read_signed
from lms.identity.models import Person
from lms.protocol.sentences import Sentence, sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What central has signed."""

    epoch: int
    #: How far central has the journal, and with all blobs.
    to: int
    complete: int
    #: Digests of blobs that it lacks.
    wanted: tuple[str, ...]
    #: Signed orders to erase somebody.
    orders: tuple[str, ...]
    refusal: Sentence | None
    #: Central's clock when it signed.
    signed_at: datetime


def make_parcel(
    session: Session,
    me: CentreSelf,
    signer: Signer,
    *,
    after: int,
    receipt_keys: Mapping[str, Any],
    limit: int = MAX_RECORDS,
) -> bytes | None:
    """Return the parcel of the records after `after`; None when there are none."""
    rows = session.scalars(
        select(JournalRecord)
        .where(JournalRecord.epoch == me.epoch, JournalRecord.seq > after)
        .order_by(JournalRecord.seq)
        .limit(limit)
    ).all()
    if not rows:
        return None
    start = NOTHING if after == 0 else session.get_one(JournalRecord, (me.epoch, after)).hash
    return pack(
        signer,
        centre=me.centre,
        epoch=me.epoch,
        first=after + 1,
        start=start,
        sheet={
            "people": _sheet(session, {row.person for row in rows}),
            "receipt_keys": {"keys": [dict(key) for key in receipt_keys["keys"]]},
        },
        records=[(row.body, row.details) for row in rows],
    )


def _sheet(session: Session, names: set[str]) -> dict[str, dict[str, str]]:
    rows = session.execute(
        select(JournalPerson.name, JournalPerson.salt, Person.display_name)
        .join(Person, Person.id == JournalPerson.person_id)
        .where(JournalPerson.name.in_(names), JournalPerson.salt.is_not(None))
    )
    return {name: {"salt": str(salt), "name": display} for name, salt, display in rows}


def read_answer(session: Session, me: CentreSelf, text: str, *, now: datetime) -> Answer:
    """Believe what central has signed about this centre, and note it; raises InvalidError.

    An older answer than the newest changes nothing but what it can only add.
    """
    record = read_signed(text, read_keys(me.central_keys))
    if record.get("format") != RECEIPT or record["centre"] != me.centre:
        raise InvalidError(sentence("This answer of central is for another centre."))
    answer = Answer(
        epoch=int(record["epoch"]),
        to=int(record["to"]),
        complete=int(record["complete"]),
        wanted=tuple(record["wanted"]),
        orders=tuple(record["orders"]),
        refusal=None if record["refusal"] is None else Sentence.from_json(record["refusal"]),
        signed_at=datetime.fromisoformat(record["time"]),
    )
    signed_at = answer.signed_at
    if signed_at >= me.signed_at:
        me.refusal, me.contact_at = record["refusal"], now
    me.signed_at = max(me.signed_at, signed_at)
    if answer.epoch == me.epoch and answer.to:
        _compare(session, me, answer, str(record["head"]), text)
    session.flush()
    return answer


def _compare(session: Session, me: CentreSelf, answer: Answer, head: str, text: str) -> None:
    """Note how far central has everything, if it is what is here too."""
    mine = session.get(JournalRecord, (me.epoch, answer.to))
    if mine is None or mine.hash != head:
        # This machine was put back from a backup: central has more, or something else.
        me.refusal = _PUT_BACK.to_json()
        return
    if answer.complete > me.complete_to:
        me.complete_to, me.receipt = answer.complete, text


_PUT_BACK = sentence(
    "Central has records of this centre that are not here: this machine was put back from a "
    "backup. Nothing is lost; ask central for a new ticket and join with it."
)


def newest(session: Session, me: CentreSelf) -> int:
    """Return the number of the newest record of this epoch."""
    found = session.scalar(
        select(func.max(JournalRecord.seq)).where(JournalRecord.epoch == me.epoch)
    )
    return found or 0


def blobs_after(session: Session, me: CentreSelf, after: int) -> Iterator[str]:
    """Yield the digests of the blobs that the records after `after` name."""
    details = session.scalars(
        select(JournalRecord.details)
        .where(JournalRecord.epoch == me.epoch, JournalRecord.seq > after)
        .order_by(JournalRecord.seq)
    )
    for text in details:
        yield from named_blobs(text)


def sign_request(signer: Signer, centre: str, method: str, path: str) -> str:
    """Return the header by which central knows who asks; what is sent is checked by itself."""
    record = {"format": REQUEST, "centre": centre, "method": method, "path": path}
    return json.dumps(json.loads(signer.sign(record)), separators=(",", ":"))


REQUEST = "seodang-request/1"
