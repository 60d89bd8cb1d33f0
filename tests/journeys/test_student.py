"""Journey 1, whole: from the catalogue to a graded notebook, for a right and a wrong answer."""

import io
import os
import re
import signal
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.integration.grading.stock import Graded, grade_stock
from tests.journeys.answers import reference_answers
from tests.journeys.person import Person, reading
from tests.stack import ROOT, Stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.browser]

COURSE = ROOT / "courses" / "python-for-ai"
OFFERING, ASSIGNMENT = "python-for-ai-2026w", "letter-detective"
TASK = f"/offerings/{OFFERING}/assignments/{ASSIGNMENT}"
#: Casefold is forgotten and so is NFC: right for the visible check of one letter case only.
WRONG = (
    'def normalise(text):\n    """Forgets everything but lower case."""\n    return text.lower()'
)


def _wait_for_grade(page: Page) -> None:
    expect(page.locator("#result table.qs")).to_be_visible(timeout=180_000)
    expect(page.locator("#result .waiting")).to_have_count(0)


def _scores_on_page(page: Page) -> dict[str, float]:
    """Return the score of each question as the page shows it; a dash is a person's to give."""
    scores = {}
    for row in page.locator("#result table.qs tbody tr").all():
        name = row.locator("th").inner_text().split("\n")[0].strip()
        shown = row.locator("td.sc").inner_text().split("/")[0].strip()
        scores[name] = 0.0 if shown == "–" else float(shown)
    return scores


