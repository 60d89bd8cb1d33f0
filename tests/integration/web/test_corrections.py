"""A corrected assignment: who gains or loses is seen before anything counts."""

import pytest
from sqlalchemy.orm import Session

from lms.bootstrap import System
from lms.catalogue.models import Release
from lms.foundation import clock
from lms.foundation.blobs import digest_of
from lms.gradebook.service import standing
from lms.grading.models import RegradePlan, RegradePreview, Run
from lms.grading.rules import PlanState
from lms.protocol.grading import RunStatus
from tests.factories.school import LETTERS, School, add_run
from tests.fakes.browser import post
from tests.integration.web.conftest import Browser

#: The rooms' own tests run on both kinds of database.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

TASK = "/teach/python-for-ai-2026w/assignments/letters"


@pytest.fixture
def plan(system: System, school: School) -> RegradePlan:
    """A correction of the fourth question, graded for one attempt and waiting for another."""
    with system.sessions() as session:
        return make_plan(session, school)


def make_plan(session: Session, school: School) -> RegradePlan:
    """Add the correction; both of its runs have ended."""
    release = Release(
        assignment_id=school.letters.assignment_id, number=2, digest=digest_of(b"corrected"),
        published_at=clock.now(), points=20, manual_points=6, notebooks=[], staged=True,
    )  # fmt: skip
    session.add(release)
    session.flush()
    plan = RegradePlan(
        assignment_id=release.assignment_id, release_id=release.id, state=PlanState.GRADING,
        created_at=clock.now(), salt="0" * 32,
        changes=[{"kind": "test", "notebook": "letters", "name": "crack"}],
    )  # fmt: skip
    session.add(plan)
    session.flush()
    for submission, scores in (
        (school.submission, (3, 4, 2.5, 3, None)),
        (school.timed_out, (3, 4, None, None, None)),
    ):
        old = session.query(Run).filter_by(submission_id=submission.id, number=1).one()
        old.audit_id = f"old-{old.id}"
        new = add_run(
            session,
            session.merge(submission),
            RunStatus.NEEDS_MANUAL,
            list(zip(LETTERS, scores, strict=True)),
            number=2,
        )
        new.preview, new.release_id, new.audit_id = True, release.id, f"new-{old.id}"
        session.add(
            RegradePreview(
                plan_id=plan.id, submission_id=submission.id, old_run_id=old.id, new_run_id=new.id
            )
        )
    session.commit()
    session.refresh(plan)
    return plan


def path(plan: RegradePlan) -> str:
    return f"{TASK}/corrections/{plan.id}"


def test_the_assignment_tells_of_a_correction_that_waits(
    browse: Browser, school: School, plan: RegradePlan
) -> None:
    page = browse(school.teacher).get(TASK).text
    assert "A correction waits for your decision" in page
    assert path(plan) in page


def test_the_page_says_who_gains_by_which_question(
    browse: Browser, school: School, plan: RegradePlan
) -> None:
    page = browse(school.teacher).get(path(plan)).text
    assert "2 attempts are touched" in page
    assert "letters · crack" in page
    assert "a test" in page
    assert "+3" in page
    assert "0 → 3" in page


def test_nothing_counts_before_it_is_applied(
    browse: Browser, system: System, school: School, plan: RegradePlan
) -> None:
    assert 'score">9.5' in browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    client = browse(school.teacher)
    answer = post(client, path(plan), path(plan), decision="apply")
    assert "The correction counts now, for 2 attempts." in client.get(answer.location).text
    with system.sessions() as session:
        now_counts = standing(session, school.letters.id, school.minseo.id)
        assert now_counts is not None
        assert now_counts.run is not None
        assert now_counts.run.score == 12.5
    answer = post(client, path(plan), path(plan), decision="discard")
    assert answer.status_code == 409


def test_dropping_it_leaves_every_score(browse: Browser, school: School, plan: RegradePlan) -> None:
    client = browse(school.teacher)
    answer = post(client, path(plan), path(plan), decision="discard")
    assert "every score stays as it was" in client.get(answer.location).text
    assert 'score">9.5' in browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert "A correction waits" not in client.get(TASK).text


def test_while_it_is_graded_it_cannot_be_applied_and_the_page_follows(
    browse: Browser, system: System, school: School, plan: RegradePlan
) -> None:
    with system.sessions() as session:
        waiting = session.query(Run).filter_by(preview=True).first()
        assert waiting is not None
        waiting.status = RunStatus.QUEUED
        session.commit()
    client = browse(school.teacher)
    page = client.get(path(plan)).text
    assert "1 of 2 graded against the corrected release" in page
    assert 'value="apply"' not in page
    assert f"{path(plan)}?seen=grading-1" in page
    assert client.get(f"{path(plan)}?seen=grading-1").status_code == 204
    assert "<html" not in client.get(f"{path(plan)}?seen=grading-2").text
    assert post(client, path(plan), path(plan), decision="apply").status_code == 409


def test_others_may_not_look_or_decide(browse: Browser, school: School, plan: RegradePlan) -> None:
    client = browse(school.minseo)
    assert client.get(path(plan)).status_code == 403
    assert post(client, path(plan), "/", decision="apply").status_code == 403
    assert browse(school.teacher).get(f"{TASK}/corrections/999").status_code == 404
