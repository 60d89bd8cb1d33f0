"""Journey 1, second half: read units, hand in, read score and feedback."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from threading import Thread
from zipfile import ZipFile

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from lms.bootstrap import System
from lms.exchange.models import Submission
from lms.foundation.settings import Settings
from lms.grading.models import Run
from lms.protocol.grading import RunStatus
from lms.web import launch
from tests.factories.content import code_cell, notebook_bytes
from tests.factories.school import FEEDBACK, School
from tests.fakes.browser import csrf_token
from tests.fakes.clock import Clock
from tests.integration.web.conftest import Browser

LETTERS = "/offerings/python-for-ai-2026w/assignments/letters"
ARRAYS = "/offerings/python-for-ai-2026w/assignments/arrays"
ORIGIN = {"Origin": "http://127.0.0.1:8123"}


def upload(
    client: FlaskClient, content: bytes, name: str = "letters.ipynb", path: str = LETTERS
) -> TestResponse:
    """Send one file as the page's form does."""
    return client.post(
        f"{path}/submissions",
        data={"csrf_token": csrf_token(client, path), "files": (BytesIO(content), name)},
        headers=ORIGIN,
    )


def count_submissions(system: System) -> int:
    with system.sessions() as session:
        return session.query(Submission).count()


# --- reading ---


def test_home_names_the_nearest_thing_to_do_and_the_time_left(
    browse: Browser, school: School
) -> None:
    page = browse(school.minseo, "ko").get("/").text
    assert "민서 님, 지금 할 일은 하나예요" in page
    assert "배열로 생각하기" in page
    assert "4<small>일</small> 9<small>시간</small>" in page


def test_home_counts_a_timed_out_attempt_as_still_to_do(
    browse: Browser, system: System, school: School
) -> None:
    with system.sessions() as session:
        run = session.query(Run).filter_by(submission_id=school.submission.id).one()
        run.status = RunStatus.TIMED_OUT
        session.commit()
    assert "2 things need you now" in browse(school.minseo).get("/").text


def test_home_of_somebody_new_offers_the_catalogue(browse: Browser, school: School) -> None:
    page = browse(school.admin).get("/").text
    assert "Mary, choose a first course" in page
    assert "You are in no course yet" in page


def test_the_course_home_shows_progress_and_cells(browse: Browser, school: School) -> None:
    page = browse(school.minseo).get("/offerings/python-for-ai-2026w").text
    assert "2 of 5 units read" in page
    assert "1 of 2 assignments handed in" in page
    assert "5 questions: 2 full marks, 1 partial, 1 for a person" in page


def test_opening_a_unit_marks_it_read(browse: Browser, school: School) -> None:
    client = browse(school.minseo)
    client.get("/offerings/python-for-ai-2026w/units/structures")
    assert "3 of 5 units read" in client.get("/offerings/python-for-ai-2026w").text


def test_a_unit_is_shown_in_the_readers_language(browse: Browser, school: School) -> None:
    path = "/offerings/python-for-ai-2026w/units/values-and-names"
    english = browse(school.minseo).get(path).text
    both = browse(school.minseo).get(f"{path}?both=1").text
    assert "이름(name)은" not in english
    assert "이름(name)은" in both
    assert "<math" in english
    assert "cdn" not in english.lower()


def test_the_download_of_a_unit_is_its_file(browse: Browser, school: School) -> None:
    answer = browse(school.minseo).get("/offerings/python-for-ai-2026w/units/arrays/file")
    assert json.loads(answer.data)["cells"]
    assert "attachment" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "path",
    ["/offerings/python-for-ai-2026w", LETTERS, "/offerings/python-for-ai-2026w/units/arrays"],
)
def test_who_is_not_in_the_course_is_led_to_enrolment(
    browse: Browser, school: School, path: str
) -> None:
    answer = browse(school.newcomer).get(path)
    assert answer.location == "/courses/python-for-ai"


# --- handing in ---


def test_an_upload_is_received_queued_and_answered_with_its_page(
    browse: Browser, system: System, school: School
) -> None:
    client = browse(school.minseo)
    answer = upload(client, notebook_bytes(code_cell("x = 1")))
    page = client.get(answer.location).text
    assert "Received as attempt 3." in page
    assert "You are next in line." in page
    assert 'hx-trigger="every 2s"' in page
    assert "Check again" in page


