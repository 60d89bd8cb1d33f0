import random
import re
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select, text
from sqlalchemy.orm import Session, sessionmaker

from lms.catalogue.models import OfferedAssignment
from lms.foundation.db import make_sessions, transaction
from lms.foundation.events import EventBus
from lms.gradebook.service import standing, standings
from lms.grading.events import RunFinished
from lms.grading.models import CellScore, Run
from lms.grading.order import next_runs
from lms.grading.queue import (
    LEASE,
    MAX_INTERRUPTIONS,
    Claim,
    claim_next,
    enqueue,
    hand_back,
    has_work,
    release_own,
    renew,
)
from lms.grading.service import Finding, finish, latest_run, queue_position, regrade
from lms.identity.scopes import SYSTEM
from lms.protocol.grading import CellResult, Integrity, NotebookResult, RunStatus
from lms.protocol.sentences import sentence
from tests.factories import make_offering, make_person, make_run, make_submission, make_task


def _queued(session: Session, now: datetime) -> Run:
    task = make_task(session, make_offering(session))
    session.refresh(task, ["assignment"])
    return enqueue(session, make_submission(session, task, make_person(session)).id, now=now)


def _finding(status: RunStatus = RunStatus.GRADED, score: float = 2.0) -> Finding:
    cell = CellResult(grade_id="q1", auto_score=score, max_score=2.0, needs_manual=False)
    reason = None if status == RunStatus.GRADED else sentence("Question %(n)s is slow.", n=1)
    result = NotebookResult(
        notebook="ps1",
        status=status,
        integrity=Integrity.UNVERIFIED,
        score=score,
        max_score=2.0,
        reason=reason,
        cells=(cell,),
    )
    return Finding(result=result)


def _claim(session: Session, worker: str, now: datetime) -> Claim:
    (claim,) = claim_next(session, worker, now=now)
    session.expire_all()
    return claim


def test_a_run_is_claimed_once_and_its_results_are_stored(session: Session, now: datetime) -> None:
    run = _queued(session, now)
    claim = _claim(session, "a", now)
    assert claim_next(session, "b", now=now) == []
    assert finish(session, claim, [_finding()], now=now)
    assert (run.status, run.score, run.max_score) == (RunStatus.GRADED, 2.0, 2.0)
    assert session.scalar(select(CellScore.auto_score)) == 2.0


def test_a_result_that_comes_after_the_run_was_taken_over_is_refused(
    session: Session, now: datetime
) -> None:
    run = _queued(session, now)
    slow = _claim(session, "slow", now)
    later = now + LEASE + timedelta(seconds=1)
    quick = _claim(session, "quick", later)
    assert renew(session, [slow], now=later) == {run.id}
    assert finish(session, quick, [_finding(score=1.0)], now=later)
    assert not finish(session, slow, [_finding(score=2.0)], now=later)
    session.expire_all()
    assert (run.score, run.interruptions) == (1.0, 1)


def test_a_renewed_lease_keeps_the_run(session: Session, now: datetime) -> None:
    _queued(session, now)
    claim = _claim(session, "a", now)
    assert renew(session, [claim], now=now + LEASE) == set()
    assert claim_next(session, "b", now=now + LEASE + timedelta(seconds=1)) == []


def test_a_killed_workers_run_is_taken_up_at_its_restart(session: Session, now: datetime) -> None:
    _queued(session, now)
    killed = _claim(session, "box", now)
    assert release_own(session, "box", now=now) == 1
    again = _claim(session, "box", now)
    assert again.run_id == killed.run_id
    assert not finish(session, killed, [_finding()], now=now)
    assert finish(session, again, [_finding()], now=now)


def test_a_notebook_that_kills_every_worker_is_set_aside(session: Session, now: datetime) -> None:
    run = _queued(session, now)
    deadly = run.id
    for _ in range(MAX_INTERRUPTIONS):
        now += LEASE + timedelta(seconds=1)
        assert _claim(session, "a", now).run_id == deadly
    now += LEASE + timedelta(seconds=1)
    assert claim_next(session, "a", now=now) == []
    session.expire_all()
    assert run.status == RunStatus.CRASHED
    assert run.reason is not None


def test_a_handed_back_run_keeps_its_place_and_costs_nothing(
    session: Session, now: datetime
) -> None:
    first = _queued(session, now)
    second = _queued(session, now + timedelta(seconds=1))
    assert queue_position(session, second) == 1
    claim = _claim(session, "a", now)
    assert hand_back(session, [claim], now=now, interrupted=False) == 1
    session.expire_all()
    assert (first.status, first.interruptions) == (RunStatus.QUEUED, 0)
    assert _claim(session, "a", now).run_id == first.id


