from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

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


def test_there_is_one_straight_line_of_migrations() -> None:
    script = ScriptDirectory.from_config(_config())
    assert len(script.get_heads()) == 1
    assert all(not isinstance(r.down_revision, tuple) for r in script.walk_revisions())
