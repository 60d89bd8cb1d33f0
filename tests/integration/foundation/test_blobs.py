import os
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.service import get_task
from lms.enrolment.service import actor_for
from lms.exchange.models import Submission
from lms.exchange.service import submit
from lms.foundation.blobs import BlobStore, digest_of
from lms.foundation.errors import InvalidError, NotFoundError, UnavailableError
from tests.factories import make_enrolment, make_offering, make_person, make_task, notebook


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_stored_bytes_come_back_by_their_digest(blobs: BlobStore) -> None:
    digest = blobs.put(b"content")
    assert digest == digest_of(b"content")
    assert blobs.put(b"content") == digest
    assert digest in blobs
    assert blobs.get(digest) == b"content"


def test_damaged_bytes_are_never_handed_out(blobs: BlobStore) -> None:
    digest = blobs.put(b"content")
    path = next(path for path in blobs.root.rglob("*") if path.is_file())
    path.chmod(0o600)
    path.write_bytes(b"c0ntent")
    with pytest.raises(UnavailableError, match="damaged"):
        blobs.get(digest)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:../../../etc/passwd", "md5:" + "0" * 64])
def test_what_is_no_digest_never_becomes_a_path(blobs: BlobStore, digest: str) -> None:
    with pytest.raises(InvalidError):
        blobs.get(digest)


def test_unknown_digest_is_a_sentence(blobs: BlobStore) -> None:
    with pytest.raises(NotFoundError):
        blobs.get(digest_of(b"never stored"))


def test_full_disk_is_a_sentence_and_leaves_nothing_half_written(tiny_disk: Path) -> None:
    store = BlobStore(tiny_disk / "blobs")
    kept = store.put(b"small")
    with pytest.raises(UnavailableError, match="could not be stored: No space left on device"):
        store.put(os.urandom(200_000))
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [kept[7:]]
    assert store.get(kept) == b"small"


def test_submission_on_a_full_disk_is_refused_whole_and_works_once_there_is_room(
    session: Session, tiny_disk: Path, now: datetime
) -> None:
    person, offering = make_person(session), make_offering(session)
    make_enrolment(session, person, offering)
    make_task(session, offering)
    session.commit()
    task, actor = get_task(session, offering.key, "ps1"), actor_for(session, person)
    store = BlobStore(tiny_disk / "blobs")
    filler = tiny_disk / "filler"
    filler.write_bytes(b"\0" * 60_000)
    files = {"ps1.ipynb": notebook("x = '" + "a" * 20_000 + "'")}
    with pytest.raises(UnavailableError):
        submit(session, store, task, files, actor=actor, now=now, via="page")
    session.rollback()
    assert session.scalar(select(func.count()).select_from(Submission)) == 0
    filler.unlink()
    receipt = submit(session, store, task, files, actor=actor, now=now, via="page")
    assert (receipt.attempt, receipt.duplicate) == (1, False)
