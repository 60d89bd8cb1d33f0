"""Syncing for centres: the journal and its blobs in, signed answers out.

A centre shows who it is by its signature over each request; cookies and people's tokens count for
nothing. What it sends proves itself: a journal by its checkpoint, a blob by its digest.
"""

from urllib.parse import urlsplit

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from lms.api.database import reading, system, transaction
from lms.bootstrap import sync_place, sync_signer
from lms.centre.applying import Place
from lms.centre.collecting import answer, blob_size, take_chunk, take_parcel
from lms.centre.keys import read_keys
from lms.centre.line import CONTENT_TYPE, HEADER
from lms.centre.models import Centre
from lms.centre.sending import REQUEST
from lms.centre.tickets import approve
from lms.foundation import clock
from lms.foundation.errors import ForbiddenError, InvalidError
from lms.foundation.settings import Settings
from lms.foundation.signing import read_signed
from lms.identity.access import machine
from lms.protocol.sentences import sentence

bp = Blueprint("sync", __name__, url_prefix="/api/sync")

_MAX_REPLY = 64 << 10
#: How long one request may apply records; the rest is kept and follows with the next.
_SECONDS = 15.0


@bp.post("/join")
@machine
def join() -> Response:
    """Take a centre's reply to its ticket; the ticket's secret is what counts."""
    text = request.get_data(cache=False)
    if len(text) > _MAX_REPLY:
        raise InvalidError(sentence("This is not a centre's reply."))
    with transaction() as session:
        centre = approve(session, text.decode("utf-8", "replace"), now=clock.now())
        name, epoch = centre.id, centre.epoch
    return _signed(answer(_place(), name, epoch, sync_signer(_settings()), now=clock.now()))


@bp.get("/<centre>/state")
@machine
def state(centre: str) -> Response:
    """Return what central has of a centre's journal, what it lacks, and its orders."""
    with reading() as session:
        recognise(session, centre)
    epoch = _number("epoch")
    return _signed(answer(_place(), centre, epoch, sync_signer(_settings()), now=clock.now()))


@bp.post("/<centre>/journal")
@machine
def journal(centre: str) -> Response:
    """Take in a parcel."""
    with reading() as session:
        recognise(session, centre)
    content = request.get_data(cache=False)
    return _signed(take_parcel(_place(), content, sync_signer(_settings()), now=clock.now()))


@bp.get("/<centre>/blobs/<name>")
@machine
def blob(centre: str, name: str) -> Response:
    """Return how many bytes of a blob have come."""
    with reading() as session:
        recognise(session, centre)
    return _signed(str(blob_size(system().blobs, centre, f"sha256:{name}")))


@bp.put("/<centre>/blobs/<name>")
@machine
def put_blob(centre: str, name: str) -> Response:
    """Add to a blob at an offset; returns how many bytes have come."""
    offset, total = _number("offset"), _number("total")
    with transaction() as session:
        recognise(session, centre)
        have = take_chunk(
            session,
            system().blobs,
            centre,
            f"sha256:{name}",
            offset=offset,
            total=total,
            chunk=request.get_data(cache=False),
        )
    return _signed(str(have))


def recognise(session: Session, centre: str) -> Centre:
    """Return the centre that signed for this address; raises ForbiddenError."""
    found = session.get(Centre, centre)
    parts = urlsplit(request.full_path)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    meant = {"format": REQUEST, "centre": centre, "method": request.method, "path": path}
    try:
        record = read_signed(
            request.headers.get(HEADER, ""), read_keys(None if found is None else found.keys)
        )
    except InvalidError as error:
        raise _stranger() from error
    if found is None or record != meant:
        raise _stranger()
    return found


def _stranger() -> ForbiddenError:
    return ForbiddenError(
        sentence("Central does not know this machine as that centre. Join it with a new ticket.")
    )


def _number(name: str) -> int:
    text = request.args.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > len(str(1 << 40)):
        raise InvalidError(sentence("This is not a request of a centre."))
    return int(text)


def _signed(text: str) -> Response:
    return Response(text, content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def _place() -> Place:
    return sync_place(system(), seconds=_SECONDS)


def _settings() -> Settings:
    return system().settings
