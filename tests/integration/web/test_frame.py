"""What all pages share: errors, languages, headers, the number of queries, no address elsewhere."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from flask import Flask
from sqlalchemy import Engine, event

from lms.foundation.errors import UnavailableError
from lms.foundation.settings import Uids
from lms.protocol.sentences import sentence
from lms.web.access import public
from tests.factories.school import School
from tests.integration.web.conftest import Browser

#: What the pages look like does not depend on the database; test_taking.py runs on both kinds.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

MOST_QUERIES = 12
PAGES = (
    "/",
    "/courses",
    "/courses?q=python",
    "/programmes/ai-foundations",
    "/courses/python-for-ai",
    "/offerings/python-for-ai-2026w",
    "/offerings/python-for-ai-2026w/units/arrays",
    "/offerings/python-for-ai-2026w/assignments/letters",
    "/submissions/{submission}",
    "/submissions/{timed_out}",
    "/grades",
    "/teach",
    "/teach/python-for-ai-2026w",
    "/teach/python-for-ai-2026w/assignments/letters",
    "/teach/python-for-ai-2026w/held",
    "/status",
)


def address(page: str, school: School) -> str:
    return page.format(submission=school.submission.id, timed_out=school.timed_out.id)


@contextmanager
def counted() -> Iterator[list[str]]:
    """Collect the statements that run inside the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_pages_ask_the_database_a_dozen_times_at_most(
    browse: Browser, school: School, engine: Engine
) -> None:
    student, teacher = browse(school.minseo), browse(school.teacher)
    for page in PAGES:
        client = teacher if page.startswith("/teach") else student
        client.get(address(page, school))
        with counted() as statements:
            assert client.get(address(page, school)).status_code == 200
        assert len(statements) <= MOST_QUERIES, page + "\n\n".join(statements)


@pytest.mark.parametrize("language", ["ko", "en"])
def test_pages_are_whole_and_load_nothing_from_elsewhere(
    browse: Browser, school: School, language: str
) -> None:
    student, teacher = browse(school.minseo, language), browse(school.teacher, language)
    for page in PAGES:
        answer = (teacher if page.startswith("/teach") else student).get(address(page, school))
        assert answer.status_code == 200, page
        assert f'<html lang="{language}">' in answer.text, page
        assert_whole(answer.text, page)


def assert_whole(text: str, page: str) -> None:
    """One h1, no level of heading left out, ids used once, nothing loaded from elsewhere."""
    assert text.count("<h1") == 1, page
    for found in re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="([^"]+)"', text):
        assert found.startswith(("/", "data:image/")), (page, found)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids)), page
    headings = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert all(after <= before + 1 for before, after in pairwise(headings)), (page, headings)


def test_korean_pages_leave_nothing_in_english(browse: Browser, school: School) -> None:
    """Words of the interface that an English page has must not stand in the Korean one."""
    student, teacher = browse(school.minseo, "ko"), browse(school.teacher, "ko")
    for page in PAGES:
        if "units" in page:
            continue
        text = (teacher if page.startswith("/teach") else student).get(address(page, school)).text
        for word in ("Skip to content", "Your ", "Courses", "Assignment", "Received", "Sign out"):
            assert f">{word}" not in text, (page, word)


def test_a_page_that_breaks_says_that_it_is_ours(browse: Browser, app: Flask) -> None:
    @app.get("/breaks")
    @public
    def breaks() -> str:
        raise RuntimeError("a secret path: /root/x")

    app.testing = False
    answer = browse(language="ko").get("/breaks")
    assert answer.status_code == 500
    assert "저희 쪽 문제예요" in answer.text
    assert "secret" not in answer.text


def test_a_part_that_does_not_answer_is_a_503_with_its_sentence(
    browse: Browser, app: Flask
) -> None:
    @app.get("/down")
    @public
    def down() -> str:
        raise UnavailableError(sentence("This assignment has not been released yet."))

    answer = browse().get("/down")
    assert answer.status_code == 503
    assert "This assignment has not been released yet." in answer.text


def test_programs_get_errors_as_json(browse: Browser, school: School) -> None:
    answer = browse().get("/api/nothing")
    assert answer.status_code == 404
    assert answer.json is not None
    assert answer.json["error"]["status"] == 404


def test_a_wrong_method_keeps_its_header(browse: Browser, school: School) -> None:
    answer = browse().get("/offerings/x/enrol")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


def test_marked_static_files_are_kept_for_good_and_others_are_asked_for(
    browse: Browser, school: School
) -> None:
    client = browse()
    page = client.get("/").text
    found = re.search(r'href="(/static/base\.css\?v=[0-9a-f]+)"', page)
    assert found
    with client.get(found[1]) as marked, client.get("/static/base.css") as plain:
        assert "immutable" in marked.headers["Cache-Control"]
        assert "immutable" not in plain.headers.get("Cache-Control", "")


def test_the_status_page_names_parts_that_are_down(browse: Browser, school: School) -> None:
    page = browse(language="ko").get("/status").text
    assert "노트북 허브" in page
    assert "안 돼요" in page


def test_the_status_page_warns_when_all_servers_share_one_user(
    browse: Browser, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browse()
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert "all notebook servers share one user" in client.get("/status").text
    monkeypatch.setattr(os, "getuid", lambda: Uids().web)
    assert "all notebook servers share one user" not in client.get("/status").text
