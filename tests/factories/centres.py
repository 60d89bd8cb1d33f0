"""A centre's box and central on one machine, and what people do at either."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.bootstrap import System, build, receipt_keys, sync_place, sync_signer
from lms.catalogue.models import OfferedAssignment
from lms.catalogue.service import get_task
from lms.centre.applying import Place
from lms.centre.keys import central_keys, centre_keys, make_folders
from lms.centre.line import CONTENT_TYPE, HEADER
from lms.centre.models import Centre, JournalRecord
from lms.centre.parcels import MAX_RECORDS
from lms.centre.pushing import Push, Pushed
from lms.centre.sending import make_parcel
from lms.centre.stick import StickPush, Written
from lms.centre.tickets import Central, approve, get_centre, get_self, invite, join
from lms.enrolment.service import actor_for, enrol
from lms.exchange.service import Receipt, submit
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError, UnavailableError
from lms.foundation.settings import Settings
from lms.foundation.signing import Signer
from lms.grading.cache import make_recipe
from lms.grading.models import Run
from lms.grading.service import finish
from lms.grading.values import Finding
from lms.identity.models import Person
from lms.migrations.tables import metadata
from lms.protocol.grading import Limits
from lms.protocol.sentences import sentence
from tests.factories import make_course, make_offering, make_person, make_task, notebook
from tests.factories.grading import claim_of, finding

OFFERING, TASK = "ml-2026w", "ps1"
_CUT = sentence("The line was cut.")


@dataclass
class AppLine:
    """The line to central's real application; it can be cut before or after central has heard."""

    app: Flask
    #: Numbers of calls (from 1) that never arrive, and whose answers get lost.
    lost: frozenset[int] = frozenset()
    unanswered: frozenset[int] = frozenset()
    calls: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: bytes, header: str) -> bytes:
        self.calls.append(f"{method} {path}")
        number = len(self.calls)
        if number in self.lost:
            raise UnavailableError(_CUT)
        answer = self.app.test_client().open(
            path, method=method, data=body, headers={HEADER: header, "Accept-Language": "en"},
            base_url="http://127.0.0.1:8123",
        )  # fmt: skip
        if number in self.unanswered:
            raise UnavailableError(_CUT)
        if answer.status_code >= 400:
            raise ConflictError(sentence("%(what)s", what=answer.get_data(as_text=True)[:400]))
        assert answer.content_type == CONTENT_TYPE
        return answer.get_data()


@dataclass
class Box:
    """A centre's machine."""

    system: System

    @property
    def signer(self) -> Signer:
        keys = centre_keys(self.system.settings)
        make_folders(keys)
        return keys.signer(clock.now())

    def join(self, ticket: str) -> str:
        signer = self.signer
        grading = receipt_keys(self.system.settings)
        grading.signer(clock.now())
        with transaction(self.system.sessions) as session:
            return join(
                session,
                ticket,
                signer,
                keys=centre_keys(self.system.settings).published(),
                receipt_keys=grading.published(),
                now=clock.now(),
            )

    def student(self, name: str) -> Person:
        """Add somebody and enrol them."""
        with transaction(self.system.sessions) as session:
            person = make_person(session, name)
            offering = _task(session).offering
            enrol(session, offering, actor=actor_for(session, person), now=clock.now())
        return person

    def submit(self, person: Person, source: str = "x = 1") -> Receipt:
        with transaction(self.system.sessions) as session:
            return submit(
                session, self.system.blobs, _task(session), {f"{TASK}.ipynb": notebook(source)},
                actor=actor_for(session, person), now=clock.now(), via="page",
            )  # fmt: skip

    def grade(self, submission_id: int, *findings: Finding) -> Run:
        return grade(self.system, submission_id, findings or (finding(),))

    def work(self, person: Person, source: str = "x = 1", *findings: Finding) -> Run:
        """Hand in and have it graded."""
        return self.grade(self.submit(person, source).submission_id, *findings)

    def parcel(self, after: int = 0, limit: int = MAX_RECORDS) -> bytes:
        with self.system.sessions() as session:
            made = make_parcel(
                session, get_self(session), self.signer, after=after, limit=limit,
                receipt_keys=receipt_keys(self.system.settings).published(),
            )  # fmt: skip
        assert made is not None
        return made

    def push(self, line: AppLine) -> Pushed:
        return Push(
            sessions=self.system.sessions, blobs=self.system.blobs, line=line, signer=self.signer,
            receipt_keys=receipt_keys(self.system.settings),
        ).run()  # fmt: skip

    def write(self, folder: Path) -> Written:
        return StickPush(
            sessions=self.system.sessions, blobs=self.system.blobs, signer=self.signer,
            receipt_keys=receipt_keys(self.system.settings),
        ).run(folder)  # fmt: skip

    def records(self) -> list[JournalRecord]:
        with self.system.sessions() as session:
            return list(
                session.scalars(
                    select(JournalRecord).order_by(JournalRecord.epoch, JournalRecord.seq)
                )
            )


