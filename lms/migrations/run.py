"""Bringing a database to the newest schema, and asking where it stands."""

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from lms.foundation.db import make_engine
from lms.migrations.tables import metadata


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("file_template", "%%(rev)s")
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Run every migration that the database lacks up to `revision`, in one transaction."""
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
        command.upgrade(_config(connection), revision)
        connection.commit()


def current_revision(engine: Engine) -> str | None:
    """Return the revision the database is at; None before the first migration."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """Return the newest revision; there is exactly one."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations")
    return head


def differences(engine: Engine) -> list[object]:
    """Return how the database's tables differ from the models; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def write_migration(message: str, slug: str) -> None:
    """Write a new migration for what the models have and a migrated scratch database lacks."""
    engine = make_engine("sqlite://")
    with engine.connect() as connection:
        command.upgrade(_config(connection), "head")
        command.revision(_config(connection), message, autogenerate=True, rev_id=slug)
