"""Opening codes: central gives them out from the opening time on, a centre opens with them.

The code is the same whether it is typed, scanned or brought by the line.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from lms.centre.errors import RevokedCentreError
from lms.centre.installing import install, told
from lms.centre.keys import read_keys
from lms.centre.models import Centre
from lms.centre.pushing import Line
from lms.centre.rules import CentreState
from lms.centre.sending import sign_request
from lms.centre.tickets import get_self
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError, NotFoundError, UnavailableError
from lms.foundation.signing import Signer, canonical
from lms.grading.audit import Act, append
from lms.grading.models import AuditEntry
from lms.outposts.bundles.codes import mask, write_code
from lms.outposts.bundles.opening import Box, SealState, open_seal, seals_of
from lms.outposts.bundles.sealing import Seals
from lms.outposts.bundles.store import Store
from lms.protocol.sentences import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class SealCode:
    """A seal of a course and, from its opening time on, the code for one centre."""

    course: str
    seal: str
    opens_at: datetime
    code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningPlace:
    """What opening needs of a centre's machine."""

    sessions: sessionmaker[Session]
    blobs: BlobStore
    store: Store
    signer: Signer


def list_codes(
    centre: Centre, course: str, seals: Seals, signer: Signer, *, now: datetime
) -> list[SealCode]:
    """Return a course's seals with the centre's codes, those not yet open without one.

    Raises RevokedCentreError, or ConflictError when the centre has not joined.
    """
    if centre.state == CentreState.REVOKED:
        raise RevokedCentreError(centre.name)
    # The newest key comes first: it is the one that the centre's machine has.
    public = next(iter(read_keys(centre.keys).values()), None)
    if public is None:
        raise ConflictError(
            sentence(
                "The centre “%(name)s” has not joined yet: codes are made for its keys.",
                name=centre.name,
            )
        )
    shared = signer.agree(public)
    with told():
        found = seals.of(course)
    return [
        SealCode(
            course=course,
            seal=one.seal.name,
            opens_at=one.seal.opens_at,
            code=write_code(
                one.secret,
                mask(shared, course, one.seal.name, centre.id),
                one.seal.name,
                centre.id,
            )
            if now >= one.seal.opens_at
            else None,
        )
        for one in found
    ]


def give_codes(
    session: Session, centre: Centre, course: str, seals: Seals, signer: Signer, *, now: datetime
) -> list[SealCode]:
    """Return the codes that are out by now, and write down that the centre was given them.

    Raises NotFoundError when the course has no seals, ConflictError before the first opening time.
    """
    found = list_codes(centre, course, seals, signer, now=now)
    if not found:
        raise NotFoundError(
            sentence("%(course)s has no sealed files that central could open.", course=course)
        )
    out = [one for one in found if one.code is not None]
    if not out:
        raise ConflictError(
            sentence(
                "The hidden tests of %(course)s open at %(time)s: there is no code before.",
                course=course,
                time=found[0].opens_at.isoformat(),
            )
        )
    for one in out:
        about = {"course": course, "seal": one.seal, "centre": centre.id}
        _note(session, Act.SEAL_CODE_GIVEN, about, now)
    return out


def open_code(place: OpeningPlace, course: str, text: str, *, now: datetime) -> SealState:
    """Open what a code opens of a course, and queue what waited for it; twice changes nothing.

    Raises InvalidError with what is wrong with the code, or NotACentreError.
    """
    with place.sessions() as session:
        me = get_self(session)
        keys = read_keys(me.central_keys).values()
        shared = [place.signer.agree(key) for key in keys]
        box = Box(centre=me.centre, name=me.name, shared=shared)
    with told():
        opened = open_seal(place.store, box, course, text)
    with transaction(place.sessions) as session:
        _note(session, Act.SEAL_OPENED, {"course": course, "seal": opened.seal}, now)
    install(place.sessions, place.blobs, place.store, course, now=now)
    return opened


def open_by_line(place: OpeningPlace, line: Line, *, now: datetime) -> list[SealState]:
    """Open whatever central gives codes for by now, as the newest signed time has it.

    Returns what was opened; raises UnavailableError or ConflictError with what central says.
    """
    with place.sessions() as session:
        me = get_self(session)
        centre, time = me.centre, max(now, me.signed_at)
    opened = []
    for course in place.store.courses():
        due = [one for one in list_seals(place.store, course) if not one.is_open]
        if any(one.opens_at <= time for one in due):
            path = f"/api/sync/{centre}/codes/{course}"
            header = sign_request(place.signer, centre, "GET", path)
            said = line.call("GET", path, b"", header)
            names = {one.seal for one in due}
            states = [open_code(place, course, code, now=now) for code in _codes(said)]
            opened += [one for one in states if one.seal in names]
    return opened


def _codes(said: bytes) -> list[str]:
    try:
        return [str(code) for code in json.loads(said)["codes"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(sentence("Central's answer cannot be understood.")) from error


def list_seals(store: Store, course: str) -> list[SealState]:
    """Return the seals of a course that stands here: when they open, and whether they are open."""
    with told():
        return seals_of(store, course)


def _note(session: Session, act: Act, body: dict[str, str], now: datetime) -> None:
    """Write an act into the audit log once."""
    text = canonical(body).decode()
    known: Sequence[int] = session.scalars(
        select(AuditEntry.sequence).where(AuditEntry.kind == act.value, AuditEntry.body == text)
    ).all()
    if not known:
        append(session, act, body, now=now)
