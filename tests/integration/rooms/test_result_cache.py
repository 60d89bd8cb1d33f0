"""Known results: the same bytes graded in the same way are not run twice."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.grading.cache import Recipe, Turn, begin, make_recipe
from lms.grading.models import ResultCache, Run
from lms.grading.queue import LEASE, Claim
from lms.grading.service import finish, regrade
from lms.grading.values import Finding
from lms.identity.scopes import SYSTEM
from lms.protocol.grading import Detail, Integrity, Limits, RunStatus
from tests.factories import make_offering, make_person, make_submission, make_task
from tests.factories.grading import claim_of, claimed, finding

RECIPE = make_recipe(
    source="sha256:s", tests="sha256:t", submission="sha256:u", limits=Limits(cell_seconds=7)
)


def _claims(session: Session, now: datetime, count: int) -> list[Claim]:
    task = make_task(session, make_offering(session))
    session.refresh(task, ["assignment"])
    return [
        claimed(session, make_submission(session, task, make_person(session)), now)
        for _ in range(count)
    ]


def test_the_second_run_of_the_same_bytes_gets_the_first_ones_findings(
    session: Session, now: datetime
) -> None:
    first, second = _claims(session, now, 2)
    assert begin(session, RECIPE, first, now=now) is Turn.RUN
    found = finding(Integrity.UNVERIFIED, autograded="sha256:a", feedback="sha256:f")
    found = replace(
        found, result=replace(found.result, detail=Detail(cell="q1", last_output="Killed"))
    )
    assert finish(session, first, [found], now=now, recipe=RECIPE)
    known = begin(session, RECIPE, second, now=now)
    assert known == (found,)
    assert finish(session, second, [found], now=now, recipe=RECIPE)
    runs = session.scalars(select(Run).order_by(Run.id)).all()
    assert [run.score for run in runs] == [2.0, 2.0]
    assert [run.recipe for run in runs] == [RECIPE.to_json()] * 2
    assert [run.notebooks[0].feedback for run in runs] == ["sha256:f"] * 2
    assert runs[0].notebooks[0].detail == {"cell": "q1", "limit": "", "last_output": "Killed"}


def test_while_one_runs_the_others_wait_until_it_is_lost(session: Session, now: datetime) -> None:
    first, second = _claims(session, now, 2)
    assert begin(session, RECIPE, first, now=now) is Turn.RUN
    assert begin(session, RECIPE, first, now=now) is Turn.RUN
    assert begin(session, RECIPE, second, now=now) is Turn.WAIT
    later = now + LEASE + timedelta(seconds=1)
    assert begin(session, RECIPE, second, now=later) is Turn.RUN
    assert begin(session, RECIPE, first, now=now) is Turn.WAIT


@pytest.mark.parametrize(
    "status", [RunStatus.TIMED_OUT, RunStatus.CRASHED, RunStatus.OUT_OF_MEMORY]
)
def test_what_may_end_otherwise_next_time_is_run_again(
    session: Session, now: datetime, status: RunStatus
) -> None:
    first, second = _claims(session, now, 2)
    assert begin(session, RECIPE, first, now=now) is Turn.RUN
    assert finish(session, first, [finding(status=status)], now=now, recipe=RECIPE)
    assert begin(session, RECIPE, second, now=now) is Turn.RUN


def test_a_run_without_a_sandbox_is_not_kept(session: Session, now: datetime) -> None:
    first, second = _claims(session, now, 2)
    assert begin(session, RECIPE, first, now=now) is Turn.RUN
    assert finish(session, first, [finding()], now=now, recipe=RECIPE, unsafe=True)
    assert begin(session, RECIPE, second, now=now) is Turn.RUN


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, source="sha256:x"),
        replace(RECIPE, submission="sha256:x"),
        replace(RECIPE, environment="sha256:x"),
        replace(RECIPE, seed=1),
        replace(RECIPE, limits={**RECIPE.limits, "cell_seconds": 8}),
        replace(RECIPE, engine="x"),
        replace(RECIPE, mode="none"),
    ],
)
def test_whatever_a_result_follows_from_makes_another_recipe(other: Recipe) -> None:
    assert other.key != RECIPE.key


def test_a_fresh_regrade_runs_again_and_its_result_is_the_known_one(
    session: Session, now: datetime
) -> None:
    (first,) = _claims(session, now, 1)
    assert begin(session, RECIPE, first, now=now) is Turn.RUN
    assert finish(session, first, [finding(score=1.0)], now=now, recipe=RECIPE)
    plain = regrade(session, first.submission_id, actor=SYSTEM, now=now)
    known = begin(session, RECIPE, claim_of(session, plain, now), now=now)
    assert isinstance(known, tuple)
    plain.status = RunStatus.GRADED
    fresh = regrade(session, first.submission_id, actor=SYSTEM, now=now, fresh=True)
    claim = claim_of(session, fresh, now)
    assert begin(session, RECIPE, claim, now=now) is Turn.RUN
    assert finish(session, claim, [finding(score=2.0)], now=now, recipe=RECIPE)
    assert session.scalar(select(func.count()).select_from(ResultCache)) == 1
    (row,) = session.scalars(select(ResultCache)).all()
    assert row.findings is not None
    session.expire_all()
    kept = Finding.from_json(session.scalars(select(ResultCache.findings)).one()[0])
    assert kept.result.score == 2.0
