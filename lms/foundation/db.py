"""The database: declarative base, column types, engine and sessions, for SQLite and PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, DateTime, Engine, MetaData, create_engine, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from lms.foundation.events import EventBus

#: Names of constraints must be the same on every database, or migrations cannot drop them.
NAMING = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: JSON on SQLite, JSONB on PostgreSQL.
Json = JSON().with_variant(JSONB(), "postgresql")


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(naming_convention=NAMING)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC; SQLite has no time zones of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a naive datetime is a programming error."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored instant as an aware UTC datetime."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def make_engine(url: str) -> Engine:
    """Return an engine for `url`; on SQLite every commit is on disk before it returns."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    return prepare_engine(create_engine(url, connect_args={"timeout": 30}))


def prepare_engine(engine: Engine) -> Engine:
    """Give an engine our SQLite settings; other databases need none. Returns the same engine."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - DB-API has no type
    # The driver must not open transactions by itself: see _begin_sqlite.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:  # noqa: ANN401
    # Readers must not queue behind writers, so the default is DEFERRED. A writer begins IMMEDIATE
    # (begin_writing): one that read first and wrote later would fail at once under WAL when another
    # wrote in between (SQLITE_BUSY_SNAPSHOT, which no time-out helps).
    mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def begin_writing(session: Session) -> None:
    """Start the session's transaction as a writer; anything it had read before is let go."""
    session.rollback()
    session.connection(execution_options={"sqlite_begin": "IMMEDIATE"})


def make_sessions(engine: Engine, bus: EventBus) -> sessionmaker[Session]:
    """Return a factory of sessions that publish to `bus`."""
    return sessionmaker(engine, expire_on_commit=False, info={"bus": bus})


@contextmanager
def transaction(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """Open a writing session: commits when the block ends well, rolls back when it raises."""
    with sessions() as session:
        begin_writing(session)
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise


def check_database(engine: Engine) -> None:
    """Ask the database for one row; raises SQLAlchemyError when it does not answer."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
