"""How a centre joins: central's ticket, the centre's reply, central's consent."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.centre.errors import (
    BadTicketError,
    IsACentreError,
    NotACentreError,
    RevokedCentreError,
    UnknownCentreError,
)
from lms.centre.journal import carry_over
from lms.centre.keys import read_keys
from lms.centre.models import Centre, CentreSelf
from lms.centre.rules import CentreState, is_older, text_digest
from lms.foundation.errors import InvalidError
from lms.foundation.signing import Signer, read_signed
from lms.protocol.sentences import sentence

TICKET, REPLY = "seodang-ticket/1", "seodang-join/1"
#: Software older than this does not speak the journal's language.
MINIMUM = "0.1.0"
#: Share of results that central grades again unless a centre has its own.
AUDIT_RATE = 0.1
_MAX_NAME = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Central:
    """What a ticket says of central."""

    url: str
    #: Public keys, a JWK set.
    keys: Mapping[str, Any]
    signer: Signer
    #: Trusted root of the signed repository, base64; empty until there is one.
    root: str = ""


def this_version() -> str:
    """Return the version of this software."""
    return version("seodang")


def find_self(session: Session) -> CentreSelf | None:
    """Return which centre this is; None at central."""
    return session.get(CentreSelf, 1)


def get_self(session: Session) -> CentreSelf:
    """Return which centre this is; raises NotACentreError."""
    me = find_self(session)
    if me is None:
        raise NotACentreError
    return me


def get_centre(session: Session, name: str) -> Centre:
    """Return a centre by name or id; raises UnknownCentreError."""
    found = session.get(Centre, name) or session.scalar(select(Centre).where(Centre.name == name))
    if found is None:
        raise UnknownCentreError(name)
    return found


def invite(
    session: Session, name: str, central: Central, *, days: int, again: bool, now: datetime
) -> str:
    """Make a ticket for a new centre, or with `again` a new epoch for one; returns its text.

    An older ticket of that centre is worth nothing any more.
    """
    me = find_self(session)
    if me is not None:
        raise IsACentreError(me.name)
    centre = get_centre(session, name) if again else _add(session, name, now)
    if centre.state == CentreState.REVOKED:
        raise RevokedCentreError(centre.name)
    secret = secrets.token_urlsafe(32)
    centre.secret_hash, centre.expires_at = text_digest(secret), now + timedelta(days=days)
    centre.ticket_epoch = centre.epoch + 1
    session.flush()
    record = {
        "format": TICKET,
        "centre": centre.id,
        "name": centre.name,
        "central_url": central.url,
        "keys": {"keys": [dict(key) for key in central.keys["keys"]]},
        "root": central.root,
        "time": now.isoformat(),
        "minimum": MINIMUM,
        "secret": secret,
        "expires": centre.expires_at.isoformat(),
        "epoch": centre.ticket_epoch,
    }
    return central.signer.sign(record)


def _add(session: Session, name: str, now: datetime) -> Centre:
    plain = " ".join(name.split())
    if not plain or len(plain) > _MAX_NAME:
        raise InvalidError(sentence("A centre's name has 1 to %(count)s letters.", count=_MAX_NAME))
    if session.scalar(select(Centre).where(Centre.name == plain)) is not None:
        raise InvalidError(
            sentence(
                "There is a centre “%(name)s” already; use --again for a new ticket for it.",
                name=plain,
            )
        )
    centre = Centre(
        id=secrets.token_hex(16),
        name=plain,
        state=CentreState.INVITED,
        ticket_epoch=1,
        keys={"keys": []},
        receipt_keys={"keys": []},
        invited_at=now,
        audit_rate=AUDIT_RATE,
    )
    session.add(centre)
    session.flush()
    return centre


def read_ticket(text: str, *, now: datetime) -> dict[str, Any]:
    """Return what a ticket says; raises BadTicketError.

    A machine that has never known the time takes the ticket's for the earliest that it can be.
    """
    record = _read(text, TICKET)
    at, expires = (datetime.fromisoformat(record[name]) for name in ("time", "expires"))
    if max(now, at) > expires:
        raise BadTicketError.expired(expires)
    if is_older(this_version(), record["minimum"]):
        raise BadTicketError.needs_newer(record["minimum"], this_version())
    return record


def join(
    session: Session,
    text: str,
    signer: Signer,
    *,
    keys: Mapping[str, Any],
    receipt_keys: Mapping[str, Any],
    now: datetime,
) -> str:
    """Become the centre that the ticket names; returns the reply that central must get.

    Joining twice with one ticket gives the same identity and a new reply. A ticket of a later epoch
    begins the journal anew and takes over what central has no receipt for.
    """
    ticket = read_ticket(text, now=now)
    me = find_self(session)
    if me is not None and (me.centre != ticket["centre"] or me.epoch > ticket["epoch"]):
        raise IsACentreError(me.name)
    if me is None:
        me = CentreSelf(id=1, centre=ticket["centre"], epoch=ticket["epoch"], complete_to=0)
        session.add(me)
    me.name, me.central_url = ticket["name"], ticket["central_url"]
    me.central_keys, me.root = ticket["keys"], ticket["root"]
    me.joined_at, me.signed_at = now, datetime.fromisoformat(ticket["time"])
    session.flush()
    if me.epoch < ticket["epoch"]:
        carry_over(session, me, ticket["epoch"])
    record = {
        "format": REPLY,
        "centre": me.centre,
        "epoch": me.epoch,
        "secret": ticket["secret"],
        "keys": {"keys": [dict(key) for key in keys["keys"]]},
        "receipt_keys": {"keys": [dict(key) for key in receipt_keys["keys"]]},
        "software": this_version(),
    }
    return signer.sign(record)


def approve(session: Session, text: str, *, now: datetime) -> Centre:
    """Let the centre in that the reply is from; the same reply twice changes nothing.

    Raises BadTicketError, UnknownCentreError or RevokedCentreError.
    """
    record = _read(text, REPLY)
    centre = session.get(Centre, record["centre"], with_for_update=True)
    if centre is None:
        raise UnknownCentreError(str(record["centre"]))
    if centre.state == CentreState.REVOKED:
        raise RevokedCentreError(centre.name)
    if centre.secret_hash is None and centre.epoch == record["epoch"]:
        if centre.keys == record["keys"]:
            return centre
        raise BadTicketError.used()
    if centre.secret_hash != text_digest(record["secret"]):
        raise BadTicketError.used()
    if centre.expires_at is not None and now > centre.expires_at:
        raise BadTicketError.expired(centre.expires_at)
    centre.state, centre.epoch, centre.secret_hash = CentreState.JOINED, record["epoch"], None
    centre.keys, centre.receipt_keys = record["keys"], record["receipt_keys"]
    centre.software, centre.joined_at, centre.contact_at = record["software"], now, now
    session.flush()
    return centre


def _read(text: str, form: str) -> dict[str, Any]:
    """Return the record of a document that carries the keys it is signed with."""
    try:
        claimed = json.loads(text)["record"]
        if claimed["format"] != form:
            raise BadTicketError.altered()
        return read_signed(text, read_keys(claimed["keys"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadTicketError.altered() from error
    except BadTicketError:
        raise
    except InvalidError as error:
        raise BadTicketError.altered() from error