def test_the_second_download_of_a_browser_keeps_its_meaning(
    browse: Browser, school: School
) -> None:
    answer = upload(browse(school.minseo), notebook_bytes(), "letters (1).ipynb")
    assert answer.status_code == 302


def test_the_same_bytes_stay_one_attempt(browse: Browser, system: System, school: School) -> None:
    client = browse(school.minseo)
    first = upload(client, notebook_bytes())
    second = upload(client, notebook_bytes())
    assert first.location == second.location
    assert "stays one attempt" in client.get(second.location).text


def test_late_work_is_taken_and_marked(browse: Browser, school: School, ticking: Clock) -> None:
    ticking.forward(hours=7)
    client = browse(school.minseo)
    assert "You can still submit; it will be marked late." in client.get(LETTERS).text
    answer = upload(client, notebook_bytes(code_cell("late = True")))
    assert "it is marked late" in client.get(answer.location).text


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"\x00\xff not a notebook", "letters.ipynb", "is not a Jupyter notebook"),
        (b"", "letters.ipynb", "The chosen file is empty"),
        (notebook_bytes(), "arrays.ipynb", "none of the files has that name"),
        (b"[" * 100_000, "letters.ipynb", "is not a Jupyter notebook"),
    ],
)
def test_what_is_no_answer_is_refused_beside_the_form(
    browse: Browser, system: System, school: School, content: bytes, name: str, words: str
) -> None:
    before = count_submissions(system)
    answer = upload(browse(school.minseo), content, name)
    assert answer.status_code == 400
    assert words in answer.text
    assert 'role="alert"' in answer.text
    assert count_submissions(system) == before


def test_no_file_at_all_is_said(browse: Browser, school: School) -> None:
    client = browse(school.minseo, "ko")
    token = csrf_token(client, LETTERS)
    answer = client.post(f"{LETTERS}/submissions", data={"csrf_token": token}, headers=ORIGIN)
    assert answer.status_code == 400
    assert "먼저 노트북을 골라 주세요" in answer.text


