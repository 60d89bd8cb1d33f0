"""What the pages of centres ask: courses and seals on the box, what waits, who syncs when."""

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Targets

from lms.catalogue.models import Assignment, Course, Release
from lms.catalogue.service import list_titles
from lms.centre.models import (
    Centre,
    CentreChain,
    CentreCheckpoint,
    CentreConflict,
    CentreOrigin,
    CentreRecord,
    CentreResult,
    CentreSelf,
    JournalRecord,
)
from lms.centre.opening import list_seals
from lms.centre.rules import RecordState, ResultState
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.exchange.models import Submission
from lms.foundation.bilingual import Bilingual
from lms.foundation.errors import InvalidError
from lms.grading.audit import Act
from lms.grading.models import AuditEntry, CellScore, NotebookRun, Run
from lms.grading.queue import PARKED, SEALED, parked
from lms.identity.scopes import Role
from lms.outposts.bundles.opening import SealState
from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.signing import target_name
from lms.outposts.bundles.store import Installed, Store
from lms.outposts.software.contents import SOFTWARE
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import Sentence

#: A UUIDv7 begins with its milliseconds, in so many hexadecimal digits.
_TIME_DIGITS = 12
_MILLI = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The software travels as courses do.
_SOFTWARE = Bilingual(ko="이 컴퓨터의 소프트웨어", en="The software of this machine")
#: A block of a file, whatever the disk says.
_BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What became of the work that waited for a course's hidden tests."""

    at: datetime
    graded: int
    under_way: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseHere:
    """A course of this box; `version` is None when only a problem is known of it."""

    key: str
    title: Bilingual | None
    version: int | None = None
    #: The newest version that central is known to have signed.
    newest: int | None = None
    #: The version that stood before and is kept.
    previous: int | None = None
    size_bytes: int = 0
    seals: tuple[SealState, ...] = ()
    #: Submissions that wait for the hidden tests.
    waiting: int = 0
    opened: Opened | None = None
    problem: Sentence | None = None

    @property
    def is_behind(self) -> bool:
        """Whether a newer version is known that does not stand here yet."""
        return None not in (self.newest, self.version) and self.newest != self.version


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The disk that the data folder is on, in bytes; parts by the name of their folder."""

    total: int
    free: int
    parts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """The questions on which a centre and central disagree: (name, centre's, central's, most)."""

    theirs: Run
    ours: Run
    questions: tuple[tuple[str, float | None, float | None, float], ...]


def list_courses(session: Session, store: Store) -> list[CourseHere]:
    """Return the courses of this box by key, damaged ones with their problem."""
    keys = store.courses()
    titles = {SOFTWARE: _SOFTWARE, **list_titles(session, keys)}
    waiting = _waiting(session)
    found = []
    for key in keys:
        try:
            found.append(_course(session, store, key, titles.get(key), waiting.get(key, 0)))
        except (BundleError, InvalidError) as error:
            found.append(CourseHere(key=key, title=titles.get(key), problem=error.sentence))
    return found


def _course(
    session: Session, store: Store, key: str, title: Bilingual | None, waiting: int
) -> CourseHere:
    stands = store.installed(key)
    if stands is None:
        return CourseHere(key=key, title=title)
    manifest = store.manifest(stands.digest)
    return CourseHere(
        key=key,
        title=title,
        version=stands.version,
        newest=_newest_known(store, key),
        previous=_previous(store, stands),
        size_bytes=sum(entry.size for entry in manifest.by_digest().values()),
        seals=tuple(list_seals(store, key)),
        waiting=waiting,
        opened=_opened(session, key),
    )


def _previous(store: Store, stands: Installed) -> int | None:
    if not stands.previous or store.manifest_bytes(stands.previous) is None:
        return None
    return store.manifest(stands.previous).version


def _newest_known(store: Store, course: str) -> int | None:
    """Return the newest version in the metadata that was verified when it was taken."""
    try:
        content = (store.root / "trusted" / f"{course}.json").read_bytes()
        signed = Metadata[Targets].from_bytes(content).signed
        version = signed.targets[target_name(course)].unrecognized_fields["custom"]["version"]
    except (RepositoryError, OSError, KeyError, TypeError, ValueError):
        return None
    return version if isinstance(version, int) else None


def _waiting(session: Session) -> Counter[str]:
    """Count the runs that wait for hidden tests, by course."""
    sealed = {
        f"sha256:{name.removeprefix(SEALED)}": count
        for name, count in parked(session).items()
        if name.startswith(SEALED)
    }
    rows = session.execute(
        select(Course.key, Release.digest)
        .join(Assignment, Assignment.course_id == Course.id)
        .join(Release, Release.assignment_id == Assignment.id)
        .where(Release.digest.in_(list(sealed)))
        .distinct()
    )
    counts: Counter[str] = Counter()
    for course, digest in rows:
        counts[course] += sealed[digest]
    return counts


def _opened(session: Session, course: str) -> Opened | None:
    """Return what came of the work that had waited when the course was last opened."""
    entry = session.scalars(
        select(AuditEntry)
        .where(
            AuditEntry.kind == Act.SEAL_OPENED,
            AuditEntry.body.contains(f'"course":"{course}"', autoescape=True),
        )
        .order_by(AuditEntry.sequence.desc())
        .limit(1)
    ).first()
    if entry is None:
        return None
    rows = session.execute(
        select(Run.status, func.count())
        .join(Submission, Submission.id == Run.submission_id)
        .join(Release, Release.id == func.coalesce(Run.release_id, Submission.release_id))
        .join(Assignment, Assignment.id == Release.assignment_id)
        .join(Course, Course.id == Assignment.course_id)
        .where(
            Course.key == course,
            Run.preview.is_(False),
            Run.queued_at <= entry.at,
            Run.resource != PARKED,
            (Run.finished_at >= entry.at) | Run.finished_at.is_(None),
        )
        .group_by(Run.status)
    ).all()
    counts = {str(status): count for status, count in rows}
    under_way = sum(counts.pop(status, 0) for status in (RunStatus.QUEUED, RunStatus.RUNNING))
    return Opened(at=entry.at, graded=sum(counts.values()), under_way=under_way)


def count_students(session: Session) -> int:
    """Return how many people study here."""
    return (
        session.scalar(
            select(func.count(func.distinct(Enrolment.person_id))).where(
                Enrolment.role == Role.STUDENT, Enrolment.state == EnrolmentState.ACTIVE
            )
        )
        or 0
    )


def records_since(session: Session, me: CentreSelf, since: datetime) -> list[tuple[datetime, bool]]:
    """Return when each record since then was written, and whether central has it."""
    first = f"{max(0, (since - _EPOCH) // _MILLI):012x}"
    rows = session.execute(
        select(JournalRecord.record, JournalRecord.seq)
        .where(JournalRecord.epoch == me.epoch, JournalRecord.record >= first)
        .order_by(JournalRecord.seq)
    )
    return [(_written_at(record), seq <= me.complete_to) for record, seq in rows]


def oldest_waiting(session: Session, me: CentreSelf) -> datetime | None:
    """Return when the first record was written that central does not have yet."""
    record = session.scalar(
        select(JournalRecord.record)
        .where(JournalRecord.epoch == me.epoch, JournalRecord.seq > me.complete_to)
        .order_by(JournalRecord.seq)
        .limit(1)
    )
    return None if record is None else _written_at(record)


def _written_at(record: str) -> datetime:
    return _EPOCH + int(record[:_TIME_DIGITS], 16) * _MILLI


def measure(folder: Path, parts: Iterable[str]) -> Space:
    """Return how full the disk is, and what each of the folders below uses of it."""
    # The folder itself lies in memory where this part sees only some of it; what it holds does not.
    disk = shutil.disk_usage(folder / "blobs")
    used = {name: _used(folder / name) for name in parts}
    return Space(total=disk.total, free=disk.free, parts=used)


def _used(folder: Path) -> int:
    # What this process may not look into counts as nothing.
    total, seen = 0, set()
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.lstat(f"{place}/{name}")
            except OSError:
                continue
            if (state.st_dev, state.st_ino) not in seen:
                seen.add((state.st_dev, state.st_ino))
                total += state.st_blocks * _BLOCK
    return total


def list_centres(session: Session) -> list[Centre]:
    """Return the centres that central knows, by name."""
    return list(session.scalars(select(Centre).order_by(Centre.name)))


def count_records(session: Session) -> dict[str, Counter[RecordState]]:
    """Count what came from each centre, by what became of it."""
    found: dict[str, Counter[RecordState]] = {}
    rows = session.execute(
        select(CentreRecord.centre, CentreRecord.state, func.count()).group_by(
            CentreRecord.centre, CentreRecord.state
        )
    )
    for centre, state, count in rows:
        found.setdefault(centre, Counter())[RecordState(state)] = count
    return found


def count_results(session: Session) -> dict[str, Counter[ResultState]]:
    """Count each centre's results, by how far they are trusted."""
    found: dict[str, Counter[ResultState]] = {}
    rows = session.execute(
        select(CentreResult.centre, CentreResult.state, func.count()).group_by(
            CentreResult.centre, CentreResult.state
        )
    )
    for centre, state, count in rows:
        found.setdefault(centre, Counter())[ResultState(state)] = count
    return found


