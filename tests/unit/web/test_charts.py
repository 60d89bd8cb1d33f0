"""Charts are right as numbers and as marks, whatever the width."""

import re
from datetime import UTC, date, datetime, timedelta

from lms.web.charts import BOTTOM, HEIGHT, LEFT, WIDTHS, Limit, day_bars, steps_and_line

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
BASE = HEIGHT - BOTTOM
STEP = timedelta(hours=3)


def test_a_bar_a_day_stands_on_the_axis_and_has_its_number() -> None:
    days = [(date(2026, 11, 1) + timedelta(days=n), value) for n, value in enumerate((0, 2, 4))]
    chart = day_bars(days, unit="GPU-hours", spoken="Six hours.")
    assert (chart.unit, chart.spoken) == ("GPU-hours", "Six hours.")
    assert [row[1] for row in chart.rows] == ["2", "4"], "days without use are no rows"
    assert [one.width for one in chart.drawings] == [width for _, width in WIDTHS]
    for drawing in chart.drawings:
        (bars,) = drawing.layers
        tops = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h", bars.path)]
        heights = [float(h) for h in re.findall(r"v([\d.]+)", bars.path)]
        assert [top + height for top, height in zip(tops, heights, strict=True)] == [BASE, BASE]
        assert heights[1] == 2 * heights[0]
        assert [tick.text for tick in drawing.numbers] == ["2", "4"]
        assert [tick.text for tick in drawing.y_ticks] == ["0", "2", "4"]
        assert drawing.limit is None
        assert not drawing.is_empty


def test_nothing_used_is_an_empty_drawing() -> None:
    chart = day_bars([(date(2026, 11, 1), 0.0)], unit="", spoken="")
    assert all(one.is_empty for one in chart.drawings)
    assert chart.rows == ()


def test_kinds_stand_on_each_other_and_the_limit_says_what_it_is() -> None:
    chart = steps_and_line(
        MONDAY, STEP, (("mine", [1.0, 0.0]), ("idle", [1.0, 2.0])), [0.0, 0.0],
        limit=Limit(value=4, words="4 GPUs"), unit="GPUs", spoken="",
    )  # fmt: skip
    drawing = chart.drawings[0]
    mine, idle = drawing.layers
    (low,) = re.findall(r"M[\d.]+ ([\d.]+)h", mine.path)
    first, second = re.findall(r"M[\d.]+ ([\d.]+)h[\d.]+v([\d.]+)", idle.path)
    assert abs(float(first[0]) + float(first[1]) - float(low)) < 0.2, "on the one below"
    assert float(second[0]) + float(second[1]) == BASE, "nothing is below"
    assert drawing.limit is not None
    assert (drawing.limit.text, drawing.limit.x) == ("4 GPUs", drawing.width)
    assert drawing.limit.y == min(tick.y for tick in drawing.y_ticks) - 4
    assert drawing.line == "", "nobody waited"


def test_a_line_leaves_the_axis_where_somebody_waits_and_comes_back_to_it() -> None:
    waits = [0.0, 2.0, 1.0, 0.0, 0.0, 2.0]
    chart = steps_and_line(
        MONDAY, STEP, (("mine", [0.0] * 6),), waits, limit=None, unit="", spoken=""
    )
    path = chart.drawings[0].line
    assert path.count("M") == 2, "two stretches"
    assert path.count("h") == 3, "a step for each that has somebody"
    assert path.count(f"V{BASE:.1f}") == 1, "the last goes on to the edge"
    assert float(path[1:].split(" ")[0]) > LEFT, "nothing is drawn along the axis"


def test_days_of_the_table_are_means_of_their_steps() -> None:
    bars = [1.0] * 8 + [5.0] * 8
    chart = steps_and_line(
        MONDAY, STEP, (("mine", bars),), [0.0] * 16, limit=None, unit="", spoken=""
    )
    # Seoul is nine hours ahead: three steps later a day has ended.
    assert [row[1] for row in chart.rows] == ["1", "3.5", "5"]
