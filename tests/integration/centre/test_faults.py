"""What goes wrong between a centre and central: each is refused or kept, and said."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from lms.bootstrap import System, sync_signer
from lms.catalogue.service import get_task
from lms.centre.applying import apply_all, retry_refused
from lms.centre.collecting import take_parcel
from lms.centre.errors import BadParcelError
from lms.centre.joining import claim_codes
from lms.centre.journal import append
from lms.centre.models import (
    CentreChain,
    CentreConflict,
    CentreRecord,
    CentreResult,
    CentreSelf,
    JournalPerson,
)
from lms.centre.parcels import Parcel, pack, unpack
from lms.centre.people import claim
from lms.centre.receiving import Outcome, Taken, take_in
from lms.centre.rules import ConflictKind, Kind, RecordState, claim_code, compact
from lms.centre.status import central_status
from lms.centre.trust import revoke
from lms.enrolment.service import actor_for, enrol
from lms.exchange.models import Submission
from lms.exchange.service import submit
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import ConflictError
from lms.gradebook.service import standing
from lms.grading.models import CellScore, NotebookRun, Run
from lms.identity.models import Person
from lms.protocol.sentences import Sentence
from tests.conftest import engine  # noqa: F401 - central on both kinds of database
from tests.factories import make_person, notebook
from tests.factories.centres import (
    OFFERING,
    TASK,
    AppLine,
    Box,
    enter,
    find_centre,
    grade,
    make_box,
    place_of,
)
from tests.factories.grading import finding
from tests.fakes.clock import Clock
from tests.integration.centre.conftest import MakeBox


def _take(central: System, content: bytes) -> Taken:
    with transaction(central.sessions) as session:
        return take_in(session, central.blobs, content, now=clock.now())


def _refused(central: System) -> list[str]:
    with central.sessions() as session:
        rows = session.scalars(
            select(CentreRecord.reason)
            .where(CentreRecord.state == RecordState.REFUSED)
            .order_by(CentreRecord.id)
        )
        return [str(Sentence.from_json(row)) for row in rows]


def _count(central: System, table: type) -> int:
    with central.sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _rewrite(box: Box, parcel: Parcel, changes: dict[str, str], **over: str) -> bytes:
    """Return the parcel again, signed anew by the box, with texts replaced in its records."""
    records: list[tuple[str, str | None]] = []
    for line in parcel.lines:
        body, details = line.body, line.details or ""
        for old, new in changes.items():
            body, details = body.replace(old, new), details.replace(old, new)
        records.append((body, details or None))
    facts: dict[str, Any] = {
        "centre": parcel.centre, "epoch": 1, "first": 1, "start": "0" * 64,
        "sheet": parcel.sheet, "records": records,
    }  # fmt: skip
    return pack(box.signer, **(facts | over))


def test_the_same_parcel_again_adds_nothing(central: System, box: Box) -> None:
    box.work(box.student("haneul"))
    parcel = box.parcel()
    assert [_take(central, parcel).new for _ in range(3)] == [3, 0, 0]


def test_overlapping_parcels_add_only_their_tails(central: System, box: Box) -> None:
    student = box.student("haneul")
    for number in range(3):
        box.submit(student, f"x = {number}")
    assert _take(central, box.parcel(limit=3)).new == 3
    assert _take(central, box.parcel(after=1)).new == 1
    assert _take(central, box.parcel()).new == 0


def test_a_gap_is_refused_and_filled_later(central: System, box: Box) -> None:
    student = box.student("haneul")
    for number in range(3):
        box.submit(student, f"x = {number}")
    late = _take(central, box.parcel(after=2))
    assert (late.outcome, late.seq, late.new) == (Outcome.GAP, 0, 0)
    assert _take(central, box.parcel(limit=2)).seq == 2
    assert _take(central, box.parcel(after=2)).seq == 4


def test_one_changed_byte_is_found_wherever_it_is(central: System, box: Box) -> None:
    box.work(box.student("haneul"))
    parcel = unpack(box.parcel())
    import zstandard

    lines = zstandard.ZstdDecompressor().decompress(box.parcel(), max_output_size=1 << 22)
    for spot in (b"submission", b'"salt":"', b'"score":2.0', b'"value":"'):
        at = lines.index(spot) + len(spot) - 1
        changed = lines[:at] + bytes([lines[at] ^ 1]) + lines[at + 1 :]
        with pytest.raises(BadParcelError):
            _take(central, zstandard.ZstdCompressor().compress(changed))
    assert parcel.centre
    assert _count(central, CentreRecord) == 0


def test_a_bomb_is_not_unpacked(central: System) -> None:
    import zstandard

    with pytest.raises(BadParcelError, match="not a whole piece"):
        _take(central, zstandard.ZstdCompressor().compress(bytes(80 << 20)))


def test_another_centres_key_signs_nothing_here(central: System, boxes: MakeBox) -> None:
    mine, other = boxes("Jeju"), boxes("Busan")
    mine.work(mine.student("haneul"))
    with pytest.raises(BadParcelError, match="not signed with this centre's key"):
        _take(central, _rewrite(other, unpack(mine.parcel()), {}))


def test_another_centres_record_is_refused(central: System, boxes: MakeBox) -> None:
    mine, other = boxes("Jeju"), boxes("Busan")
    mine.work(mine.student("haneul"))
    other.work(other.student("bada"))
    parcel = unpack(mine.parcel())
    forged = _rewrite(mine, parcel, {parcel.centre: unpack(other.parcel()).centre},
                      centre=parcel.centre)  # fmt: skip
    with pytest.raises(BadParcelError, match="belongs to another centre"):
        _take(central, forged)


def test_details_other_than_those_committed_to_are_refused(central: System, box: Box) -> None:
    box.submit(box.student("haneul"))
    _take(central, _rewrite(box, unpack(box.parcel()), {'"attempt":1': '"attempt":2'}))
    take_parcel(place_of(central), box.parcel(), sync_signer(central.settings), now=clock.now())
    assert "not those that were signed" in _refused(central)[0]
    assert _count(central, Submission) == 0


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ({"score": 9.0}, "more than|something else"),
        ({"max": 99.0}, "something else"),
        ({"status": "queued"}, "something else|form"),
        ({"score": float("1e400")}, "form|something else"),
    ],
)
def test_a_centre_that_lies_about_a_score_is_refused(
    central: System, box: Box, line: AppLine, lie: dict[str, Any], why: str
) -> None:
    """The centre holds its own key, so its journal and its signature are in order."""
    student = box.student("haneul")
    run = box.work(student)
    honest = next(row for row in box.records() if row.kind == Kind.RESULT)
    details = json.loads(honest.details or "") | lie
    with transaction(box.system.sessions) as session:
        append(session, Kind.RESULT, student.id, details, "run:0", now=clock.now())
    box.push(line)
    (reason,) = _refused(central)
    import re

    assert re.search(why, reason)
    with central.sessions() as session:
        assert session.scalars(select(Run.score).where(Run.preview.is_(False))).all() == [run.score]


def test_more_points_than_the_release_gives_are_refused(
    central: System, box: Box, line: AppLine
) -> None:
    box.work(box.student("haneul"), "x = 1", finding(score=4.0))
    box.push(line)
    assert _refused(central) == ["It gives 4.0 points where 2 can be had."]
    with central.sessions() as session:
        row = central_status(session)["centres"][0]
    assert row["refused"][0]["reason"] == "It gives 4.0 points where 2 can be had."
    assert _count(central, Submission) == 1


def test_work_for_a_release_that_central_never_published_is_refused(
    central: System, box: Box, line: AppLine
) -> None:
    with transaction(box.system.sessions) as session:
        task = get_task(session, OFFERING, TASK)
        assert task.release is not None
        task.release.digest = "sha256:" + "7" * 64
    box.work(box.student("haneul"))
    box.push(line)
    reasons = _refused(central)
    assert "central has never published" in reasons[0]
    assert "was refused or is not there" in reasons[1]
    # Once central has that release, the same records become what they say.
    with transaction(central.sessions) as session:
        task = get_task(session, OFFERING, TASK)
        assert task.release is not None
        task.release.digest = "sha256:" + "7" * 64
        centre = find_centre(session).id
        assert retry_refused(session, centre) == 2
    assert apply_all(place_of(central), centre, now=clock.now()) == {RecordState.APPLIED: 2}
    assert _refused(central) == []


def test_a_box_put_back_from_a_backup_raises_an_alarm_and_loses_nothing(
    central: System, box: Box, line: AppLine, tmp_path: Path
) -> None:
    student = box.student("haneul")
    box.work(student, "a = 1")
    box.push(line)
    backup = tmp_path / "backup.sqlite"
    with transaction(box.system.sessions) as session:
        session.execute(select(1))
        raw = session.connection().connection.dbapi_connection
        assert raw is not None
    database = Path(box.system.engine.url.database or "")
    box.system.engine.dispose()
    shutil.copy(database, backup)
    box.work(student, "b = 2")
    box.push(line)
    box.system.engine.dispose()
    for path in database.parent.iterdir():
        path.unlink()
    shutil.copy(backup, database)
    # The students go on: what they hand in now has the numbers of what central knows already.
    box.work(student, "c = 3")
    with pytest.raises(ConflictError, match="put back from a backup"):
        box.push(line)
    fork = _take(central, box.parcel())
    assert fork.outcome is Outcome.FORK
    with central.sessions() as session:
        chain = session.scalars(select(CentreChain)).one()
        assert chain.forked is not None
        assert central.blobs.get(chain.forked) == box.parcel()
        assert central_status(session)["centres"][0]["forked"] == 1
    enter(central, box, again=True)
    assert box.push(line).complete == 2
    with central.sessions() as session:
        files = session.scalars(select(Submission.files).order_by(Submission.id)).all()
        texts = [central.blobs.get(entry[0]["digest"]).decode() for entry in files]
        assert [text[text.index("= ") + 2] for text in texts] == ["1", "2", "3"]
        assert session.scalars(select(func.count(Run.id)).where(Run.preview.is_(False))).one() == 3
    with box.system.sessions() as session:
        assert session.get_one(CentreSelf, 1).refusal is None


def test_a_revoked_centres_unsynced_work_is_kept_apart(
    central: System, box: Box, line: AppLine
) -> None:
    student = box.student("haneul")
    box.work(student)
    box.push(line)
    with transaction(central.sessions) as session:
        assert revoke(session, find_centre(session), "stolen", now=clock.now()) == 1
    box.work(student, "x = 2")
    with pytest.raises(ConflictError, match="was revoked"):
        box.push(line)
    _take(central, box.parcel())
    with central.sessions() as session:
        row = central_status(session)["centres"][0]
        assert row["records"] == {"applied": 3, "quarantined": 2}
        assert row["state"] == "revoked"
    assert _count(central, Submission) == 1


def test_the_same_student_online_and_offline_keeps_every_attempt(
    central: System, box: Box, line: AppLine, ticking: Clock
) -> None:
    student = box.student("haneul")
    box.work(student, "offline = 1", finding(score=1.0))
    ticking.forward(hours=1)
    account = _online(central, "haneul", "online = 2", 2.0)
    ticking.forward(hours=1)
    box.push(line)
    with box.system.sessions() as session:
        code = claim_codes(session)[0]["code"]
    with transaction(central.sessions) as session:
        claim(session, code.lower().replace("-", " "), account, now=clock.now())
    with central.sessions() as session:
        rows = session.scalars(select(Submission).order_by(Submission.attempt)).all()
        assert [row.person_id for row in rows] == [account.id, account.id]
        result = standing(session, rows[0].task_id, account.id)
        # What was handed in last counts, though it came to central first.
        assert result is not None
        assert result.score == 2.0
        assert session.scalars(select(CentreConflict.kind)).all() == [ConflictKind.TWO_PLACES]


def test_the_same_student_at_two_centres_keeps_every_attempt(
    central: System, boxes: MakeBox, app: Flask, ticking: Clock
) -> None:
    accounts = []
    for name in ("Jeju", "Busan"):
        box = boxes(name)
        box.work(box.student("haneul"), f"place = '{name}'")
        box.push(AppLine(app))
        ticking.forward(hours=1)
        with box.system.sessions() as session:
            accounts.append(claim_codes(session)[0]["code"])
    with transaction(central.sessions) as session:
        person = make_person(session, "haneul")
        for code in accounts:
            claim(session, code, person, now=clock.now())
    with central.sessions() as session:
        rows = session.scalars(select(Submission).order_by(Submission.attempt)).all()
        assert [(row.person_id, row.attempt) for row in rows] == [(person.id, 1), (person.id, 2)]
        assert session.scalars(select(CentreConflict.kind)).all() == [ConflictKind.TWO_PLACES]


def test_the_same_files_at_both_places_are_one_attempt(
    central: System, box: Box, line: AppLine
) -> None:
    box.submit(box.student("haneul"), "same = 1")
    account = _online(central, "haneul", "same = 1", 2.0)
    box.push(line)
    with box.system.sessions() as session:
        code = claim_codes(session)[0]["code"]
    with transaction(central.sessions) as session:
        claim(session, code, account, now=clock.now())
    with central.sessions() as session:
        mine = session.scalars(
            select(Submission.attempt).where(Submission.person_id == account.id)
        ).all()
        assert mine == [1]
        assert session.scalars(select(CentreConflict.kind)).all() == [ConflictKind.SAME_WORK]


def test_a_claim_code_is_good_for_one_account(central: System, box: Box, line: AppLine) -> None:
    box.submit(box.student("haneul"))
    box.push(line)
    with box.system.sessions() as session:
        code = claim_codes(session)[0]["code"]
    with transaction(central.sessions) as session:
        first, second = make_person(session, "one"), make_person(session, "two")
        claim(session, code, first, now=clock.now())
        claim(session, code, first, now=clock.now())
        with pytest.raises(ConflictError, match="used already"):
            claim(session, code, second, now=clock.now())


def test_a_record_that_the_database_cannot_hold_stops_no_other(
    central: System, box: Box, line: AppLine
) -> None:
    student = box.student("haneul")
    run = box.work(student)
    details = json.loads(next(r for r in box.records() if r.kind == Kind.RESULT).details or "")
    document = json.loads(box.system.blobs.get(f"sha256:{details['doc']}"))
    # A receipt does not cover comments, so this passes every rule but the column's type.
    document["notebooks"][0]["cells"][0]["comment"] = {"no": "text"}
    digest = box.system.blobs.put(compact(document).encode())
    with transaction(box.system.sessions) as session:
        lie = details | {"doc": digest.removeprefix("sha256:")}
        append(session, Kind.RESULT, student.id, lie, "run:0", now=clock.now())
    box.submit(student, "after = 1")
    box.push(line)
    assert _refused(central) == ["The record does not have the form that its kind has."]
    with central.sessions() as session:
        assert session.scalar(select(func.count(Submission.id))) == 2
        assert session.scalars(select(Run.score).where(Run.preview.is_(False))).all() == [run.score]


def test_records_name_nobody(box: Box) -> None:
    student = box.student("haneul")
    run = box.work(student, "secret = 'haneul'")
    for row in box.records():
        assert "haneul" not in row.body.lower()
        assert str(run.id) not in json.loads(row.body).values()
        assert set(json.loads(row.body)) == {
            "v", "at", "seq", "epoch", "centre", "kind", "person", "commit", "clock",
        }  # fmt: skip
    assert compact({"b": 1, "a": "가"}) == '{"a":"가","b":1}'
    assert claim_code("00" * 16) != claim_code("01" * 16)


def _online(central: System, username: str, source: str, score: float) -> Person:
    """Hand in at central itself and have it graded."""
    with transaction(central.sessions) as session:
        person = make_person(session, username)
        task = get_task(session, OFFERING, TASK)
        enrol(session, task.offering, actor=actor_for(session, person), now=clock.now())
        receipt = submit(
            session, central.blobs, task, {f"{TASK}.ipynb": notebook(source)},
            actor=actor_for(session, person), now=clock.now(), via="page",
        )  # fmt: skip
    grade(central, receipt.submission_id, [finding(score=score)])
    return person


def test_a_box_may_have_worked_before_it_joined(
    central: System, line: AppLine, tmp_path: Path
) -> None:
    early = make_box(tmp_path / "early")
    student = early.student("haneul")
    submission = early.submit(student).submission_id
    enter(central, early)
    early.grade(submission)
    early.push(line)
    assert _count(central, Submission) == 1
    assert [row.kind for row in early.records()] == [Kind.SUBMISSION, Kind.RESULT]
    early.system.engine.dispose()


def test_a_name_that_nobody_can_have_here_stops_no_work(
    central: System, box: Box, line: AppLine
) -> None:
    """The sheet's names are what the box says; here one is invisible and one is taken."""
    unseen, taken, plain = (box.student(name) for name in ("one", "two", "three"))
    with transaction(box.system.sessions) as session:
        session.get_one(Person, unseen.id).display_name = "\u200b"
    for student in (unseen, taken, plain):
        box.work(student, f"who = {student.id}")
    with box.system.sessions() as session:
        name = session.scalars(
            select(JournalPerson.name).where(JournalPerson.person_id == taken.id)
        ).one()
    with transaction(central.sessions) as session:
        make_person(session, f"centre-{name}"[:32])
    assert box.push(line).complete == 9
    assert _refused(central) == []
    with central.sessions() as session:
        people = session.scalars(
            select(Person).join(Submission, Submission.person_id == Person.id)
        ).all()
    assert len({person.os_uid for person in people}) == 3
    assert {person.password_hash for person in people} == {None}
    assert [person.display_name for person in people][1:] == ["Two", "Three"]
    assert people[0].display_name == people[0].username


