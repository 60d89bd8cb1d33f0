import threading
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.service import get_task
from lms.enrolment.service import actor_for
from lms.exchange.errors import (
    BadSubmissionError,
    NotEnrolledError,
    NotReleasedError,
    SubmissionNotFoundError,
)
from lms.exchange.models import Submission
from lms.exchange.service import (
    count_submitted,
    get_submission,
    list_received,
    read_submission,
    submit,
)
from lms.foundation.blobs import BlobStore, parse_digest
from lms.foundation.db import transaction
from lms.grading.models import Run
from lms.identity.scopes import Role
from lms.protocol.grading import RunStatus
from tests.factories import (
    make_enrolment,
    make_offering,
    make_person,
    make_task,
    notebook,
)


def test_submission_gets_a_receipt_and_is_queued_in_the_same_transaction(
    session: Session, blobs: BlobStore, now: datetime
) -> None:
    person, offering = make_person(session, "minseo"), make_offering(session)
    make_enrolment(session, person, offering)
    make_task(session, offering, due_at=now + timedelta(hours=1))
    task = get_task(session, offering.key, "ps1")
    files = {"ps1.ipynb": notebook()}
    receipt = submit(
        session, blobs, task, files, actor=actor_for(session, person), now=now, via="page"
    )
    assert (receipt.attempt, receipt.late, receipt.duplicate) == (1, False, False)
    assert receipt.to_json()["student"] == "minseo"
    parse_digest(receipt.digest)
    stored = session.get_one(Submission, receipt.submission_id)
    assert read_submission(blobs, stored) == files
    assert session.scalar(select(Run.status)) == RunStatus.QUEUED


def test_same_bytes_sent_twice_are_one_attempt(
    session: Session, blobs: BlobStore, now: datetime
) -> None:
    person, offering = make_person(session), make_offering(session)
    make_enrolment(session, person, offering)
    make_task(session, offering)
    task = get_task(session, offering.key, "ps1")
    actor = actor_for(session, person)
    first = submit(
        session, blobs, task, {"ps1.ipynb": notebook()}, actor=actor, now=now, via="page"
    )
    later = now + timedelta(minutes=1)
    again = submit(
        session, blobs, task, {"ps1.ipynb": notebook()}, actor=actor, now=later, via="notebook"
    )
    other = submit(
        session, blobs, task, {"ps1.ipynb": notebook("x = 2")}, actor=actor, now=later, via="page"
    )
    assert (again.duplicate, again.attempt, again.submitted_at) == (True, 1, first.submitted_at)
    assert other.attempt == 2
    assert session.scalar(select(func.count()).select_from(Run)) == 2
    assert count_submitted(session, person.id) == {offering.id: 1}


def test_late_work_is_kept_and_marked(session: Session, blobs: BlobStore, now: datetime) -> None:
    person, offering = make_person(session), make_offering(session)
    make_enrolment(session, person, offering)
    make_task(session, offering, due_at=now - timedelta(seconds=1))
    task = get_task(session, offering.key, "ps1")
    receipt = submit(
        session,
        blobs,
        task,
        {"ps1.ipynb": notebook()},
        actor=actor_for(session, person),
        now=now,
        via="page",
    )
    assert receipt.late


def test_only_people_in_the_offering_may_hand_in(
    session: Session, blobs: BlobStore, now: datetime
) -> None:
    person, offering = make_person(session), make_offering(session)
    make_task(session, offering)
    task = get_task(session, offering.key, "ps1")
    with pytest.raises(NotEnrolledError):
        submit(
            session,
            blobs,
            task,
            {"ps1.ipynb": notebook()},
            actor=actor_for(session, person),
            now=now,
            via="page",
        )


