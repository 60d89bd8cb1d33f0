"""Journey 2: requests, roster, what came in, grading again."""

from io import BytesIO
from zipfile import ZipFile

import pytest

from lms.bootstrap import System
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.grading.models import Run
from tests.factories.school import School
from tests.fakes.browser import post
from tests.integration.web.conftest import Browser

#: The rooms' own tests run on both kinds of database, and test_taking.py does.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

HOME = "/teach/python-for-ai-2026w"


def request_of(system: System, school: School) -> Enrolment:
    with system.sessions() as session:
        return (
            session.query(Enrolment)
            .filter_by(person_id=school.newcomer.id, offering_id=school.offering.id)
            .one()
        )


def test_the_teacher_sees_own_offerings_with_what_needs_them(
    browse: Browser, school: School
) -> None:
    page = browse(school.teacher).get("/teach").text
    assert "Python for AI" in page
    assert "1 request" in page
    assert "Machine Learning from Scratch" not in page


def test_an_administrator_sees_every_offering(browse: Browser, school: School) -> None:
    assert "Machine Learning from Scratch" in browse(school.admin).get("/teach").text


@pytest.mark.parametrize("path", ["/teach", HOME, f"{HOME}/assignments/letters"])
def test_a_student_may_not_look(browse: Browser, school: School, path: str) -> None:
    answer = browse(school.minseo).get(path)
    assert answer.status_code == 403
    assert "Anna" not in answer.text


def test_accepting_lets_the_person_in(browse: Browser, system: System, school: School) -> None:
    client = browse(school.teacher)
    assert "Anna Berg" in client.get(HOME).text
    path = f"{HOME}/enrolments/{request_of(system, school).id}"
    post(client, path, HOME, decision="accept")
    assert request_of(system, school).state == EnrolmentState.ACTIVE
    assert "Anna Berg is in the course." in client.get(HOME).text


def test_declining_is_kept(browse: Browser, system: System, school: School) -> None:
    path = f"{HOME}/enrolments/{request_of(system, school).id}"
    post(browse(school.teacher), path, HOME, decision="decline")
    assert request_of(system, school).state == EnrolmentState.DECLINED


def test_a_student_may_not_decide(browse: Browser, system: System, school: School) -> None:
    path = f"{HOME}/enrolments/{request_of(system, school).id}"
    answer = post(browse(school.minseo), path, "/", decision="accept")
    assert answer.status_code == 403
    assert request_of(system, school).state == EnrolmentState.PENDING


def test_the_list_shows_the_newest_attempt_of_everybody(browse: Browser, school: School) -> None:
    page = browse(school.teacher).get(f"{HOME}/assignments/letters").text
    assert "1 of 1 handed in" in page
    assert "attempt 2" in page
    assert "<b>9.5</b> / 20" in page


def test_all_files_come_as_nbgraders_submitted_tree(browse: Browser, school: School) -> None:
    answer = browse(school.teacher).get(f"{HOME}/assignments/letters/files")
    with ZipFile(BytesIO(answer.data)) as archive:
        assert archive.namelist() == ["submitted/minseo/letters/letters.ipynb"]


def test_the_teacher_sees_whose_attempt_it_is(browse: Browser, school: School) -> None:
    page = browse(school.teacher).get(f"/submissions/{school.submission.id}").text
    assert "Handed in by 김민서" in page
    assert "Grade again" in page


def test_grading_again_asks_first_and_then_queues_one_run(
    browse: Browser, system: System, school: School
) -> None:
    client = browse(school.teacher)
    path = f"{HOME}/submissions/{school.submission.id}/regrade"
    assert "Grade attempt 2 of 김민서 again?" in client.get(path).text
    answer = post(client, path, path)
    assert answer.location == f"/submissions/{school.submission.id}"
    assert "It is in the queue." in client.get(answer.location).text
    with system.sessions() as session:
        runs = session.query(Run).filter_by(submission_id=school.submission.id).all()
    assert sorted(run.number for run in runs) == [1, 2]
    # The same bytes are known; whoever asks again wants them to run again.
    assert {run.number: run.fresh for run in runs} == {1: False, 2: True}


def test_a_student_may_not_grade_again(browse: Browser, school: School) -> None:
    path = f"{HOME}/submissions/{school.submission.id}/regrade"
    client = browse(school.minseo)
    assert client.get(path).status_code == 403
    assert post(client, path, "/").status_code == 403
