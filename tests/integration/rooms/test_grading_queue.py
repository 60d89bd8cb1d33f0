import threading
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from lms.foundation.db import transaction
from lms.gradebook.service import standing, standings
from lms.grading.models import CellScore, Run
from lms.grading.queue import (
    LEASE,
    MAX_INTERRUPTIONS,
    Claim,
    claim_next,
    enqueue,
    hand_back,
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
    claim = claim_next(session, worker, now=now)
    assert claim is not None
    session.expire_all()
    return claim


def test_a_run_is_claimed_once_and_its_results_are_stored(session: Session, now: datetime) -> None:
    run = _queued(session, now)
    claim = _claim(session, "a", now)
    assert claim_next(session, "b", now=now) is None
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
    assert not renew(session, slow, now=later)
    assert finish(session, quick, [_finding(score=1.0)], now=later)
    assert not finish(session, slow, [_finding(score=2.0)], now=later)
    session.expire_all()
    assert (run.score, run.interruptions) == (1.0, 1)


def test_a_renewed_lease_keeps_the_run(session: Session, now: datetime) -> None:
    _queued(session, now)
    claim = _claim(session, "a", now)
    assert renew(session, claim, now=now + LEASE)
    assert claim_next(session, "b", now=now + LEASE + timedelta(seconds=1)) is None


def test_a_killed_workers_run_is_taken_up_at_its_restart(session: Session, now: datetime) -> None:
    _queued(session, now)
    killed = _claim(session, "box", now)
    assert release_own(session, "box") == 1
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
    assert claim_next(session, "a", now=now) is None
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
    assert hand_back(session, claim, interrupted=False)
    session.expire_all()
    assert (first.status, first.interruptions) == (RunStatus.QUEUED, 0)
    assert _claim(session, "a", now).run_id == first.id


def test_many_workers_at_once_never_share_a_run(
    sessions: sessionmaker[Session], now: datetime
) -> None:
    with transaction(sessions) as session:
        task = make_task(session, make_offering(session))
        session.refresh(task, ["assignment"])
        person = make_person(session)
        for attempt in range(1, 13):
            submission = make_submission(session, task, person, attempt=attempt)
            enqueue(session, submission.id, now=now)
    claimed: list[int] = []
    lock = threading.Lock()

    def work(name: str) -> None:
        while True:
            with transaction(sessions) as own:
                claim = claim_next(own, name, now=now)
            if claim is None:
                return
            with lock:
                claimed.append(claim.run_id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # A worker may see an empty queue while others hold the last rows; none may be claimed twice.
    assert len(claimed) == len(set(claimed))
    with sessions() as session:
        left = session.scalars(select(Run.id).where(Run.status == RunStatus.QUEUED)).all()
    assert len(claimed) + len(left) == 12


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
