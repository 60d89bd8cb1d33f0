"""Charts as values: what their marks are and what they say; templates only draw them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import ceil

from lms.web.dates import here, short_day

#: Pixels of the drawings, for a phone, a tablet and a desk: text must never scale.
WIDTHS = (("narrow", 340), ("middle", 560), ("wide", 808))
HEIGHT, LEFT, BOTTOM = 204, 34, 24
#: Above the tallest bar, for its number, and above that for the axis' unit.
_TOP = 30
_GAP = 0.25
#: The width of a date, and of a number above a bar.
_ROOM, _NUMBER = 54, 22
_PLOT = HEIGHT - BOTTOM - _TOP


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Bars of one kind as one path."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A word at an axis or above a bar."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Bars over time, one kind on the other, a line, and a limit."""

    name: str
    width: int
    layers: tuple[Layer, ...]
    line: str
    #: Where the limit stands and what it says; None without one.
    limit: Tick | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    numbers: tuple[Tick, ...]
    height: int = HEIGHT
    left: int = LEFT
    base: int = HEIGHT - BOTTOM

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is drawn in it."""
        return not self.line and not any(one.path for one in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture, drawn for several widths; `spoken` says it in a sentence, `rows` in numbers."""

    drawings: tuple[Drawing, ...]
    #: What the numbers of the upright axis count.
    unit: str
    spoken: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What is drawn, whatever the width: bars from the ground up, and a stepped line."""

    #: By kind, all of one length; the first stands on the axis, the next on it.
    bars: Sequence[tuple[str, Sequence[float]]]
    words: Sequence[str]
    #: The steps whose words stand below the axis.
    named: Sequence[int]
    line: Sequence[float] = ()
    limit: float | None = None
    limit_words: str = ""
    has_numbers: bool = False
    #: The axis ends here.
    top: float = field(init=False)

    def __post_init__(self) -> None:
        sums = [sum(values) for values in zip(*(row for _, row in self.bars), strict=True)]
        top = _round_up(max([*sums, *self.line, self.limit or 0.0], default=0.0))
        object.__setattr__(self, "top", top)

    def draw(self) -> tuple[Drawing, ...]:
        """Draw for all widths."""
        return tuple(
            Drawing(
                name=name,
                width=width,
                layers=self._layers(width),
                line=self._line(width) if any(self.line) else "",
                limit=self._limit(width),
                x_ticks=self._x_ticks(width),
                y_ticks=tuple(
                    Tick(x=LEFT - 6, y=round(self._y(one) + 4, 1), text=_short(one))
                    for one in (0, self.top / 2, self.top)
                ),
                numbers=self._numbers(width) if self.has_numbers else (),
            )
            for name, width in WIDTHS
        )

    def _step(self, width: int) -> float:
        return (width - LEFT) / max(1, len(self.words))

    def _y(self, value: float) -> float:
        return HEIGHT - BOTTOM - _PLOT * min(value, self.top) / self.top

    def _layers(self, width: int) -> tuple[Layer, ...]:
        step, below, layers = self._step(width), [0.0] * len(self.words), []
        for kind, values in self.bars:
            path = ""
            for index, value in enumerate(values):
                if value > 0:
                    low, high = self._y(below[index]), self._y(below[index] + value)
                    x, wide = LEFT + index * step, step * (1 - _GAP)
                    path += f"M{x:.1f} {high:.1f}h{wide:.1f}v{low - high:.1f}h-{wide:.1f}z"
                    below[index] += value
            layers.append(Layer(kind=kind, path=path))
        return tuple(layers)

    def _numbers(self, width: int) -> tuple[Tick, ...]:
        """Return the numbers above the bars: all where there is room, else the highest one's."""
        step, values = self._step(width), self.bars[0][1]
        most = max(values, default=0.0)
        return tuple(
            Tick(
                x=round(LEFT + (index + (1 - _GAP) / 2) * step, 1),
                y=round(self._y(value) - 4, 1),
                text=_short(value),
            )
            for index, value in enumerate(values)
            if value > 0 and (step >= _NUMBER or index == values.index(most))
        )

    def _limit(self, width: int) -> Tick | None:
        if self.limit is None:
            return None
        return Tick(x=width, y=round(self._y(self.limit), 1), text=self.limit_words)

    def _line(self, width: int) -> str:
        """Return the steps above nothing; along the axis a line would only hide it."""
        step, path, before = self._step(width), "", 0.0
        for index, value in enumerate(self.line):
            x, y = LEFT + index * step, self._y(value)
            if value > 0:
                path += f"L{x:.1f} {y:.1f}" if before else f"M{x:.1f} {self._y(0):.1f}V{y:.1f}"
                path += f"h{step:.1f}"
            elif before:
                path += f"V{self._y(0):.1f}"
            before = value
        return path

    def _x_ticks(self, width: int) -> tuple[Tick, ...]:
        """Return the words of the steps to be named, the newest first, as far as there is room."""
        ticks: list[Tick] = []
        for index in reversed(self.named):
            at = min(LEFT + (index + 0.5) * self._step(width), width - _ROOM / 2)
            if not ticks or ticks[-1].x - at >= _ROOM:
                ticks.append(Tick(x=round(at, 1), y=HEIGHT - 5, text=self.words[index]))
        return tuple(reversed(ticks))


def day_bars(days: Sequence[tuple[date, float]], *, unit: str, spoken: str) -> Chart:
    """Return one bar a day; every seventh day has its date below."""
    plot = Plot(
        bars=(("mine", [value for _, value in days]),),
        words=[short_day(day) for day, _ in days],
        named=[index for index in range(len(days)) if (len(days) - 1 - index) % 7 == 0],
        has_numbers=True,
    )
    rows = tuple((short_day(day), _short(value)) for day, value in days if value > 0)
    return Chart(drawings=plot.draw(), unit=unit, spoken=spoken, rows=rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A line that nothing is above, with its words."""

    value: float
    words: str


def steps_and_line(
    start: datetime,
    step: timedelta,
    bars: Sequence[tuple[str, Sequence[float]]],
    line: Sequence[float],
    *,
    limit: Limit | None,
    unit: str,
    spoken: str,
) -> Chart:
    """Return bars of several kinds, a stepped line over the same time, and a limit.

    Every day has its date below; `rows` has each day with the means of bars and line.
    """
    words = [short_day(start + index * step) for index in range(len(line))]
    plot = Plot(
        bars=bars,
        words=words,
        named=[index for index in range(1, len(words)) if words[index] != words[index - 1]],
        line=line,
        limit=limit.value if limit else None,
        limit_words=limit.words if limit else "",
    )
    rows = tuple(_daily(start, step, [*(row for _, row in bars), line]))
    return Chart(drawings=plot.draw(), unit=unit, spoken=spoken, rows=rows)


def _daily(
    start: datetime, step: timedelta, series: Sequence[Sequence[float]]
) -> list[tuple[str, ...]]:
    days: dict[date, list[int]] = {}
    for index in range(len(series[0])):
        days.setdefault(here(start + index * step).date(), []).append(index)
    return [
        (short_day(day), *(_short(sum(row[i] for i in found) / len(found)) for row in series))
        for day, found in days.items()
    ]


def _round_up(value: float) -> float:
    """Return a round number of at least `value` for an axis to end at."""
    for edge in (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100):
        if value <= edge:
            return edge
    return ceil(value / 100) * 100


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
