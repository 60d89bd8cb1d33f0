"""What a record costs on the way, and how many central takes in a second."""

import gc
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from lms.bootstrap import System
from lms.centre.applying import apply_all
from lms.centre.journal import append
from lms.centre.parcels import MAX_RECORDS
from lms.centre.receiving import take_in
from lms.centre.rules import Kind, RecordState
from lms.foundation import clock
from lms.foundation.blobs import digest_of
from lms.foundation.db import transaction
from lms.identity.models import Person
from tests.conftest import engine  # noqa: F401 - central on both kinds of database
from tests.factories import make_person, notebook
from tests.factories.centres import OFFERING, TASK, Box, place_of
from tests.fakes.clock import Clock

#: What issue and design ask for: bytes a record, packed; records a second.
MOST_BYTES, LEAST_RATE = 100, 3_000


def _fill(box: Box, ticking: Clock, count: int, people: int) -> None:
    """Write a term's mixture: each submission has its result, and everybody is enrolled."""
    release = hashlib.sha256(f"release of {OFFERING}/{TASK}".encode()).hexdigest()
    with transaction(box.system.sessions) as session:
        students: Sequence[Person] = [make_person(session, f"s{n:05d}") for n in range(people)]
        for number in range(count // 2):
            ticking.forward(seconds=37.123)
            now, student = clock.now(), students[number * 7919 % people]
            content = notebook(f"answer = {number}")
            details = {
                "offering": OFFERING, "assignment": TASK, "release": release,
                "attempt": 1 + number // people, "after": 1_795_500_000_000,
                "files": [[f"{TASK}.ipynb", digest_of(content)[7:], len(content)]],
                "late": False, "via": "page",
            }  # fmt: skip
            made = append(
                session, Kind.SUBMISSION, student.id, details, f"submission:{number}", now=now
            )
            result = {
                "of": made.reference, "number": 1, "status": "graded", "score": number % 21 / 4,
                "max": 5.0, "held": False,
                "doc": hashlib.sha256(b"doc" + content).hexdigest(),
            }  # fmt: skip
            ended = now + timedelta(milliseconds=5200 + number % 997)
            append(session, Kind.RESULT, student.id, result, f"run:{number}", now=ended)


def test_a_record_takes_less_than_a_hundred_bytes(box: Box, ticking: Clock) -> None:
    """Names and salts are counted too: once a person, as in a real parcel."""
    _fill(box, ticking, 400, people=10)
    parcel = box.parcel()
    assert len(parcel) / 400 < MOST_BYTES


@pytest.mark.slow
def test_central_takes_in_three_thousand_records_a_second(
    central: System, box: Box, ticking: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 2 * MAX_RECORDS
    _fill(box, ticking, count, people=300)
    parcels = [box.parcel(after=at) for at in range(0, count, MAX_RECORDS)]
    started, cpu = time.perf_counter(), time.process_time()
    for parcel in parcels:
        with transaction(central.sessions) as session:
            take_in(session, central.blobs, parcel, now=clock.now())
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    with capsys.disabled():
        name = central.engine.dialect.name
        sys.stdout.write(
            f"\n{name}: {sum(map(len, parcels)) / count:.1f} bytes a record of {count}, "
            f"kept {count / wall:.0f} records/s ({count / cpu:.0f} a CPU second)\n"
        )
    assert count / cpu > LEAST_RATE


@pytest.mark.slow
def test_applying_work_keeps_up(
    central: System, box: Box, ticking: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What records become, with all checks, takes longer than keeping them; this says how much."""
    students = [box.student(f"s{n:03d}") for n in range(40)]
    for number in range(10):
        for student in students:
            ticking.forward(seconds=1)
            box.work(student, f"x = {number}")
    for digest in [path.name for path in box.system.blobs.root.rglob("*") if path.is_file()]:
        central.blobs.put(box.system.blobs.get(f"sha256:{digest}"))
    with transaction(central.sessions) as session:
        centre = take_in(session, central.blobs, box.parcel(), now=clock.now()).centre
    # What filling the box has left behind is not central's.
    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    done = apply_all(place_of(central), centre, now=clock.now())
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    with capsys.disabled():
        sys.stdout.write(
            f"\n{central.engine.dialect.name}: applied {840 / wall:.0f} records/s "
            f"({840 / cpu:.0f} a CPU second)\n"
        )
    assert done == {RecordState.APPLIED: 840}
    assert json.loads(box.records()[0].body)["seq"] == 1
