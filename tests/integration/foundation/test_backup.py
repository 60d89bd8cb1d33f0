import tarfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from lms.catalogue.models import Offering
from lms.compute import bookings, reconcile, service
from lms.compute.rules import Cause, Need
from lms.exchange.models import Submission
from lms.exchange.service import read_submission
from lms.foundation.backup import check_backup, read_backup, write_backup
from lms.foundation.blobs import BlobStore
from lms.foundation.db import Base, make_engine, make_sessions
from lms.foundation.errors import ConflictError, InvalidError
from lms.foundation.events import EventBus
from lms.grading.audit import Act, append, check_chain
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM
from lms.migrations.run import differences, head_revision, upgrade
from tests.factories import (
    make_enrolment,
    make_offering,
    make_person,
    make_run,
    make_submission,
    make_task,
    notebook,
)
from tests.factories.compute import ask, make_student, simulated, started


@pytest.fixture
def fresh(engine: Engine, tmp_path: Path) -> Engine:
    """An empty database of the same kind as `engine`, in another place."""
    if engine.dialect.name == "sqlite":
        return make_engine(f"sqlite:///{tmp_path}/restored/lms.sqlite")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS restored"))
        connection.execute(text("CREATE DATABASE restored"))
    return make_engine(engine.url.set(database="restored").render_as_string(hide_password=False))


def _mark_migrated(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(
            text("INSERT INTO alembic_version VALUES (:head)"), {"head": head_revision()}
        )


def _fill(session: Session, blobs: BlobStore) -> None:
    person, offering = make_person(session, "minseo"), make_offering(session)
    make_enrolment(session, person, offering)
    task = make_task(session, offering)
    session.refresh(task, ["assignment"])
    submission = make_submission(session, task, person)
    blobs.put(notebook("attempt = 1"))
    run = make_run(session, submission)
    for number in range(3):
        append(session, Act.FINISHED, {"run": f"{run.id}-{number}"}, now=submission.submitted_at)
    _lease_gpus(session, offering, submission.submitted_at)
    session.commit()


def _lease_gpus(session: Session, offering: Offering, at: datetime) -> None:
    """Have a lease that is over, one that runs, and a reservation."""
    reconcile.take_stock(session, simulated(1, 2), now=at)
    for number in range(2):
        _, actor = make_student(session, offering)
        lease = ask(session, actor, offering, now=at, profile="gpu-slice")
        started(session, lease, now=at)
        if number == 0:
            service.end(session, lease.id, Cause.LOST, now=at + timedelta(hours=1))
    later = at + timedelta(days=1)
    slot = bookings.Slot(
        need=Need.SLICE, seats=1, starts_at=later, ends_at=later + timedelta(hours=1)
    )
    bookings.reserve(session, slot, offering_id=offering.id, actor=SYSTEM, now=at)


def test_restored_system_has_every_row_blob_and_key(
    engine: Engine, session: Session, blobs: BlobStore, fresh: Engine, tmp_path: Path, now: datetime
) -> None:
    _fill(session, blobs)
    _mark_migrated(engine)
    keys = tmp_path / "keys"
    (keys / "web").mkdir(parents=True)
    (keys / "web" / "session_secret").write_text("secret")
    archive = tmp_path / "backup.tar.gz"
    write_backup(archive, engine, {"blobs": blobs.root, "keys": keys}, now=now)
    assert archive.stat().st_mode & 0o777 == 0o600

    folders = {"blobs": tmp_path / "r" / "blobs", "keys": tmp_path / "r" / "keys"}
    read_backup(archive, fresh, folders, lambda revision: upgrade(fresh, revision))

    assert differences(fresh) == []
    with make_sessions(fresh, EventBus())() as restored:
        for table in Base.metadata.sorted_tables:
            count = select(func.count()).select_from(table)
            assert restored.scalar(count) == session.scalar(count), table.name
        submission = restored.scalars(select(Submission)).one()
        files = read_submission(BlobStore(folders["blobs"]), submission)
        assert files == {"ps1.ipynb": notebook("attempt = 1")}
        assert submission.submitted_at == session.scalars(select(Submission.submitted_at)).one()
        head, flaws = check_chain(restored)
        assert (head.sequence, flaws) == (3, [])
        # New rows must not collide with restored ids.
        restored.add(
            Person(
                username="later", display_name="Later", os_uid=299999, locale="en", created_at=now
            )
        )
        restored.commit()
    assert (folders["keys"] / "web" / "session_secret").read_text() == "secret"
    fresh.dispose()


def test_backup_of_a_database_with_rows_is_not_restored_over(
    engine: Engine, session: Session, blobs: BlobStore, tmp_path: Path, now: datetime
) -> None:
    _fill(session, blobs)
    _mark_migrated(engine)
    archive = tmp_path / "backup.tar.gz"
    write_backup(archive, engine, {}, now=now)
    with pytest.raises(ConflictError, match="not empty"):
        read_backup(archive, engine, {}, lambda _revision: None)


def test_existing_file_is_never_overwritten(engine: Engine, tmp_path: Path, now: datetime) -> None:
    _mark_migrated(engine)
    (tmp_path / "b.tar.gz").write_text("precious")
    with pytest.raises(ConflictError, match="exists already"):
        write_backup(tmp_path / "b.tar.gz", engine, {}, now=now)
    assert (tmp_path / "b.tar.gz").read_text() == "precious"


def test_one_flipped_byte_is_found_before_anything_is_written(
    engine: Engine, session: Session, blobs: BlobStore, tmp_path: Path, now: datetime
) -> None:
    _fill(session, blobs)
    _mark_migrated(engine)
    archive = tmp_path / "backup.tar.gz"
    write_backup(archive, engine, {"blobs": blobs.root}, now=now)
    check_backup(archive)
    content = bytearray(archive.read_bytes())
    end = len(content)
    # The last bytes are gzip's checksum and tar's padding, which no member's digest covers.
    for place in [*range(50, end, max(1, end // 20)), *range(end - 40, end)]:
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        (tmp_path / "damaged.tar.gz").write_bytes(bytes(damaged))
        with pytest.raises(InvalidError):
            check_backup(tmp_path / "damaged.tar.gz")
    (tmp_path / "half.tar.gz").write_bytes(bytes(content[: len(content) // 2]))
    with pytest.raises(InvalidError):
        check_backup(tmp_path / "half.tar.gz")


def test_archive_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("blobs/../../evil")
        tar.addfile(info)
    with pytest.raises(InvalidError):
        check_backup(archive)