def test_nothing_can_be_handed_in_before_a_release(
    session: Session, blobs: BlobStore, now: datetime
) -> None:
    person, offering = make_person(session), make_offering(session)
    make_enrolment(session, person, offering)
    make_task(session, offering).release_id = None
    session.commit()
    task = get_task(session, offering.key, "ps1")
    with pytest.raises(NotReleasedError):
        submit(
            session,
            blobs,
            task,
            {"ps1.ipynb": notebook()},
            actor=actor_for(session, person),
            now=now,
            via="page",
        )


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "takes ps1.ipynb"),
        ({"other.ipynb": notebook()}, "takes ps1.ipynb"),
        ({"ps1.ipynb": b"\x89PNG not a notebook"}, "is not a Jupyter notebook"),
        ({"ps1.ipynb": b"[" * 100_000}, "is not a Jupyter notebook"),
        ({"ps1.ipynb": b'{"cells": 3}'}, "is not a Jupyter notebook"),
        ({"ps1.ipynb": notebook(), "../evil": b""}, "cannot be used"),
        ({"ps1.ipynb": notebook(), "/etc/passwd": b""}, "cannot be used"),
        ({"ps1.ipynb": notebook(), "a\x00b": b""}, "cannot be used"),
        ({"ps1.ipynb": notebook(), "a\\..\\b": b""}, "cannot be used"),
        ({"ps1.ipynb": b"x" * ((50 << 20) + 1)}, "at most 50 MB"),
        ({"ps1.ipynb": notebook()} | {f"f{i}": b"" for i in range(100)}, "at most 100"),
        ({"ps1.ipynb": notebook(), "\uac00.txt": b"", "\u1100\u1161.txt": b""}, "Two files"),
    ],
)
def test_bad_files_are_refused_with_a_sentence_and_nothing_is_stored(
    session: Session, blobs: BlobStore, now: datetime, files: dict[str, bytes], says: str
) -> None:
    person, offering = make_person(session), make_offering(session)
    make_enrolment(session, person, offering)
    make_task(session, offering)
    task = get_task(session, offering.key, "ps1")
    with pytest.raises(BadSubmissionError, match=says):
        submit(session, blobs, task, files, actor=actor_for(session, person), now=now, via="page")
    assert not blobs.root.exists()


def test_classmates_cannot_see_each_others_submission(
    session: Session, blobs: BlobStore, now: datetime
) -> None:
    offering = make_offering(session)
    mine, other, teacher = (make_person(session) for _ in range(3))
    for person in (mine, other):
        make_enrolment(session, person, offering)
    make_enrolment(session, teacher, offering, Role.INSTRUCTOR)
    make_task(session, offering)
    task = get_task(session, offering.key, "ps1")
    receipt = submit(
        session,
        blobs,
        task,
        {"ps1.ipynb": notebook()},
        actor=actor_for(session, mine),
        now=now,
        via="page",
    )
    get_submission(session, receipt.submission_id, actor=actor_for(session, mine))
    with pytest.raises(SubmissionNotFoundError):
        get_submission(session, receipt.submission_id, actor=actor_for(session, other))
    received = list_received(session, task.id, actor=actor_for(session, teacher))
    assert [person.id for _, person in received] == [mine.id]


def test_the_same_bytes_sent_at_once_from_many_places_are_one_attempt(
    sessions: sessionmaker[Session], blobs: BlobStore, now: datetime
) -> None:
    with transaction(sessions) as session:
        person, offering = make_person(session), make_offering(session)
        make_enrolment(session, person, offering)
        make_task(session, offering)
    errors: list[BaseException] = []

    def hand_in(number: int) -> None:
        try:
            with transaction(sessions) as own:
                task = get_task(own, offering.key, "ps1")
                files = {"ps1.ipynb": notebook(f"x = {number % 2}")}
                actor = actor_for(own, person)
                submit(own, blobs, task, files, actor=actor, now=now, via="page")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=hand_in, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    with sessions() as session:
        attempts = session.scalars(select(Submission.attempt).order_by(Submission.attempt)).all()
    assert attempts == [1, 2]