def test_too_large_an_upload_names_the_limit_and_reads_the_body_to_its_end(
    browse: Browser, app: Flask, school: School
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 1 << 20
    body = BytesIO(b"x" * (3 << 20))
    answer = browse(school.minseo).post(
        f"{LETTERS}/submissions",
        input_stream=body,
        content_type="multipart/form-data; boundary=b",
        content_length=3 << 20,
        headers=ORIGIN,
    )
    assert answer.status_code == 413
    assert "At most 1 MB can be sent at once." in answer.text
    assert body.read() == b""


def test_an_upload_after_the_sign_in_ended_is_not_lost_in_silence(
    browse: Browser, system: System, school: School, ticking: Clock
) -> None:
    client = browse(school.minseo)
    token = csrf_token(client, LETTERS)
    ticking.forward(hours=13)
    before = count_submissions(system)
    answer = client.post(
        f"{LETTERS}/submissions",
        data={"csrf_token": token, "files": (BytesIO(notebook_bytes()), "letters.ipynb")},
        headers=ORIGIN,
    )
    assert answer.status_code == 401
    assert "signed out" in answer.text
    assert count_submissions(system) == before


def test_an_old_form_says_that_nothing_was_submitted(browse: Browser, school: School) -> None:
    answer = browse(school.minseo).post(
        f"{LETTERS}/submissions", data={"csrf_token": "old"}, headers=ORIGIN
    )
    assert answer.status_code == 400
    assert "Nothing was changed or submitted" in answer.text


# --- opening the notebook ---


def test_with_the_hub_down_the_page_says_so_and_still_serves(
    browse: Browser, school: School
) -> None:
    answer = browse(school.minseo).get(f"{LETTERS}/open")
    assert answer.status_code == 503
    assert "The notebook Hub does not answer." in answer.text
    assert "Submit attempt 3" in answer.text


class Healthy(BaseHTTPRequestHandler):
    """A Hub that answers its health check."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_with_the_hub_up_the_button_leads_to_the_assignment(
    browse: Browser, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Healthy)
    Thread(target=server.serve_forever, daemon=True).start()
    check = launch.check_hub

    def check_there(settings: Settings) -> None:
        from dataclasses import replace

        check(replace(settings, hub_port=server.server_port))

    monkeypatch.setattr(launch, "check_hub", check_there)
    try:
        answer = browse(school.minseo).get(f"{LETTERS}/open")
    finally:
        server.shutdown()
        server.server_close()
    assert answer.status_code == 302
    assert answer.location.startswith("http://localhost:8223/hub/")
    assert "assignment=letters" in answer.location


# --- results ---


def test_the_result_shows_score_cells_and_how_each_was_marked(
    browse: Browser, school: School
) -> None:
    page = browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert "9.5 <small>/ 20</small>" in page
    assert "question 3, 2.5 of 4" in page
    assert "A person reads this" in page
    assert 'class="seal wait"' in page


def test_a_failed_run_says_why_in_the_readers_language(browse: Browser, school: School) -> None:
    path = f"/submissions/{school.timed_out.id}"
    assert "Look for a loop that never ends." in browse(school.minseo).get(path).text
    page = browse(school.minseo, "ko").get(path).text
    assert "시간 초과" in page
    assert "다시 제출하기" in page


def test_feedback_is_shut_in_by_its_headers_and_sent_as_it_is(
    browse: Browser, school: School
) -> None:
    answer = browse(school.minseo).get(f"/submissions/{school.submission.id}/feedback/letters")
    assert answer.data == FEEDBACK
    assert answer.headers["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_feedback_frame_allows_nothing(browse: Browser, school: School) -> None:
    page = browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert '<iframe class="frame" sandbox src=' in page


def test_the_receipt_is_a_file_to_keep(browse: Browser, school: School) -> None:
    answer = browse(school.minseo).get(f"/submissions/{school.submission.id}/receipt.json")
    receipt = json.loads(answer.data)
    assert receipt["digest"] == school.submission.digest
    assert receipt["attempt"] == 2
    assert "attachment" in answer.headers["Content-Disposition"]


def test_the_files_come_back_as_they_were_handed_in(browse: Browser, school: School) -> None:
    answer = browse(school.minseo).get(f"/submissions/{school.submission.id}/files")
    with ZipFile(BytesIO(answer.data)) as archive:
        assert archive.namelist() == ["letters.ipynb"]


@pytest.mark.parametrize("part", ["", "/status", "/feedback/letters", "/receipt.json", "/files"])
def test_nobody_elses_attempt_can_be_seen(browse: Browser, school: School, part: str) -> None:
    answer = browse(school.newcomer).get(f"/submissions/{school.submission.id}{part}")
    assert answer.status_code == 404
    assert b"expected 3" not in answer.data


def test_polling_is_quiet_until_something_changes_then_swaps_in_the_result(
    browse: Browser, system: System, school: School
) -> None:
    client = browse(school.minseo)
    location = upload(client, notebook_bytes(code_cell("y = 2"))).location
    submission_id = int(location.rsplit("/", 1)[-1])
    page = client.get(location).text
    seen = page.split("/status?seen=")[1].split('"')[0]
    assert client.get(f"{location}/status?seen={seen}").status_code == 204
    with system.sessions() as session:
        run = session.query(Run).filter_by(submission_id=submission_id).one()
        run.status, run.started_at = RunStatus.RUNNING, run.queued_at
        session.commit()
    swapped = client.get(f"{location}/status?seen={seen}").text
    assert "Marking now" in swapped
    assert 'hx-swap-oob="innerHTML:#live"' in swapped
    assert "<html" not in swapped


def test_a_final_result_is_not_polled_for(browse: Browser, school: School) -> None:
    page = browse(school.minseo).get(f"/submissions/{school.submission.id}").text
    assert "hx-get=" not in page.split('id="result"')[1]


def test_grades_show_the_attempt_that_counts(browse: Browser, school: School) -> None:
    page = browse(school.minseo).get("/grades").text
    assert f'href="/submissions/{school.submission.id}"' in page
    assert "<b>9.5</b> / 32" in page