def _handed_in(person: Person) -> dict[str, bytes]:
    """Download the attempt on the page, as the student can."""
    address = person.page.get_by_role("link", name=re.compile("파일 내려받기")).get_attribute(
        "href"
    )
    answer = person.context.request.get(f"{person.stack.lms_url}{address}")
    with zipfile.ZipFile(io.BytesIO(answer.body())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _stock(files: dict[str, bytes]) -> Graded:
    return grade_stock(COURSE, ASSIGNMENT, {"student": files})


def _expect_as_nbgrader(person: Person) -> dict[str, float]:
    """Compare the page with stock nbgrader on the very bytes that were handed in."""
    scores = _scores_on_page(person.page)
    stock = _stock(_handed_in(person))
    oracle = {
        key.grade_id: score.auto_score or 0.0
        for key, score in stock.cells.items()
        if key.notebook == ASSIGNMENT
    }
    assert scores == oracle
    total, maximum = stock.totals["student", ASSIGNMENT]
    shown = reading(person.page, lambda page: page.locator("#result .score").inner_text())
    assert shown == f"{total:g} / {maximum:g}"
    return scores


def _newest_attempt(person: Person, attempt: int) -> None:
    """Open the attempt's page from the assignment's page."""
    person.visit(TASK)
    person.page.locator("main a[href^='/submissions/']").first.wait_for()
    person.page.locator("main a[href^='/submissions/']", has_text=str(attempt)).first.click()


def test_student_goes_from_the_catalogue_to_feedback(
    stack: Stack, browser: Browser, pictures: Path
) -> None:
    person = Person.at(stack, browser, pictures, "student")
    page = person.page

    # Finds a course without an account, then signs in.
    person.visit("/")
    person.picture("front")
    person.visit("/courses?q=파이썬")
    page.locator("#results a", has_text="파이썬으로 시작하는 AI").first.wait_for()
    person.picture("search")
    person.sign_in("student")
    person.picture("home-empty")

    # Enrols and looks around.
    person.visit("/courses/python-for-ai")
    person.picture("course")
    page.locator("form[action$='/enrol'] button").first.click()
    expect(page).to_have_url(re.compile(f"/offerings/{OFFERING}"))
    person.picture("course-home")
    person.visit(f"/offerings/{OFFERING}/units/values-and-names")
    expect(page.locator("main math").first).to_be_visible()
    person.picture("unit")

    # Opens the notebook: the Hub signs the same person in without a question.
    person.visit(TASK)
    person.picture("assignment")
    page.locator(
        f"main a[href$='{ASSIGNMENT}/open'], main form[action$='/open'] button"
    ).first.click()
    person.in_lab()
    person.picture("lab", whole=False)

    # Answers everything right, and hands in from JupyterLab's own Assignment List.
    answers = reference_answers(COURSE / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb")
    assert len(answers) == 4
    person.answer(answers)
    person.picture("lab-answered", whole=False)
    person.open_assignment_list()
    person.submit_in_lab(ASSIGNMENT)
    submitted = page.locator("#submitted_assignments_list .list_item")
    expect(submitted.first).to_contain_text(ASSIGNMENT, timeout=30_000)
    person.picture("assignment-list", whole=False)

    # Reads the score, which is nbgrader's own, and the feedback.
    _newest_attempt(person, 1)
    _wait_for_grade(page)
    person.picture("graded-right")
    right = _expect_as_nbgrader(person)
    assert right == {"Q1": 4, "Q2": 4, "Q3": 4, "Q4": 5, "W": 0}
    _read_feedback(person)
    receipt = person.context.request.get(f"{page.url}/receipt.json").json()
    assert (receipt["attempt"], receipt["student"], receipt["late"]) == (1, "student", False)

    # A wrong answer is a second attempt, and loses exactly its own question.
    person.visit(f"{TASK}/open")
    person.in_lab()
    person.answer({"def normalise(text):": WRONG})
    person.open_assignment_list()
    person.submit_in_lab(ASSIGNMENT)
    _kill_the_worker_while_it_grades(stack)
    _newest_attempt(person, 2)
    _wait_for_grade(page)
    assert _runs(stack, attempt=2) == [("graded", 1)]
    person.picture("graded-wrong")
    wrong = _expect_as_nbgrader(person)
    assert wrong == right | {"Q1": 0}
    _expect_no_hidden_test(person)

    person.visit("/grades")
    person.picture("grades")
    person.visit("/")
    person.picture("home")
    _sign_out_everywhere(person)
    assert person.leaked == []
    assert person.outside == []
    person.leave()


def _runs(stack: Stack, attempt: int) -> list[tuple[str, int]]:
    """Return status and number of each run of the attempt, from the database."""
    question = (
        "SELECT run.status, run.number FROM run JOIN submission ON submission.id = submission_id "
        "WHERE attempt = ?"
    )
    with closing(sqlite3.connect(stack.data / "db" / "lms.sqlite")) as connection:
        return connection.execute(question, (attempt,)).fetchall()


def _kill_the_worker_while_it_grades(stack: Stack) -> None:
    """Kill -9 mid-run: the run is taken up again, and graded once."""
    wait_until(lambda: _runs(stack, 2) == [("running", 1)], 30, "the second attempt to run")
    os.kill(stack.pid_of("worker"), signal.SIGKILL)


def _read_feedback(person: Person) -> None:
    """The feedback stands in the page, sandboxed, and on its own with the network cut."""
    frame = person.page.locator("iframe[sandbox]").first
    frame.scroll_into_view_if_needed()
    person.page.frame_locator("iframe[sandbox]").first.locator("body").wait_for()
    address = f"{person.stack.lms_url}{frame.get_attribute('src')}"
    answer = person.context.request.get(address)
    policy = answer.headers["content-security-policy"]
    for rule in ("sandbox", "default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"):
        assert rule in policy
    assert "<script" not in answer.text()

    # Directly, with everything else cut off: it needs nothing but itself.
    tab = person.context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.route(
        "**/*", lambda route: route.continue_() if route.request.url == address else route.abort()
    )
    tab.goto(address)
    expect(tab.locator("body")).to_contain_text("normalise")
    tab.screenshot(path=person.pictures / f"{person.name}-feedback.png", full_page=True)
    assert [url for url in asked if not url.startswith("data:")] == [address]
    tab.close()


def _expect_no_hidden_test(person: Person) -> None:
    """The failed question's feedback says that it failed, and shows nothing of the hidden tests."""
    frame = person.page.locator("iframe[sandbox]").first
    answer = person.context.request.get(f"{person.stack.lms_url}{frame.get_attribute('src')}")
    source = (COURSE / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb").read_text("utf-8")
    hidden = re.findall(r"### BEGIN HIDDEN TESTS(.*?)### END HIDDEN TESTS", source, re.DOTALL)
    assert hidden
    shown = "".join(re.sub(r"<[^>]+>", "", answer.text()).split())
    for block in hidden:
        for line in re.findall(r'"((?:[^"\\]|\\.){25,}?)\\n"', block):
            assert "".join(line.split()) not in shown


def _sign_out_everywhere(person: Person) -> None:
    """Signing out of the LMS ends the Hub and the notebook server's session too."""
    page, hub = person.page, person.stack.hub_url
    server = f"{hub}/user/student/api/status"
    assert person.context.request.get(server).ok
    cookies = {one["name"]: one["value"] for one in person.context.cookies(hub)}
    person.visit("/logout")
    page.locator("main form button").first.click()
    page.wait_for_url("**/signed-out", timeout=60_000)
    person.picture("signed-out")
    # The old cookies, replayed by somebody who copied them, open nothing.
    for address in (server, f"{hub}/hub/api/user", f"{hub}/hub/home"):
        answer = requests.get(address, cookies=cookies, timeout=30, allow_redirects=False)
        assert answer.status_code != 200, address
    person.visit("/grades")
    expect(page).to_have_url(re.compile("/login"))


def test_hub_down_leaves_everything_else_working(
    stack: Stack, browser: Browser, pictures: Path
) -> None:
    person = Person.at(stack, browser, pictures, "hub-down", locale="en-GB")
    person.sign_in("teacher")
    pid = stack.pid_of("hub")
    os.kill(pid, signal.SIGKILL)
    person.visit(f"{TASK}/open")
    person.picture("open")
    expect(person.page.locator("main")).to_contain_text("노트북 허브가 대답하지 않아요")
    assert person.page.url.startswith(stack.lms_url)
    person.visit("/status")
    person.picture("status")
    person.visit("/courses")
    expect(person.page.locator("#results")).to_be_visible()
    wait_until(lambda: stack.health()[0] == 200, 90, "the Hub to come back")
    person.leave()
