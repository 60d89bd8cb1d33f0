"""The curriculum map: one function for two layouts, terms across on wide and down on phones.

Geometry is done in (along, across): `along` runs with the terms, `across` with the courses of one
term; only `_xy` knows which of them is x.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

CourseStatus = Literal["done", "now", "open", "shut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapCourse:
    """One course on the map; `percent` is drawn while it runs."""

    key: str
    title: str
    meta: str
    status: CourseStatus
    credits: int
    percent: int = 0
    #: Keys of the courses to take first; those that are not on the map are left out.
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A finished picture."""

    svg: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Sizes of one layout, in CSS pixels at full width."""

    downwards: bool
    box_width: float
    box_height: float
    term_pitch: float
    slot_pitch: float
    #: Room for the terms' names.
    head: float
    name_size: int
    pad: float


@dataclass(frozen=True, slots=True)
class _Place:
    term: int
    slot: int


WIDE = 1143.0
NARROW = 361.0
_RADIUS = 6.0
#: Lines that a course's name may take.
MAX_LINES = 2


def draw_map(
    terms: Sequence[Sequence[MapCourse]],
    *,
    label: str,
    term_names: Sequence[str],
    downwards: bool,
) -> Drawing:
    """Return the map of `terms`; every box is a link to its course."""
    layout = _layout(terms, downwards=downwards)
    places = {
        course.key: _Place(t, s) for t, term in enumerate(terms) for s, course in enumerate(term)
    }
    slots = max((len(term) for term in terms), default=1)
    width, height = _canvas(layout, len(terms), slots)
    courses = {course.key: course for term in terms for course in term}
    parts = [
        *(_term(layout, number, name) for number, name in enumerate(term_names[: len(terms)])),
        *_edges(layout, courses, places),
        *(_box(layout, courses[key], place) for key, place in places.items()),
    ]
    kind = "narrow-only" if downwards else "wide-only"
    opening = Markup(
        '<svg class="map {}" viewBox="0 0 {} {}" role="group" aria-label="{}" '
        'style="width:100%;height:auto">'
    ).format(kind, _n(width), _n(height), label)
    return Drawing(svg=opening + Markup("").join(parts) + Markup("</svg>"))


def _layout(terms: Sequence[Sequence[MapCourse]], *, downwards: bool) -> Layout:
    slots = max((len(term) for term in terms), default=1)
    if downwards:
        pitch = NARROW / max(slots, 2)
        return Layout(
            downwards=True, box_width=min(pitch - 11, 220), box_height=88, term_pitch=132,
            slot_pitch=pitch, head=24, name_size=14, pad=9,
        )  # fmt: skip
    pitch = min(WIDE / max(len(terms), 1), 286)
    return Layout(
        downwards=False, box_width=min(pitch - 50, 232), box_height=88, term_pitch=pitch,
        slot_pitch=114, head=34, name_size=15, pad=12,
    )  # fmt: skip


def _canvas(layout: Layout, terms: int, slots: int) -> tuple[float, float]:
    if layout.downwards:
        return NARROW, layout.head + (terms - 1) * layout.term_pitch + layout.box_height + 2
    return WIDE, layout.head + (slots - 1) * layout.slot_pitch + layout.box_height + 2


def _corner(layout: Layout, place: _Place) -> tuple[float, float]:
    """Return a box's upper left corner."""
    if layout.downwards:
        return 1.5 + place.slot * layout.slot_pitch, layout.head + place.term * layout.term_pitch
    return 1.5 + place.term * layout.term_pitch, layout.head + place.slot * layout.slot_pitch


def _term(layout: Layout, number: int, name: str) -> Markup:
    if layout.downwards:
        x, y = 2.0, layout.head - 8 + number * layout.term_pitch
    else:
        x, y = 2 + number * layout.term_pitch, 14.0
    return Markup('<text class="term" x="{}" y="{}">{}</text>').format(_n(x), _n(y), name)


def _box(layout: Layout, course: MapCourse, place: _Place) -> Markup:
    x, y = _corner(layout, place)
    inner = x + layout.pad
    lines = wrap(course.title, (layout.box_width - 2 * layout.pad) / layout.name_size)
    # Two lines of name stand higher, so that the meta line keeps its place.
    first = y + (34 if len(lines) == 1 else 26)
    names = [
        Markup('<text class="name" x="{}" y="{}" style="font-size:{}px">{}</text>').format(
            _n(inner), _n(first + i * (layout.name_size + 3)), layout.name_size, line
        )
        for i, line in enumerate(lines)
    ]
    meta_line = _cut(course.meta, (layout.box_width - 2 * layout.pad) / 12)
    meta = Markup('<text class="meta" x="{}" y="{}">{}</text>').format(
        _n(inner), _n(y + 64), meta_line
    )
    return Markup(
        '<a href="/courses/{}"><g class="{}"><title>{}</title>'
        '<rect class="box" x="{}" y="{}" width="{}" height="{}"/>{}{}{}{}</g></a>'
    ).format(
        course.key,
        course.status,
        f"{course.title}: {course.meta}",
        _n(x),
        _n(y),
        _n(layout.box_width),
        _n(layout.box_height),
        _stitches(layout, course.credits, x, y),
        Markup("").join(names),
        meta,
        _bar(layout, course, x, y),
    )


