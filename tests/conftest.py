"""Fixtures shared by all tests: an empty database on SQLite and on PostgreSQL, a clock, blobs."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from lms.bootstrap import make_bus
from lms.foundation.blobs import BlobStore
from lms.foundation.db import Base, make_engine, make_sessions
from lms.migrations.tables import metadata

#: Any uid that is not root: PostgreSQL refuses to run as root.
POSTGRES_UID = 65534


def _postgres_bin() -> Path | None:
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Start a real PostgreSQL of our own on a socket, and end it afterwards."""
    binaries = _postgres_bin()
    if binaries is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql")
    as_root = os.getuid() == 0
    uid = POSTGRES_UID if as_root else None
    groups: list[str | int] | None = [] if as_root else None
    with tempfile.TemporaryDirectory(prefix="lms-pg-", ignore_cleanup_errors=True) as folder:
        if as_root:
            os.chown(folder, POSTGRES_UID, POSTGRES_UID)
        data = f"{folder}/data"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "lms", "-A", "trust", "-E", "UTF8", "-N"],
            check=True,
            cwd=folder,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            user=uid,
            group=uid,
            extra_groups=groups,
        )
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(
                [str(binaries / "postgres"), "-D", data, "-k", folder, "-h", "", "-F"],
                cwd=folder,
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                stdout=log,
                stderr=subprocess.STDOUT,
                user=uid,
                group=uid,
                extra_groups=groups,
            )
        try:
            url = f"postgresql+psycopg://lms@/postgres?host={folder}"
            _wait_for(url, server, Path(folder, "log"))
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    import time

    from sqlalchemy.exc import OperationalError

    engine = make_engine(url)
    for _ in range(150):
        if server.poll() is not None:
            break
        with contextlib.suppress(OperationalError):
            with engine.connect():
                pass
            engine.dispose()
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def _postgres_engine(postgres_url: str) -> Iterator[Engine]:
    engine = make_engine(postgres_url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database with every table; each test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        engine = make_engine(f"sqlite:///{tmp_path / 'db' / 'lms.sqlite'}")
        metadata.create_all(engine)
        yield engine
        engine.dispose()
        return
    engine = request.getfixturevalue("_postgres_engine")
    yield engine
    names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    """Sessions of the empty database, wired to every room's subscriptions."""
    return make_sessions(engine, make_bus())


@pytest.fixture
def session(sessions: sessionmaker[Session]) -> Iterator[Session]:
    """One session; the test commits when it wants to."""
    with sessions() as session:
        yield session


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    """An empty blob store."""
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def now() -> datetime:
    """A Tuesday afternoon in Seoul."""
    return datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
