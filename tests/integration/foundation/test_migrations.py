from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, Table, insert, select, text
from sqlalchemy.engine import Connection

from lms.foundation.db import make_engine
from lms.migrations.run import _config, current_revision, differences, head_revision, upgrade


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        engine = make_engine(f"sqlite:///{tmp_path}/empty.sqlite")
    else:
        url: str = request.getfixturevalue("postgres_url")
        main = make_engine(url)
        with main.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("DROP DATABASE IF EXISTS empty"))
            connection.execute(text("CREATE DATABASE empty"))
        main.dispose()
        engine = make_engine(url.replace("/postgres?", "/empty?"))
    yield engine
    engine.dispose()


def test_migrations_lead_from_empty_to_the_models(empty: Engine) -> None:
    assert current_revision(empty) is None
    upgrade(empty)
    assert current_revision(empty) == head_revision()
    assert differences(empty) == []


def test_migrating_twice_changes_nothing(empty: Engine) -> None:
    upgrade(empty)
    upgrade(empty)
    assert current_revision(empty) == head_revision()


def test_rows_of_the_first_tables_are_kept_and_get_what_is_new(empty: Engine) -> None:
    upgrade(empty, "20261124_1_first_tables")
    with empty.begin() as connection:
        _fill(connection)
    upgrade(empty)
    assert differences(empty) == []
    with empty.connect() as connection:
        row = connection.execute(select(_table(connection, "run"))).mappings().one()
        assert (row["priority"], row["resource"], row["held"]) == (0, "cpu", False)
        assert (row["status"], row["release_id"], row["preview"]) == ("graded", None, False)
        assert connection.scalar(select(_table(connection, "cell_score").c.grade_id)) == "q1"
        assert connection.scalar(select(_table(connection, "offering").c.practice)) is False
        assert connection.scalar(select(_table(connection, "release").c.staged)) is False
        assert connection.scalar(select(_table(connection, "release").c.environment)) == ""


def _table(connection: Connection, name: str) -> Table:
    return Table(name, MetaData(), autoload_with=connection, resolve_fks=False)


def _fill(connection: Connection) -> None:
    """Add one row wherever a graded cell needs one, made up by the columns' types."""
    for name in (
        "person", "course", "offering", "assignment", "release", "offered_assignment",
        "submission", "run", "notebook_run", "cell_score",
    ):  # fmt: skip
        table = _table(connection, name)
        values = {
            column.name: _made_up(column.name, column.type.python_type)
            for column in table.columns
            if not column.nullable and column.name != "id"
        }
        connection.execute(insert(table), {"id": 1, **values})


def _made_up(name: str, kind: type) -> object:
    at = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
    by_name: dict[str, object] = {"grade_id": "q1", "status": "graded"}
    by_kind: dict[type, object] = {
        bool: False, int: 1, float: 1.0, str: "x", dict: {}, datetime: at, date: at.date()
    }  # fmt: skip
    return by_name.get(name, by_kind.get(kind))


def test_there_is_one_straight_line_of_migrations() -> None:
    script = ScriptDirectory.from_config(_config())
    assert len(script.get_heads()) == 1
    assert all(not isinstance(r.down_revision, tuple) for r in script.walk_revisions())