def _offering(session: Session, *, exam: bool = False, resource: str = "cpu") -> OfferedAssignment:
    task = make_task(session, make_offering(session))
    session.refresh(task, ["assignment"])
    task.exam, task.assignment.resource = exam, resource
    session.flush()
    return task


def _hand_in(
    session: Session,
    task: OfferedAssignment,
    at: datetime,
    count: int = 1,
    *,
    preview: bool = False,
) -> list[int]:
    person = make_person(session)
    submissions = [
        make_submission(session, task, person, attempt=attempt) for attempt in range(1, count + 1)
    ]
    return [enqueue(session, one.id, now=at, preview=preview).id for one in submissions]


def _ids(claims: Sequence[Claim]) -> list[int]:
    return [claim.run_id for claim in claims]


def test_exams_go_first_and_previews_of_a_regrade_last(session: Session, now: datetime) -> None:
    usual, exam = _offering(session), _offering(session, exam=True)
    preview = _hand_in(session, usual, now, preview=True)
    ordinary = _hand_in(session, usual, now + timedelta(seconds=1))
    urgent = _hand_in(session, exam, now + timedelta(seconds=2))
    claims = claim_next(session, "a", now=now, count=9)
    assert _ids(claims) == urgent + ordinary + preview


def test_a_deadline_storm_does_not_keep_another_offering_waiting(
    session: Session, now: datetime
) -> None:
    storm = _hand_in(session, _offering(session), now, 6)
    (single,) = _hand_in(session, _offering(session), now + timedelta(hours=1))
    assert _ids(claim_next(session, "a", now=now, count=2)) == [storm[0], single]
    # Its one run is under way: the storm has both places until it hands in more.
    assert _ids(claim_next(session, "a", now=now, count=2)) == storm[1:3]


def test_the_offering_with_the_fewest_runs_under_way_is_next(
    session: Session, now: datetime
) -> None:
    first, second = _offering(session), _offering(session)
    early = _hand_in(session, first, now, 4)
    assert _ids(claim_next(session, "a", now=now, count=2)) == early[:2]
    late = _hand_in(session, second, now + timedelta(minutes=1), 4)
    expected = [*late[:2], early[2], late[2], early[3], late[3]]
    assert _ids(claim_next(session, "b", now=now, count=6)) == expected


def test_work_for_a_gpu_waits_for_a_worker_that_has_one(session: Session, now: datetime) -> None:
    heavy = _hand_in(session, _offering(session, resource="gpu"), now)
    assert claim_next(session, "a", now=now, count=3) == []
    assert not has_work(session, now=now)
    assert has_work(session, resource="gpu", now=now)
    assert _ids(claim_next(session, "g", now=now, count=3, resource="gpu")) == heavy


