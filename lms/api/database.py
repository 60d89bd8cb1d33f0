"""The api door's way to the system and its database, one session a use."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import current_app
from sqlalchemy.orm import Session

from lms.bootstrap import System
from lms.foundation import db


def system() -> System:
    """Return the system that this application was made for."""
    wired = current_app.extensions["lms_system"]
    if not isinstance(wired, System):
        raise TypeError("the application was not made by lms.web.app.create_app")
    return wired


@contextmanager
def reading() -> Iterator[Session]:
    """Open a session that only reads."""
    with system().sessions() as session:
        yield session


@contextmanager
def transaction() -> Iterator[Session]:
    """Open a writing session: commit when the block ends well, roll back when it raises."""
    with db.transaction(system().sessions) as session:
        yield session