def received_since(session: Session, since: datetime) -> dict[str, list[tuple[datetime, int]]]:
    """Return when records of each centre came since then, and how many."""
    rows = session.execute(
        select(CentreCheckpoint)
        .where(CentreCheckpoint.received_at >= since)
        .order_by(CentreCheckpoint.received_at)
    ).scalars()
    found: dict[str, list[tuple[datetime, int]]] = {}
    for row in rows:
        found.setdefault(row.centre, []).append((row.received_at, row.last - row.first + 1))
    return found


def list_refused(
    session: Session, centre: Centre, limit: int = 50
) -> list[tuple[int, Sentence | None]]:
    """Return the numbers of the records that central did not take over, newest first, and why."""
    rows = session.execute(
        select(CentreRecord.seq, CentreRecord.reason)
        .where(CentreRecord.centre == centre.id, CentreRecord.state == RecordState.REFUSED)
        .order_by(CentreRecord.id.desc())
        .limit(limit)
    )
    return [(seq, None if reason is None else Sentence.from_json(reason)) for seq, reason in rows]


def list_conflicts(
    session: Session, centre: Centre, limit: int = 50
) -> list[tuple[str, int, Sentence]]:
    """Return where two truths met, newest first: kind, submission and what was decided."""
    rows = session.execute(
        select(CentreConflict.kind, CentreConflict.submission_id, CentreConflict.decision)
        .where(CentreConflict.centre == centre.id)
        .order_by(CentreConflict.id.desc())
        .limit(limit)
    )
    return [(kind, submission, Sentence.from_json(said)) for kind, submission, said in rows]


