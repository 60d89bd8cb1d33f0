"""Central and centres' boxes under one clock; test_sync.py has central on PostgreSQL too."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import Engine

from lms.bootstrap import System
from lms.foundation.db import make_engine
from lms.migrations.tables import metadata
from tests.factories.centres import AppLine, Box, enter, make_box, make_content
from tests.fakes.clock import Clock
from tests.integration.identity.conftest import (  # noqa: F401 - fixtures
    app,
    cheap_hashing,
    made_keys,
    make_app,
    system,
    ticking,
)

MakeBox = Callable[[str], Box]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with every table and no row."""
    path = tmp_path_factory.mktemp("empty") / "lms.sqlite"
    engine = make_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def engine(empty_database: Path, tmp_path: Path) -> Iterator[Engine]:
    """Central's database, on SQLite alone: most of what is tried here is the same on both."""
    engine = make_engine(f"sqlite:///{tmp_path / 'db' / 'lms.sqlite'}")
    shutil.copy(empty_database, tmp_path / "db" / "lms.sqlite")
    yield engine
    engine.dispose()


@pytest.fixture
def central(system: System, ticking: Clock) -> System:  # noqa: F811
    """Central with one course."""
    make_content(system)
    return system


@pytest.fixture
def boxes(central: System, empty_database: Path, tmp_path: Path) -> Iterator[MakeBox]:
    """Makes centres that have joined, by name."""
    made: list[Box] = []

    def make(name: str) -> Box:
        box = make_box(tmp_path / f"box{len(made)}", empty_database)
        made.append(box)
        enter(central, box, name)
        return box

    yield make
    for box in made:
        box.system.engine.dispose()


@pytest.fixture
def box(boxes: MakeBox) -> Box:
    """The centre “Jeju”."""
    return boxes("Jeju")


@pytest.fixture
def line(app: Flask) -> AppLine:  # noqa: F811
    """A good line to central."""
    return AppLine(app)
