"""Erasing a person: a signed order of central, done at every centre, with all chains still whole.

Chained bodies hold a random name and salted digests. Without the salt and the details behind them
they tell nothing, so those are what goes, with the files.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from lms.centre.journal import append_erasure
from lms.centre.keys import read_keys
from lms.centre.models import (
    CentreBlob,
    CentreOrder,
    CentreOrigin,
    CentrePerson,
    CentreRecord,
    CentreSelf,
    JournalPerson,
    JournalRecord,
)
from lms.centre.receiving import ORDER, named_blobs
from lms.exchange.models import Submission
from lms.foundation.signing import Signer, read_signed
from lms.grading.models import NotebookRun, ResultCache, Run
from lms.identity.models import Person
from lms.identity.service import end_sign_ins

#: What an erased person is called.
_NOBODY = "–"


def order(
    session: Session, person: Person, signer: Signer, *, now: datetime
) -> tuple[int, set[str]]:
    """Erase at central what came from centres about a person, and order the centres to do it.

    Returns how many centres are ordered, and the blobs to remove once this is committed. A
    placeholder's name goes too; the account of somebody who uses central stays.
    """
    rows = session.scalars(select(CentrePerson).where(CentrePerson.person_id == person.id)).all()
    placeholder = any(row.linked_at is None for row in rows)
    gone: set[str] = set()
    for row in rows:
        record = {
            "format": ORDER,
            "centre": row.centre,
            "person": row.name,
            "time": now.isoformat(),
        }
        session.add(
            CentreOrder(centre=row.centre, person=row.name, document=signer.sign(record), at=now)
        )
        gone |= _forget(session, row, now)
    if placeholder:
        _make_nobody(session, person, now)
    return len(rows), _unused(session, gone)


def _forget(session: Session, row: CentrePerson, now: datetime) -> set[str]:
    about = (CentreRecord.centre == row.centre) & (CentreRecord.person == row.name)
    details = session.scalars(select(CentreRecord.details).where(about)).all()
    gone: set[str] = {str(digest) for text in details for digest in named_blobs(text)}
    ids = session.scalars(
        select(CentreRecord.submission_id)
        .join(CentreOrigin, CentreOrigin.submission_id == CentreRecord.submission_id)
        .where(about, CentreOrigin.centre == row.centre)
    ).all()
    gone |= scrub(session, [one for one in ids if one is not None])
    session.execute(update(CentreRecord).where(about).values(details=None))
    session.execute(
        delete(CentreBlob).where(CentreBlob.centre == row.centre, CentreBlob.digest.in_(gone))
    )
    row.salt = row.claim = row.display_name = row.person_id = None
    row.erased_at = now
    session.flush()
    return gone


def obey(session: Session, me: CentreSelf, orders: Sequence[str], *, now: datetime) -> set[str]:
    """Do central's orders at a centre; returns the blobs to remove once this is committed.

    Raises InvalidError for an order that central has not signed.
    """
    gone: set[str] = set()
    for document in orders:
        record = read_signed(document, read_keys(me.central_keys))
        if record.get("format") == ORDER and record["centre"] == me.centre:
            gone |= _erase_here(session, str(record["person"]), now)
    return _unused(session, gone)


def _erase_here(session: Session, name: str, now: datetime) -> set[str]:
    row = session.get(JournalPerson, name)
    if row is not None and row.erased_at is not None:
        return set()
    details = session.scalars(
        select(JournalRecord.details).where(JournalRecord.person == name)
    ).all()
    gone: set[str] = {str(digest) for text in details for digest in named_blobs(text)}
    session.execute(update(JournalRecord).where(JournalRecord.person == name).values(details=None))
    if row is None:
        # It was lost with a backup that was put back; central must hear that it is done.
        row = JournalPerson(name=name)
        session.add(row)
    elif row.person_id is not None:
        person = session.get_one(Person, row.person_id)
        ids = session.scalars(select(Submission.id).where(Submission.person_id == person.id)).all()
        gone |= scrub(session, ids)
        _make_nobody(session, person, now)
    row.person_id = row.salt = None
    row.erased_at = now
    session.flush()
    append_erasure(session, name, now=now)
    return gone


def scrub(session: Session, submission_ids: Iterable[int]) -> set[str]:
    """Take what was handed in, and what grading made of it, out of the rows; returns its blobs."""
    ids = list(set(submission_ids))
    gone: set[str] = set()
    for submission in session.scalars(select(Submission).where(Submission.id.in_(ids))):
        gone |= {entry["digest"] for entry in submission.files}
        submission.files = []
    runs = list(session.scalars(select(Run.id).where(Run.submission_id.in_(ids))))
    for row in session.scalars(select(NotebookRun).where(NotebookRun.run_id.in_(runs))):
        gone |= {digest for digest in (row.autograded, row.feedback) if digest}
        row.autograded = row.feedback = row.detail = None
    session.execute(delete(ResultCache).where(ResultCache.run_id.in_(runs)))
    session.flush()
    return gone


def _make_nobody(session: Session, person: Person, now: datetime) -> None:
    end_sign_ins(session, person.id, now=now)
    person.username, person.display_name = f"erased-{person.id}", _NOBODY
    person.email = person.password_hash = None
    person.disabled_at = person.disabled_at or now
    session.flush()


def _unused(session: Session, digests: set[str]) -> set[str]:
    """Return those of the blobs that nobody else's work has: equal bytes are kept once."""
    left = set(digests)
    if not left:
        return left
    for files in session.scalars(select(Submission.files).execution_options(yield_per=500)):
        left -= {entry["digest"] for entry in files}
    for column in (NotebookRun.autograded, NotebookRun.feedback):
        left -= set(session.scalars(select(column).where(column.in_(left))))
    return left