@pytest.mark.parametrize(
    "change",
    [
        {"files": [["ps1.ipynb", "x" * 64, 1]]},
        {"files": [["../x.ipynb", "0" * 64]]},
        {"files": "ps1.ipynb"},
        {"after": "noon"},
        {"after": 10**30},
        {"release": None},
        {"assignment": ["ps1"]},
    ],
)
def test_details_without_their_form_are_refused_and_stop_no_other(
    central: System, box: Box, line: AppLine, change: dict[str, Any]
) -> None:
    student = box.student("haneul")
    box.submit(student)
    honest = next(row for row in box.records() if row.kind == Kind.SUBMISSION)
    details = json.loads(honest.details or "") | change
    with transaction(box.system.sessions) as session:
        append(session, Kind.SUBMISSION, student.id, details, "submission:0", now=clock.now())
    box.submit(student, "after = 1")
    box.push(line)
    assert len(_refused(central)) == 1
    assert _count(central, Submission) == 2


def test_one_bad_record_among_many_costs_no_other_its_place(
    central: System, box: Box, line: AppLine
) -> None:
    """The database refuses them one by one; what the others made is stored once."""
    students = [box.student(f"s{number}") for number in range(4)]
    runs = [box.work(student, f"x = {number}") for number, student in enumerate(students)]
    results = [row for row in box.records() if row.kind == Kind.RESULT]
    for number in (0, 2):
        details = json.loads(results[number].details or "")
        document = json.loads(box.system.blobs.get(f"sha256:{details['doc']}"))
        document["notebooks"][0]["cells"][0]["comment"] = {"no": number}
        digest = box.system.blobs.put(compact(document).encode())
        with transaction(box.system.sessions) as session:
            lie = details | {"doc": digest.removeprefix("sha256:")}
            append(session, Kind.RESULT, students[number].id, lie, f"run:-{number}",
                   now=clock.now())  # fmt: skip
    box.push(line)
    assert _refused(central) == ["The record does not have the form that its kind has."] * 2
    with central.sessions() as session:
        kept = session.execute(
            select(Run.number, Run.score).where(Run.preview.is_(False)).order_by(Run.id)
        ).all()
        assert [tuple(row) for row in kept] == [(1, run.score) for run in runs]
        cells = session.scalar(
            select(func.count(CellScore.id))
            .join(NotebookRun, NotebookRun.id == CellScore.notebook_run_id)
            .join(Run, Run.id == NotebookRun.run_id)
            .where(Run.preview.is_(False))
        )
        assert cells == 2 * len(runs)
        assert set(session.scalars(select(CentreResult.state))) <= {"provisional", "sampled"}