def count_origins(session: Session, centre: Centre) -> int:
    """Return how many submissions came from a centre."""
    counted = select(func.count()).where(CentreOrigin.centre == centre.id)
    return session.scalar(counted) or 0


def forked(session: Session) -> set[str]:
    """Return the centres whose newest journal has two histories: put back from a backup."""
    return set(
        session.scalars(
            select(CentreChain.centre)
            .join(Centre, Centre.id == CentreChain.centre)
            .where(CentreChain.forked_at.is_not(None), CentreChain.epoch == Centre.epoch)
        )
    )


def find_dispute(session: Session, centre: Centre, run_id: int) -> Dispute | None:
    """Return both runs of a result that central's own grading does not confirm."""
    result = session.scalar(
        select(CentreResult).where(
            CentreResult.centre == centre.id,
            CentreResult.run_id == run_id,
            CentreResult.audit_run_id.is_not(None),
        )
    )
    if result is None:
        return None
    theirs, ours = _scores(session, result.run_id), _scores(session, result.audit_run_id or 0)
    most = {name: limit for name, (_, limit) in (*theirs.items(), *ours.items())}
    return Dispute(
        theirs=session.get_one(Run, result.run_id),
        ours=session.get_one(Run, result.audit_run_id),
        questions=tuple(
            (name, theirs.get(name, (None, 0))[0], ours.get(name, (None, 0))[0], limit)
            for name, limit in most.items()
        ),
    )


def _scores(session: Session, run_id: int) -> dict[str, tuple[float | None, float]]:
    rows = session.execute(
        select(NotebookRun.notebook, CellScore.grade_id, CellScore.auto_score, CellScore.max_score)
        .join(CellScore, CellScore.notebook_run_id == NotebookRun.id)
        .where(NotebookRun.run_id == run_id)
        .order_by(NotebookRun.id, CellScore.id)
    )
    return {f"{notebook} · {name}": (score, most) for notebook, name, score, most in rows}
