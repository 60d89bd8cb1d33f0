"""The drawn curriculum map."""

import re
from itertools import pairwise

import pytest

from lms.web.curriculum import CourseStatus, MapCourse, draw_map, width_em, wrap


def course(key: str, *after: str, title: str = "", status: CourseStatus = "open") -> MapCourse:
    return MapCourse(
        key=key, title=title or key, meta="meta", status=status, credits=3, percent=40, after=after
    )


def draw(*terms: list[MapCourse], downwards: bool = False) -> str:
    names = [f"Term {number}" for number in range(1, len(terms) + 1)]
    return draw_map(terms, label="Map", term_names=names, downwards=downwards).svg


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(
        r'<rect class="box" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg
    )
    return [(float(x), float(y), float(x) + float(w), float(y) + float(h)) for x, y, w, h in found]


def edges(svg: str) -> list[list[tuple[float, float]]]:
    """Return the corners of every edge."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]
        for path in re.findall(r'class="edge \w+" d="([^"]+)"', svg)
    ]


def crosses(points: list[tuple[float, float]], box: tuple[float, float, float, float]) -> bool:
    x1, y1, x2, y2 = box
    return any(
        min(ax, bx) < x2 - 1
        and max(ax, bx) > x1 + 1
        and min(ay, by) < y2 - 1
        and max(ay, by) > y1 + 1
        for (ax, ay), (bx, by) in pairwise(points)
    )


@pytest.mark.parametrize("downwards", [False, True])
def test_every_box_links_to_its_course(downwards: bool) -> None:  # noqa: FBT001
    svg = draw([course("a")], [course("b", "a")], downwards=downwards)
    assert svg.count('<a href="/courses/') == 2
    assert svg.count('class="edge') == 1


@pytest.mark.parametrize("downwards", [False, True])
def test_lines_go_around_the_boxes_between(downwards: bool) -> None:  # noqa: FBT001
    svg = draw(
        [course("a"), course("b")],
        [course("c", "a"), course("d")],
        [course("e", "a", "b"), course("f", "a", "d")],
        [course("g", "a", "b", "c")],
        downwards=downwards,
    )
    for points in edges(svg):
        for box in boxes(svg):
            assert not crosses(points, box), (points, box)


def test_titles_are_text_never_markup() -> None:
    svg = draw([course("a", title="<script>alert(1)</script>")])
    assert "<script" not in svg


def test_a_prerequisite_outside_the_map_or_in_the_same_term_draws_no_line() -> None:
    assert 'class="edge' not in draw([course("a"), course("b", "a", "elsewhere")])


def test_a_running_course_shows_how_far_it_is() -> None:
    assert 'class="fill"' in draw([course("a", status="now")])
    assert 'class="fill"' not in draw([course("a", status="done")])


def test_an_empty_programme_is_an_empty_picture() -> None:
    assert draw() == draw()
    assert "<a" not in draw()


@pytest.mark.parametrize(
    "text", ["밑바닥부터 만드는 기계학습과 올바른 검증", "Machine Learning from Scratch, again"]
)
def test_long_names_take_two_lines_that_fit(text: str) -> None:
    lines = wrap(text, 8)
    assert len(lines) == 2
    assert all(width_em(line) <= 8 for line in lines)
    assert lines[1].endswith("…")


def test_a_short_name_stays_on_one_line() -> None:
    assert wrap("Python", 8) == ["Python"]
