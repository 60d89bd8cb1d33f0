"""Builders of rows: each makes one valid thing, and whatever it needs around it."""

import itertools
import json
from datetime import date, datetime, timedelta

from sqlalchemy.orm import Session

from lms.catalogue.models import (
    Assignment,
    Course,
    OfferedAssignment,
    Offering,
    Programme,
    Release,
    Unit,
)
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.exchange.models import Submission
from lms.exchange.rules import submission_digest
from lms.foundation.bilingual import Bilingual
from lms.foundation.blobs import BlobStore, digest_of
from lms.grading.models import Run
from lms.identity.models import Person
from lms.identity.scopes import Actor, Role
from lms.protocol.grading import RunStatus

_numbers = itertools.count(1)
#: When the builders' things came to be.
BEFORE = datetime.fromisoformat("2026-11-02T00:00:00+00:00")


def notebook(source: str = "x = 1") -> bytes:
    """Return the bytes of a small valid notebook."""
    cell: dict[str, object] = {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
    cell |= {"execution_count": None, "id": "c1"}
    document = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document).encode()


def make_person(session: Session, username: str = "", **fields: object) -> Person:
    """Add a person; the password is unset."""
    number = next(_numbers)
    values: dict[str, object] = {
        "username": username or f"person{number}",
        "display_name": username.title() or f"Person {number}",
        "os_uid": 200000 + number,
        "locale": "ko",
        "created_at": BEFORE,
        "is_admin": False,
        "must_change_password": False,
    }
    person = Person(**(values | fields))
    session.add(person)
    session.flush()
    return person


def make_course(session: Session, key: str = "ml", **fields: object) -> Course:
    """Add a course without units, assignments or offerings."""
    values: dict[str, object] = {
        "code": "AIB201",
        "title": Bilingual(ko="기계학습", en="Machine Learning"),
        "summary": Bilingual(ko="일반화를 배웁니다.", en="Learn to generalise."),
        "level": "bachelor",
        "credits": 3,
        "contact_hours": 45,
        "study_hours": 75,
        "languages": ["ko", "en"],
        "tags": ["ml"],
        "prerequisites": [],
        "outcomes": [],
        "compute": {"profile": "cpu"},
    }
    course = Course(key=key, **(values | fields))
    session.add(course)
    session.flush()
    return course


def make_unit(session: Session, course: Course, key: str, content: bytes, blobs: BlobStore) -> Unit:
    """Add a Markdown unit."""
    unit = Unit(
        course_id=course.id,
        key=key,
        position=next(_numbers),
        title=Bilingual(ko=f"단원 {key}", en=f"Unit {key}"),
        summary=Bilingual(ko="요약", en="Summary"),
        minutes=20,
        file=f"units/{key}.md",
        digest=blobs.put(content),
    )
    session.add(unit)
    session.flush()
    return unit


def make_offering(session: Session, course: Course | None = None, **fields: object) -> Offering:
    """Add an open offering that began in the winter of 2026."""
    course = course or make_course(session, f"course{next(_numbers)}")
    values: dict[str, object] = {
        "key": f"{course.key}-2026w",
        "term": "2026-winter",
        "title": Bilingual(ko="2026 겨울", en="Winter 2026"),
        "starts_on": date(2026, 11, 2),
        # Far off, for tests that go by the real clock.
        "ends_on": date(2099, 2, 26),
        "enrolment": "open",
        "code": None,
        "capacity": None,
    }
    offering = Offering(course_id=course.id, **(values | fields))
    session.add(offering)
    session.flush()
    return offering


def make_task(
    session: Session, offering: Offering, key: str = "ps1", *, due_at: datetime | None = None
) -> OfferedAssignment:
    """Add a released assignment with one notebook `<key>.ipynb` of two questions."""
    assignment = Assignment(
        course_id=offering.course_id,
        key=key,
        position=next(_numbers),
        title=Bilingual(ko=f"과제 {key}", en=f"Assignment {key}"),
        summary=Bilingual(ko="요약", en="Summary"),
        unit_key="",
        minutes=60,
        limits={},
    )
    session.add(assignment)
    session.flush()
    questions = [
        {"grade_id": "q1", "points": 2.0, "manual": False},
        {"grade_id": "q2", "points": 3.0, "manual": True},
    ]
    release = Release(
        assignment_id=assignment.id,
        number=1,
        digest=digest_of(f"release of {offering.key}/{key}".encode()),
        published_at=BEFORE,
        published_by=None,
        points=5.0,
        manual_points=3.0,
        notebooks=[{"name": key, "questions": questions}],
    )
    session.add(release)
    session.flush()
    task = OfferedAssignment(
        offering_id=offering.id, assignment_id=assignment.id, due_at=due_at, release_id=release.id
    )
    session.add(task)
    session.flush()
    return task


def make_enrolment(
    session: Session,
    person: Person,
    offering: Offering,
    role: Role = Role.STUDENT,
    state: EnrolmentState = EnrolmentState.ACTIVE,
) -> Enrolment:
    """Add an enrolment, active unless told otherwise."""
    enrolment = Enrolment(
        person_id=person.id,
        offering_id=offering.id,
        role=role,
        state=state,
        requested_at=BEFORE,
    )
    session.add(enrolment)
    session.flush()
    return enrolment


def make_submission(
    session: Session, task: OfferedAssignment, person: Person, *, attempt: int = 1
) -> Submission:
    """Add a submission whose bytes are in no blob store."""
    files = {f"{task.assignment.key}.ipynb": notebook(f"attempt = {attempt}")}
    submission = Submission(
        task_id=task.id,
        release_id=task.release_id,
        person_id=person.id,
        attempt=attempt,
        digest=submission_digest(files),
        files=[
            {"path": path, "digest": digest_of(data), "bytes": len(data)}
            for path, data in files.items()
        ],
        submitted_at=BEFORE + timedelta(hours=attempt),
        late=False,
        via="page",
    )
    session.add(submission)
    session.flush()
    return submission


def make_run(
    session: Session,
    submission: Submission,
    status: RunStatus = RunStatus.GRADED,
    **fields: object,
) -> Run:
    """Add a run of the submission; graded with 2 of 5 points unless told otherwise."""
    values: dict[str, object] = {
        "number": 1,
        "status": status,
        "queued_at": submission.submitted_at,
        "claim": 0,
        "interruptions": 0,
        "unsafe": False,
    }
    if status in {RunStatus.GRADED, RunStatus.NEEDS_MANUAL}:
        values |= {"score": 2.0, "max_score": 5.0, "integrity": "unverified"}
    run = Run(submission_id=submission.id, **(values | fields))
    session.add(run)
    session.flush()
    return run


def make_programme(session: Session, key: str, required: list[str]) -> Programme:
    """Add a programme over existing course keys, one a term."""
    programme = Programme(
        key=key,
        title=Bilingual(ko="AI 기초 과정", en="AI Foundations"),
        summary=Bilingual(ko="누구나", en="For everyone"),
        kind="certificate",
        credits=6,
        required=required,
        path=[[course] for course in required],
        position=next(_numbers),
    )
    session.add(programme)
    session.flush()
    return programme


def actor_of(person: Person, **roles: Role) -> Actor:
    """Return the actor `person` is; roles by "o<offering id>"."""
    return Actor(
        person_id=person.id,
        username=person.username,
        is_admin=person.is_admin,
        roles={int(key[1:]): role for key, role in roles.items()},
    )
