"""The web door's database sessions: one a request, through Flask-SQLAlchemy."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Session

from lms.foundation.db import Base, begin_writing, prepare_engine
from lms.foundation.events import EventBus

db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})


def init_database(app: Flask, url: str, bus: EventBus) -> None:
    """Bind the app's sessions to `url` and to the bus."""
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db.init_app(app)
    app.extensions["lms_bus"] = bus
    with app.app_context():
        prepare_engine(db.engine)


def session() -> Session:
    """Return the request's session, for reading."""
    from flask import current_app

    current: Session = db.session()
    current.info.setdefault("bus", current_app.extensions["lms_bus"])
    return current


@contextmanager
def transaction() -> Iterator[Session]:
    """Write in the request's session: commit when the block ends well, roll back when it raises."""
    current = session()
    begin_writing(current)
    try:
        yield current
        current.commit()
    except BaseException:
        current.rollback()
        raise
