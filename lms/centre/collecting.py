"""Central's side of syncing: a parcel or a blob comes in, and a signed answer goes back.

The web door and the command line both do exactly this.
"""

import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from lms.centre.applying import Place, apply_all
from lms.centre.errors import BadParcelError, UnknownCentreError
from lms.centre.models import Centre, CentreBlob
from lms.centre.receiving import Outcome, make_answer, note_blob, take_in, wanted_blobs
from lms.centre.rules import CentreState, RecordState
from lms.centre.stick import read_blob, write_whole
from lms.foundation.blobs import BlobStore, digest_of, parse_digest
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError, InvalidError
from lms.foundation.signing import Signer
from lms.protocol.sentences import Sentence, sentence

#: Larger than any file of a submission may be.
MAX_BLOB = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What came of one centre's folder on a stick."""

    name: str
    records: int
    blobs: int
    states: Counter[RecordState]
    problems: list[str]


def take_parcel(place: Place, content: bytes, signer: Signer, *, now: datetime) -> str:
    """Keep a parcel, do what can be done, and return the signed answer."""
    with transaction(place.sessions) as session:
        taken = take_in(session, place.blobs, content, now=now)
    if taken.outcome is Outcome.KEPT:
        apply_all(place, taken.centre, now=now)
    return answer(place, taken.centre, taken.epoch, signer, now=now, refusal=taken.refusal)


def answer(
    place: Place,
    centre: str,
    epoch: int,
    signer: Signer,
    *,
    now: datetime,
    refusal: Sentence | None = None,
) -> str:
    """Return what central signs for a centre, after doing what blobs have made possible."""
    if refusal is None:
        apply_all(place, centre, now=now)
    with transaction(place.sessions) as session:
        found = session.get(Centre, centre)
        if found is None:
            raise UnknownCentreError(centre)
        found.contact_at = now
        if refusal is None and found.state == CentreState.REVOKED:
            refusal = revoked_sentence(found)
        return make_answer(session, found, epoch, signer, refusal=refusal, now=now)


def revoked_sentence(centre: Centre) -> Sentence:
    """Return what a revoked centre is told."""
    from lms.centre.errors import RevokedCentreError

    return RevokedCentreError(centre.name).sentence


def take_chunk(
    session: Session, blobs: BlobStore, centre: str, digest: str, *, offset: int, total: int,
    chunk: bytes,
) -> int:  # fmt: skip
    """Add to a blob that central wants; returns how many bytes of it are here now.

    A chunk for another place than the next one changes nothing and is answered with that place.
    """
    wanted = parse_digest(digest)
    if wanted in blobs:
        return total
    if session.get(CentreBlob, (centre, wanted)) is None:
        raise ConflictError(sentence("Central does not want this file from this centre."))
    if not 0 <= total <= MAX_BLOB or offset + len(chunk) > total:
        raise InvalidError(sentence("The file is larger than a file of a submission may be."))
    path = _partial(blobs, centre, wanted)
    have = path.stat().st_size if path.exists() else 0
    if offset != have:
        return have
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    if have + len(chunk) < total:
        return have + len(chunk)
    content = path.read_bytes()
    path.unlink()
    if digest_of(content) != wanted:
        return 0
    blobs.put(content)
    note_blob(session, wanted)
    return total


def blob_size(blobs: BlobStore, centre: str, digest: str) -> int:
    """Return how many bytes of a blob have come; all of them when it is whole."""
    wanted = parse_digest(digest)
    if wanted in blobs:
        return len(blobs.get(wanted))
    path = _partial(blobs, centre, wanted)
    return path.stat().st_size if path.exists() else 0


def _partial(blobs: BlobStore, centre: str, digest: str) -> Path:
    # The name says to backups that it is not finished.
    name = digest.removeprefix("sha256:")
    return blobs.root / name[:2] / f".new-{centre[:8]}-{name}"


def collect(place: Place, root: Path, signer: Signer, *, now: datetime) -> Collected:
    """Take in one centre's folder of a stick and leave the answer there.

    A damaged file is named and passed over; what is whole is taken.
    """
    problems: list[str] = []
    centre, epochs, records = "", [0], 0
    for path in sorted((root / "up").glob("*.journal")):
        try:
            with transaction(place.sessions) as session:
                taken = take_in(session, place.blobs, path.read_bytes(), now=now)
        except (BadParcelError, UnknownCentreError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        centre = taken.centre
        epochs.append(taken.epoch)
        records += taken.new
        if taken.refusal is not None:
            problems.append(f"{path.name}: {taken.refusal}")
    with transaction(place.sessions) as session:
        owner = session.get(Centre, centre or root.name)
        if owner is None:
            raise UnknownCentreError(root.name)
        centre, name, epoch = owner.id, owner.name, max(owner.epoch, *epochs)
    count = _take_blobs(place, root, centre)
    states = apply_all(place, centre, now=now)
    refusal = None
    if problems:
        refusal = sentence("Central says: %(what)s", what=problems[-1].partition(": ")[2][:400])
    text = answer(place, centre, epoch, signer, now=now, refusal=refusal)
    write_whole(root / "down" / "answer.json", text.encode())
    return Collected(name=name, records=records, blobs=count, states=states, problems=problems)


def _take_blobs(place: Place, root: Path, centre: str) -> int:
    with place.sessions() as session:
        wanted = wanted_blobs(session, centre)
    found = 0
    for digest in wanted:
        content = read_blob(root, digest)
        if content is not None:
            place.blobs.put(content)
            found += 1
    with transaction(place.sessions) as session:
        for digest in wanted:
            if digest in place.blobs:
                note_blob(session, digest)
    return found
