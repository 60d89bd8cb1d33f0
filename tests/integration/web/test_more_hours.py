"""Quotas change with a reason, are taken back, and are asked for by instructors."""

from collections.abc import Callable

from flask.testing import FlaskClient

from lms.bootstrap import System
from lms.compute import changes, quotas
from lms.compute.profiles import terms
from tests.factories.school import School
from tests.fakes.browser import post

Browser = Callable[..., FlaskClient]
QUOTAS = "/admin/compute/quotas"


def hours(system: System, school: School) -> float:
    with system.sessions() as session:
        return quotas.hours_of(session, school.offering.id, terms())


def last(system: System) -> int:
    with system.sessions() as session:
        return changes.list_changes(session, limit=1)[0].row.id


def test_a_change_stands_in_the_history_with_its_reason_and_is_taken_back(
    browse: Browser, school: School, system: System
) -> None:
    keeper, usual = browse(school.admin), hours(system, school)
    assert "Nothing was changed yet" in keeper.get(f"{QUOTAS}/history").text
    mine = school.offering.id
    fields = {f"hours-{mine}": "6", f"seats-{mine}": "3", f"kept-{mine}": "12"}
    post(keeper, QUOTAS, page=QUOTAS, why="Exam week <b>", **fields)
    for path in (QUOTAS, f"{QUOTAS}/history"):
        page = keeper.get(path).text
        assert page.count("Exam week &lt;b&gt;") == 2, "hours and seats"
        for words in ("as usual", "<b>6 h</b>", "<b>3 seats, 12 h</b>", school.admin.username):
            assert words in page
    assert hours(system, school) == 6
    first = last(system) - 1
    post(keeper, f"{QUOTAS}/changes/{first}/undo", page=QUOTAS)
    assert hours(system, school) == usual
    page = keeper.get(QUOTAS).text
    assert "takes a change back" in page
    assert "taken back" in page
    assert post(keeper, f"{QUOTAS}/changes/{first}/undo", page=QUOTAS).status_code == 409
    assert f'{QUOTAS}/changes/{first}/undo"' not in page
    theirs = browse(school.teacher)
    assert theirs.get(f"{QUOTAS}/history").status_code == 403
    assert post(theirs, f"{QUOTAS}/changes/{last(system)}/undo", page="/teach").status_code == 403


def test_an_instructor_asks_and_reads_the_answer_of_an_operator(
    browse: Browser, school: School, system: System
) -> None:
    teacher, keeper = browse(school.teacher), browse(school.admin)
    path = f"/teach/{school.offering.key}/compute/hours"
    assert path in teacher.get(f"/teach/{school.offering.key}/compute").text
    wrong = post(teacher, path, page=path, hours="much", why=" ")
    assert wrong.status_code == 400
    assert "2 things to put right" in wrong.text
    assert 'value="much"' in wrong.text, "what was typed is not lost"
    post(teacher, path, page=path, hours="20", why="Fine-tuning")
    assert "waits for an operator" in teacher.get(path).text
    assert post(teacher, path, page="/teach", hours="9", why="more").status_code == 409
    assert "1 course asks for more" in keeper.get("/admin/compute").text
    page = keeper.get(QUOTAS).text
    assert "Fine-tuning" in page
    answer = page.split(f'action="{QUOTAS}/requests/')[1].split('"')[0]
    answer = f"{QUOTAS}/requests/{answer}"
    assert post(keeper, answer, page=QUOTAS, verdict="decline", answer="").status_code == 400
    assert post(teacher, answer, page="/teach", verdict="grant", hours="20").status_code == 403
    post(keeper, answer, page=QUOTAS, verdict="grant", hours="12", answer="Until May.")
    assert hours(system, school) == 12
    told = teacher.get(path).text
    assert "granted: 12 GPU-hours a week" in told
    assert "Until May." in told
    assert "Fine-tuning — Until May." in keeper.get(QUOTAS).text, "the history says why"
    assert post(keeper, answer, page=QUOTAS, verdict="grant", hours="20").status_code == 409
    assert browse(school.minseo).get(path).status_code == 403


def test_a_declined_and_a_withdrawn_request_say_so_in_korean(
    browse: Browser, school: School, system: System
) -> None:
    teacher, keeper = browse(school.teacher, "ko"), browse(school.admin)
    usual = hours(system, school)
    path = f"/teach/{school.offering.key}/compute/hours"
    for number in (1, 2):
        post(teacher, path, page=path, hours="20", why="실험")
        if number == 1:
            refused = {"verdict": "decline", "answer": "남은 GPU가 없어요."}
            post(keeper, f"{QUOTAS}/requests/1", page=QUOTAS, **refused)
        else:
            other = f"/teach/{school.full.key}/compute/hours/2/withdraw"
            assert post(teacher, other, page=path).status_code == 403
            post(teacher, f"{path}/2/withdraw", page=path)
    page = teacher.get(path).text
    for words in ("거절됨", "남은 GPU가 없어요.", "거두었음"):
        assert words in page
    assert hours(system, school) == usual