def grade(system: System, submission_id: int, findings: Sequence[Finding]) -> Run:
    """End the submission's queued run with these findings."""
    with transaction(system.sessions) as session:
        run = session.scalars(
            select(Run).where(Run.submission_id == submission_id).order_by(Run.number.desc())
        ).first()
        assert run is not None
        _finish(session, run, findings)
    return run


def grade_run(system: System, run_id: int, findings: Sequence[Finding]) -> None:
    """End exactly this queued run."""
    with transaction(system.sessions) as session:
        _finish(session, session.get_one(Run, run_id), findings)


def _finish(session: Session, run: Run, findings: Sequence[Finding]) -> None:
    now = clock.now()
    recipe = make_recipe(
        source="sha256:s", tests="sha256:t", submission=f"sha256:{run.id}", limits=Limits()
    )
    assert finish(session, claim_of(session, run, now), findings, now=now, recipe=recipe)


def make_box(folder: Path, empty: Path | None = None) -> Box:
    """Return a box with the course that central has too; `empty` is a database with all tables."""
    system = build(Settings(data_dir=folder, lms_url="http://centre.local"))
    if empty is None:
        metadata.create_all(system.engine)
    else:
        # Copying a file is far cheaper than making sixty tables.
        shutil.copy(empty, system.engine.url.database or "")
    make_content(system)
    return Box(system)


def make_content(system: System, *, due_at: datetime | None = None) -> None:
    """Offer the course with its one task; digests are the same everywhere."""
    with transaction(system.sessions) as session:
        offering = make_offering(session, make_course(session, "ml"), key=OFFERING)
        make_task(session, offering, TASK, due_at=due_at)


def _task(session: Session) -> OfferedAssignment:
    return get_task(session, OFFERING, TASK)


def make_invitation(system: System, name: str = "Jeju", *, again: bool = False) -> str:
    """Return a ticket of central's."""
    signer = sync_signer(system.settings)
    about = Central(
        url=system.settings.lms_url,
        keys=central_keys(system.settings).published(),
        signer=signer,
    )
    with transaction(system.sessions) as session:
        return invite(session, name, about, days=30, again=again, now=clock.now())


def enter(system: System, box: Box, name: str = "Jeju", *, again: bool = False) -> None:
    """Invite, join and approve."""
    reply = box.join(make_invitation(system, name, again=again))
    with transaction(system.sessions) as session:
        approve(session, reply, now=clock.now())


def set_rate(system: System, rate: float, name: str = "Jeju") -> None:
    with transaction(system.sessions) as session:
        get_centre(session, name).audit_rate = rate


def find_centre(session: Session, name: str = "Jeju") -> Centre:
    return get_centre(session, name)


def place_of(system: System) -> Place:
    return sync_place(system)