def _stitches(layout: Layout, credits_: int, x: float, y: float) -> Markup:
    right = x + layout.box_width - layout.pad - 2
    return Markup("").join(
        Markup('<path class="box" style="stroke-dasharray:none" d="M{} {}v7"/>').format(
            _n(right - 6 * i), _n(y)
        )
        for i in range(min(credits_, 9))
    )


def _bar(layout: Layout, course: MapCourse, x: float, y: float) -> Markup:
    if course.status != "now":
        return Markup("")
    width = layout.box_width - 2 * layout.pad
    return Markup(
        '<rect class="track" x="{0}" y="{1}" width="{2}" height="4"/>'
        '<rect class="fill" x="{0}" y="{1}" width="{3}" height="4"/>'
    ).format(
        _n(x + layout.pad), _n(y + layout.box_height - 14), _n(width),
        _n(width * course.percent / 100),
    )  # fmt: skip


def _edges(
    layout: Layout, courses: Mapping[str, MapCourse], places: Mapping[str, _Place]
) -> list[Markup]:
    taken = {(place.term, place.slot) for place in places.values()}
    drawn = []
    # Waiting edges first, so that live ones lie on top.
    order = {"shut": 0, "open": 0, "done": 1, "now": 2}
    pairs = [
        (courses[source], course)
        for course in courses.values()
        for source in course.after
        if source in courses and places[source].term < places[course.key].term
    ]
    for source, target in sorted(pairs, key=lambda pair: order[pair[0].status]):
        kind = source.status if source.status in {"done", "now"} else "shut"
        points = _route(layout, places[source.key], places[target.key], taken)
        drawn.append(_line(layout, points, kind))
    return drawn


def _route(
    layout: Layout, source: _Place, target: _Place, taken: set[tuple[int, int]]
) -> list[tuple[float, float]]:
    """Return the corners of an edge in (along, across), around the boxes between."""
    box_along = layout.box_height if layout.downwards else layout.box_width
    box_across = layout.box_width if layout.downwards else layout.box_height
    origin = layout.head if layout.downwards else 1.5
    base = 1.5 if layout.downwards else layout.head

    def middle(slot: int) -> float:
        return base + slot * layout.slot_pitch + box_across / 2

    start = origin + source.term * layout.term_pitch + box_along
    end = origin + target.term * layout.term_pitch - 2
    gap = layout.term_pitch - box_along
    early, late = start + gap / 2, end + 2 - gap / 2
    here, there = middle(source.slot), middle(target.slot)
    between = range(source.term + 1, target.term)
    if not any((t, target.slot) in taken for t in between):
        turns = [(early, here), (early, there)]
    elif not any((t, source.slot) in taken for t in between):
        turns = [(late, here), (late, there)]
    else:
        lane = here + layout.slot_pitch / 2
        turns = [(early, here), (early, lane), (late, lane), (late, there)]
    corners = [(start, here), *turns, (end, there)]
    is_straight = all(across == here for _, across in corners)
    return [corners[0], corners[-1]] if is_straight else corners


def _line(layout: Layout, points: Sequence[tuple[float, float]], kind: str) -> Markup:
    corners = [_xy(layout, point) for point in points]
    steps = [f"M{_n(corners[0][0])} {_n(corners[0][1])}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        enter, leave = _toward(corner, before), _toward(corner, after)
        steps.append(f"L{_n(enter[0])} {_n(enter[1])}")
        steps.append(f"Q{_n(corner[0])} {_n(corner[1])} {_n(leave[0])} {_n(leave[1])}")
    x, y = corners[-1]
    tip = "l-4.5 -8h9z" if layout.downwards else "l-8 -4.5v9z"
    shaft = (x, y - 7) if layout.downwards else (x - 7, y)
    steps.append(f"L{_n(shaft[0])} {_n(shaft[1])}")
    return Markup('<path class="edge {0}" d="{1}"/><path class="tip {0}" d="M{2} {3}{4}"/>').format(
        kind, "".join(steps), _n(x), _n(y), tip
    )


def _toward(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the point on the way to `other` where the rounding of `corner` begins."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    share = min(_RADIUS, length / 2) / length if length else 0
    return corner[0] + dx * share, corner[1] + dy * share


def _xy(layout: Layout, point: tuple[float, float]) -> tuple[float, float]:
    along, across = point
    return (across, along) if layout.downwards else (along, across)


def wrap(text: str, room_em: float) -> list[str]:
    """Return `text` on at most MAX_LINES lines of `room_em` ems, cut with an ellipsis."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and width_em(longer) > room_em:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    if len(lines) > MAX_LINES:
        lines = [lines[0], " ".join(lines[1:])]
    return [_cut(one, room_em) for one in lines]


def width_em(text: str) -> float:
    """Estimate the width of `text`: a Hangul syllable is nearly square, a Latin letter is not."""
    return sum(
        0.9 if letter > "\u1100" else 0.3 if letter in " .,·'iljt" else 0.58 for letter in text
    )


def _cut(text: str, room_em: float) -> str:
    if width_em(text) <= room_em:
        return text
    while text and width_em(text) > room_em - 0.6:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
