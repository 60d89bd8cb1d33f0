"""Journey 1, first half: look around, find a course, enrol."""

import pytest

from lms.bootstrap import System
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from tests.factories.school import School
from tests.fakes.browser import post
from tests.integration.web.conftest import Browser

#: The rooms' own tests run on both kinds of database, and test_taking.py does.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def state_of(system: System, school: School, offering_id: int) -> str | None:
    """Return the newcomer's or Minseo's enrolment state."""
    with system.sessions() as session:
        rows = session.query(Enrolment).filter_by(
            offering_id=offering_id, person_id=school.minseo.id
        )
        return next((row.state for row in rows), None)


def test_a_visitor_sees_programmes_and_courses_at_the_front(
    browse: Browser, school: School
) -> None:
    page = browse().get("/").text
    assert "AI Foundations" in page
    assert "Machine Learning from Scratch" in page
    assert 'href="/login?next=/"' in page


def test_the_front_page_speaks_the_browsers_language(browse: Browser, school: School) -> None:
    page = browse(language="ko").get("/").text
    assert '<html lang="ko">' in page
    assert "직접 써 보며 배우는 AI" in page


def test_search_finds_korean_inside_a_compound_word(browse: Browser, school: School) -> None:
    page = browse(language="ko").get("/courses?q=통계").text
    assert "확률과 통계" in page
    assert "딥러닝" not in page


def test_search_says_in_which_unit_it_found_the_words(browse: Browser, school: School) -> None:
    page = browse().get("/courses?q=broadcast").text
    assert "No course fits" in page
    page = browse().get("/courses?q=shapes").text
    assert "unit 4, “NumPy: <mark>shapes</mark> decide”" in page


def test_a_query_cannot_bring_markup_into_the_page(browse: Browser, school: School) -> None:
    page = browse().get("/courses?q=<script>alert(1)</script>").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_filters_narrow_and_say_what_they_hide(browse: Browser, school: School) -> None:
    page = browse().get("/courses?q=learn&level=bachelor").text
    assert "Machine Learning from Scratch" in page
    assert "Probability and Statistics" not in page
    assert "more courses fit the words but not the filters" in page


def test_live_search_gets_the_list_alone(browse: Browser, school: School) -> None:
    answer = browse().get("/courses?q=python", headers={"HX-Request": "true"})
    assert answer.text.lstrip().startswith('<section id="results"')
    assert answer.headers["Vary"] == "HX-Request, Cookie"
    assert "<html" not in answer.text


def test_the_programme_page_draws_its_map_and_says_the_same_in_a_table(
    browse: Browser, school: School
) -> None:
    page = browse(school.minseo).get("/programmes/ai-foundations").text
    assert page.count('<svg class="map') == 2
    assert "Now, 43%" in page
    assert "Taking it now" in page
    assert "After Python for AI" in page


def test_a_course_that_is_over_is_not_open_on_the_map(browse: Browser, school: School) -> None:
    page = browse(school.minseo).get("/programmes/ai-foundations").text
    assert "AI, Society and Law: Not running now" in page


@pytest.mark.parametrize(
    ("course", "words"),
    [
        ("python-for-ai", "To the course"),
        ("maths-for-ai", "Take the request back"),
        ("statistics", "Enrolment code"),
        ("ml-from-scratch", "Every place is taken"),
        ("ai-and-law", "This term is over"),
        ("deep-learning", "No dates yet"),
    ],
)
def test_the_course_page_says_where_the_person_stands(
    browse: Browser, school: School, course: str, words: str
) -> None:
    assert words in browse(school.minseo).get(f"/courses/{course}").text


def test_a_visitor_is_asked_to_sign_in_before_enrolling(browse: Browser, school: School) -> None:
    page = browse().get("/courses/python-for-ai").text
    assert 'href="/login?next=/courses/python-for-ai"' in page


def test_the_right_code_lets_in(browse: Browser, system: System, school: School) -> None:
    client = browse(school.minseo)
    answer = post(
        client, f"/offerings/{school.by_code.key}/enrol", "/courses/statistics", code=" HONEST coin"
    )
    assert answer.location == f"/offerings/{school.by_code.key}"
    assert state_of(system, school, school.by_code.id) == EnrolmentState.ACTIVE
    assert "You are enrolled" in client.get(answer.location).text


def test_a_wrong_code_is_refused_beside_the_form_and_kept_in_it(
    browse: Browser, system: System, school: School
) -> None:
    client = browse(school.minseo)
    answer = post(
        client, f"/offerings/{school.by_code.key}/enrol", "/courses/statistics", code='"><b>no'
    )
    assert answer.status_code == 403
    assert "That enrolment code does not fit this course." in answer.text
    assert 'value="&#34;&gt;&lt;b&gt;no"' in answer.text
    assert state_of(system, school, school.by_code.id) is None


def test_a_closed_offering_takes_nobody(browse: Browser, system: System, school: School) -> None:
    client = browse(school.minseo)
    answer = post(client, f"/offerings/{school.closed.key}/enrol", "/courses/ai-and-law")
    assert answer.status_code == 409
    assert "Enrolment closed on" in answer.text
    assert state_of(system, school, school.closed.id) is None


def test_a_full_offering_takes_nobody(browse: Browser, system: System, school: School) -> None:
    client = browse(school.minseo)
    answer = post(client, f"/offerings/{school.full.key}/enrol", "/courses/ml-from-scratch")
    assert answer.status_code == 409
    assert state_of(system, school, school.full.id) is None


def test_a_request_can_be_taken_back(browse: Browser, system: System, school: School) -> None:
    client = browse(school.minseo)
    post(client, f"/offerings/{school.by_approval.key}/withdraw", "/courses/maths-for-ai")
    assert state_of(system, school, school.by_approval.id) == EnrolmentState.WITHDRAWN


def test_an_unknown_course_is_a_page_that_says_so(browse: Browser, school: School) -> None:
    answer = browse(language="ko").get("/courses/nothing")
    assert answer.status_code == 404
    assert "“nothing” 항목은 목록에 없어요" in answer.text
    assert "제출한 것은 모두 그대로 있어요" in answer.text
