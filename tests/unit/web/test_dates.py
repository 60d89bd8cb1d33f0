"""Dates, sizes and points as people read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from lms.foundation.bilingual import Bilingual
from lms.protocol.sentences import sentence
from lms.web import dates
from lms.web.i18n import init_languages, say

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@contextmanager
def reading_in(language: str) -> Iterator[None]:
    app = Flask(__name__)
    init_languages(app)
    with app.test_request_context(headers={"Accept-Language": language}):
        yield


@pytest.mark.parametrize(
    ("ahead", "korean", "english"),
    [
        (timedelta(hours=8), "오늘 23:00 마감", "Due today, 23:00"),
        (timedelta(hours=10), "내일 01:00 마감", "Due tomorrow, 01:00"),
        (timedelta(days=3), "11월 27일 금요일 15:00 마감", "Due Friday 27 November, 15:00"),
        (timedelta(days=-1), "11월 23일 15:00에 마감됐어요", "Was due 23 Nov, 15:00"),
    ],
)
def test_deadlines_are_said_by_the_clock_in_seoul(
    ahead: timedelta, korean: str, english: str
) -> None:
    with reading_in("ko"):
        assert dates.due_phrase(NOW + ahead, NOW) == korean
    with reading_in("en"):
        assert dates.due_phrase(NOW + ahead, NOW) == english


def test_no_deadline_is_said_too() -> None:
    with reading_in("ko"):
        assert dates.due_phrase(None, NOW) == "마감 없음"


@pytest.mark.parametrize(
    ("rest", "parts", "near"),
    [
        (timedelta(days=9, hours=3), ((9, "days"),), False),
        (timedelta(days=1, hours=3, minutes=5), ((1, "day"), (3, "h")), False),
        (timedelta(hours=6, minutes=12), ((6, "h"), (12, "min")), True),
        (timedelta(minutes=3), ((3, "min"),), True),
    ],
)
def test_time_left_is_said_in_its_two_largest_units(
    rest: timedelta, parts: tuple[tuple[int, str], ...], near: object
) -> None:
    with reading_in("en"):
        left = dates.time_left(NOW + rest, NOW)
    assert left is not None
    assert left.parts == parts
    assert left.is_near is near


def test_no_time_is_left_at_the_deadline() -> None:
    assert dates.time_left(NOW, NOW) is None


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1024, "1 KB"),
        (1536, "1.5 KB"),
        (64 << 20, "64 MB"),
        (2 << 30, "2 GB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert dates.size(count) == words


@pytest.mark.parametrize(
    ("value", "words"), [(20.0, "20"), (2.5, "2.5"), (1 / 3, "0.33"), (0, "0")]
)
def test_points(value: float, words: str) -> None:
    assert dates.points(value) == words


def test_a_sentence_is_said_in_the_readers_language_with_its_facts() -> None:
    late = sentence("Received as attempt %(n)s.", n=3.0)
    with reading_in("ko"):
        assert say(late) == "3번째 제출로 받았어요."
        assert say(Bilingual(ko="가", en="a")) == "가"
    with reading_in("en"):
        assert say(late) == "Received as attempt 3."


def test_a_sentence_with_a_percent_sign_and_no_facts_is_left_alone() -> None:
    with reading_in("en"):
        assert say(sentence("100% sure")) == "100% sure"


@pytest.mark.parametrize(
    ("wish", "language"), [("ko-KR", "ko"), ("en-US", "en"), ("de", "ko"), ("", "ko")]
)
def test_who_reads_neither_language_gets_korean(wish: str, language: str) -> None:
    with reading_in(wish):
        assert say(Bilingual(ko="ko", en="en")) == language