@pytest.mark.parametrize("seed", range(4))
def test_the_position_shown_is_the_order_of_claims(
    session: Session, now: datetime, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    tasks = [_offering(session, exam=number == 0) for number in range(4)]
    for _ in range(30):
        at = now + timedelta(seconds=chance.randrange(20))
        _hand_in(session, chance.choice(tasks), at, preview=chance.random() < 0.2)
    claim_next(session, "a", now=now, count=chance.randrange(8))
    session.expire_all()
    queued = session.scalars(select(Run).where(Run.status == RunStatus.QUEUED)).all()
    shown = {queue_position(session, run): run.id for run in queued}
    at_once = chance.random() < 0.5
    claimed: list[int] = []
    while more := claim_next(session, "b", now=now, count=len(queued) if at_once else 1):
        claimed += _ids(more)
    assert [shown[place] for place in sorted(shown)] == claimed
    assert sorted(shown) == list(range(len(queued)))


def test_leases_of_many_are_renewed_at_once_and_lost_ones_are_told(
    session: Session, now: datetime
) -> None:
    runs = _hand_in(session, _offering(session), now, 3)
    claims = claim_next(session, "a", now=now, count=3)
    assert finish(session, claims[1], [_finding()], now=now)
    assert renew(session, claims, now=now + LEASE) == {runs[1]}
    assert claim_next(session, "b", now=now + LEASE + timedelta(seconds=1), count=3) == []


def test_a_run_set_aside_is_announced_once(engine: Engine, session: Session, now: datetime) -> None:
    heard: list[int] = []
    bus = EventBus()
    bus.subscribe(RunFinished, lambda _session, event: heard.append(event.run_id))
    with make_sessions(engine, bus)() as own:
        (run_id,) = _hand_in(own, _offering(own), now)
        for _ in range(MAX_INTERRUPTIONS):
            claims = claim_next(own, "a", now=now)
            assert hand_back(own, claims, now=now, interrupted=True) == 1
        assert claim_next(own, "a", now=now) == []
        assert own.get_one(Run, run_id).status == RunStatus.CRASHED
    assert heard == [run_id]


def test_many_workers_at_once_never_share_a_run_and_leave_none(
    sessions: sessionmaker[Session], now: datetime
) -> None:
    with transaction(sessions) as session:
        _hand_in(session, _offering(session), now, 24)
    claimed: list[int] = []

    def work(name: str) -> None:
        while True:
            with transaction(sessions) as own:
                claims = claim_next(own, name, now=now, count=3)
            if not claims:
                return
            claimed.extend(_ids(claims))

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(claimed) == len(set(claimed)) == 24


def test_a_claim_costs_the_same_however_long_the_queue_is(
    engine: Engine, sessions: sessionmaker[Session], now: datetime
) -> None:
    with transaction(sessions) as session:
        tasks = [_offering(session) for _ in range(8)]
        runs = [_hand_in(session, task, now)[0] for task in tasks]
    short = _claim_seconds(sessions, now)
    with transaction(sessions) as session:
        _fill_queue(session, [session.get_one(Run, run) for run in runs], now)
    if engine.dialect.name == "postgresql":
        # As autovacuum does within a minute of such a storm.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE run"))
    assert _claim_seconds(sessions, now) < 3 * short + 0.01
    plans = _plans(sessions)
    assert plans
    for plan in plans:
        assert not re.search(r"Seq Scan on run|SCAN run(?!.*COVERING)", plan), plan


def _fill_queue(session: Session, runs: Sequence[Run], now: datetime) -> None:
    rows = [
        {
            "submission_id": runs[number % 8].submission_id, "number": number,
            "status": RunStatus.QUEUED, "queued_at": now + timedelta(seconds=number), "claim": 0,
            "interruptions": 0, "unsafe": False, "offering_id": runs[number % 8].offering_id,
        }
        for number in range(2, 10_002)
    ]  # fmt: skip
    session.execute(insert(Run), rows)


def _claim_seconds(sessions: sessionmaker[Session], now: datetime) -> float:
    """Claim two at a time and give them back; what that costs, waiting for a disk left out."""
    spent = []
    for _ in range(15):
        with transaction(sessions) as session:
            start = time.perf_counter()
            claims = claim_next(session, "a", now=now, count=2)
            spent.append(time.perf_counter() - start)
            hand_back(session, claims, now=now, interrupted=False)
        assert len(claims) == 2
    return min(spent)


def _plans(sessions: sessionmaker[Session]) -> list[str]:
    """Return how the database goes about each question that choosing the next runs asks."""
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}
    plans: list[str] = []
    with sessions() as session:
        connection = session.connection()

        def note(
            _conn: object,
            cursor: object,
            statement: str,
            parameters: Any,  # noqa: ANN401
            *_rest: object,
        ) -> None:
            if statement.startswith(("SELECT", "WITH")):
                own = connection.connection.cursor()
                own.execute(explain[connection.dialect.name] + statement, parameters)
                plans.append("\n".join(" ".join(map(str, row)) for row in own.fetchall()))
                own.close()

        event.listen(connection, "before_cursor_execute", note)
        next_runs(session, resource="cpu", count=2)
        event.remove(connection, "before_cursor_execute", note)
    return plans


def test_regrading_a_run_under_way_does_not_queue_a_second(session: Session, now: datetime) -> None:
    run = _queued(session, now)
    assert regrade(session, run.submission_id, actor=SYSTEM, now=now).id == run.id
    assert finish(session, _claim(session, "a", now), [_finding()], now=now)
    again = regrade(session, run.submission_id, actor=SYSTEM, now=now)
    assert (again.number, again.status) == (2, RunStatus.QUEUED)
    latest = latest_run(session, run.submission_id)
    assert latest is not None
    assert latest.id == again.id


def test_an_attempt_that_could_not_be_graded_never_replaces_one_that_was(session: Session) -> None:
    task = make_task(session, make_offering(session))
    session.refresh(task, ["assignment"])
    person = make_person(session)
    good = make_submission(session, task, person, attempt=1)
    make_run(session, good)
    bad = make_submission(session, task, person, attempt=2)
    make_run(session, bad, RunStatus.TIMED_OUT)
    stands = standing(session, task.id, person.id)
    assert stands is not None
    assert (stands.submission.id, stands.score) == (good.id, 2.0)
    assert list(standings(session, person.id, [task.offering_id])) == [task.id]
