"""Held results: what a student does not see yet, and what an instructor decides."""

import pytest

from lms.bootstrap import System
from lms.catalogue.models import Offering
from lms.grading.models import Run
from lms.grading.rules import Verdict
from lms.protocol.grading import Integrity
from lms.protocol.sentences import sentence
from tests.factories.school import School
from tests.fakes.browser import post
from tests.integration.web.conftest import Browser

#: The rooms' own tests run on both kinds of database.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

HOME = "/teach/python-for-ai-2026w"
HELD = f"{HOME}/held"
REASON = sentence("The test %(cell)s needs the student's own interpreter.", cell="crack")


@pytest.fixture
def held(system: System, school: School) -> Run:
    """The second attempt's run, waiting for a person."""
    with system.sessions() as session:
        run = session.query(Run).filter_by(submission_id=school.submission.id).one()
        run.held, run.hold_reason, run.audit_id = True, REASON.to_json(), "r-1"
        for cell in run.notebooks[0].cells:
            if not cell.needs_manual:
                cell.integrity = Integrity.VERIFIED
        run.notebooks[0].cells[3].integrity = Integrity.UNVERIFIED
        run.notebooks[0].cells[3].integrity_reason = REASON.to_json()
        session.commit()
        session.refresh(run)
        return run


def test_the_student_sees_no_score_and_no_reason(
    browse: Browser, school: School, held: Run
) -> None:
    client = browse(school.minseo)
    page = client.get(f"/submissions/{school.submission.id}").text
    assert "A person looks at it first" in page
    assert "There is nothing you have to do." in page
    for secret in (
        'score">9.5',
        "<b>9.5",
        "needs the student",
        "feedback/letters",
        "grade-receipt",
        "caesar",
    ):
        assert secret not in page
    for path in ("/grades", "/", "/offerings/python-for-ai-2026w/assignments/letters"):
        assert "<b>9.5" not in client.get(path).text
    answer = client.get(f"/submissions/{school.submission.id}/feedback/letters")
    assert answer.status_code == 403
    assert client.get(f"/submissions/{school.submission.id}/grade-receipt.json").status_code == 409


def test_the_instructor_sees_why_and_which_questions(
    browse: Browser, school: School, held: Run
) -> None:
    client = browse(school.teacher)
    assert "1 result waits for a person." in client.get(HOME).text
    page = client.get(HELD).text
    assert "김민서" in page
    assert "needs the student&#39;s own interpreter" in page
    page = client.get(f"/submissions/{school.submission.id}").text
    assert "Does this score stand?" in page
    assert "3 of 4 verified" in page
    assert "The test crack needs" in page


def test_letting_chosen_scores_stand_shows_them(
    browse: Browser, system: System, school: School, held: Run
) -> None:
    client = browse(school.teacher)
    answer = post(client, HELD, HELD, run=str(held.id))
    assert "1 score stands now." in client.get(answer.location).text
    assert "Nothing is held" in client.get(HELD).text
    page = browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert 'score">9.5' in page
    assert "A person looked at it, and the score stands" in page


def test_choosing_nothing_changes_nothing(browse: Browser, school: School, held: Run) -> None:
    client = browse(school.teacher)
    answer = post(client, HELD, HELD)
    assert "Nothing was chosen" in client.get(answer.location).text


def test_deciding_twice_is_told_as_such(browse: Browser, school: School, held: Run) -> None:
    client, path = browse(school.teacher), f"{HOME}/runs/{held.id}/decision"
    post(client, path, HELD, verdict="released")
    answer = post(client, path, HELD, verdict="zero", reason="Copied.")
    assert answer.status_code == 409
    assert "somebody has decided already" in answer.text


def test_refusing_needs_a_reason_which_the_student_reads(
    browse: Browser, system: System, school: School, held: Run
) -> None:
    client, path = browse(school.teacher), f"{HOME}/runs/{held.id}/decision"
    assert post(client, path, HELD, verdict="zero", reason=" ").status_code == 400
    answer = post(client, path, HELD, verdict="zero", reason="The tests were patched.")
    assert "counts with no points" in client.get(answer.location).text
    page = browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert "counts with 0 points: The tests were patched." in page
    assert 'class="score">0 ' in page


def test_an_unknown_verdict_is_refused(browse: Browser, school: School, held: Run) -> None:
    path = f"{HOME}/runs/{held.id}/decision"
    answer = post(browse(school.teacher), path, HELD, verdict="maybe")
    assert answer.status_code == 400
    assert "nothing has changed" in answer.text


def test_grading_again_queues_a_run(
    browse: Browser, system: System, school: School, held: Run
) -> None:
    path = f"{HOME}/runs/{held.id}/decision"
    post(browse(school.teacher), path, HELD, verdict="regraded")
    with system.sessions() as session:
        runs = session.query(Run).filter_by(submission_id=school.submission.id).all()
        assert {run.verdict for run in runs} == {Verdict.REGRADED, None}
        assert len(runs) == 2


def test_practice_can_be_switched(
    browse: Browser, system: System, school: School, held: Run
) -> None:
    client = browse(school.teacher)
    post(client, f"{HOME}/practice", HELD, practice="yes")
    with system.sessions() as session:
        assert session.get_one(Offering, school.offering.id).practice
    assert "This offering is for practice" in client.get(HELD).text
    post(client, f"{HOME}/practice", HELD, practice="no")
    with system.sessions() as session:
        assert not session.get_one(Offering, school.offering.id).practice


def test_students_may_neither_look_nor_decide(
    browse: Browser, system: System, school: School, held: Run
) -> None:
    client = browse(school.minseo)
    assert client.get(HELD).status_code == 403
    assert post(client, HELD, "/", run=str(held.id)).status_code in {403, 404}
    path = f"{HOME}/runs/{held.id}/decision"
    assert post(client, path, "/", verdict="released").status_code in {403, 404}
    assert post(client, f"{HOME}/practice", "/", practice="yes").status_code == 403
    with system.sessions() as session:
        assert session.get_one(Run, held.id).held


def test_a_written_question_that_nobody_touched_is_said_to_be_unanswered(
    browse: Browser, system: System, school: School
) -> None:
    with system.sessions() as session:
        run = session.query(Run).filter_by(submission_id=school.submission.id).one()
        essay = run.notebooks[0].cells[4]
        essay.needs_manual, essay.auto_score, essay.comment = False, 0.0, "No response."
        session.commit()
    page = browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert "Not answered" in page
