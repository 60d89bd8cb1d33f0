"""On the box: the reply goes to central by line; the codes by which people claim their work."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from lms.centre.models import JournalPerson
from lms.centre.pushing import Line
from lms.centre.rules import claim_code
from lms.centre.sending import read_answer
from lms.centre.tickets import get_self
from lms.foundation.db import transaction
from lms.identity.models import Person


def hand_in(sessions: sessionmaker[Session], line: Line, reply: str, *, now: datetime) -> None:
    """Give central the reply and read its answer; raises UnavailableError or ConflictError."""
    text = line.call("POST", "/api/sync/join", reply.encode(), "").decode()
    with transaction(sessions) as session:
        read_answer(session, get_self(session), text, now=now)


def claim_codes(session: Session) -> list[dict[str, str]]:
    """Return the code of everybody who is in this centre's journal, by name."""
    get_self(session)
    rows = session.execute(
        select(Person.username, Person.display_name, JournalPerson.salt)
        .join(JournalPerson, JournalPerson.person_id == Person.id)
        .where(JournalPerson.salt.is_not(None))
        .order_by(Person.display_name, Person.id)
    )
    return [
        {"username": username, "name": name, "code": claim_code(str(salt))}
        for username, name, salt in rows
    ]
