"""Finding a course: the catalogue with search and filters, and the front page of a visitor."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from flask import Blueprint, Response, make_response, render_template, request
from markupsafe import Markup
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Course, Programme
from lms.catalogue.rules import fold, matches
from lms.enrolment import service as enrolment
from lms.enrolment.models import Enrolment
from lms.web.access import optional_actor, public
from lms.web.database import session
from lms.web.i18n import current_locale, gettext, say
from lms.web.student.pages import (
    CataloguePage,
    CourseRow,
    FilterGroup,
    FilterOption,
    FrontPage,
    ProgrammeRow,
)
from lms.web.student.places import (
    PLACES,
    seats_words,
    speaking_offering,
    starts_words,
)
from lms.web.system import now
from lms.web.words import compute_words, kind_word, level_word

bp = Blueprint("catalogue", __name__)

#: Longer questions are cut: nobody types them, and each word costs a pass over all texts.
MAX_QUERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the address asks for."""

    query: str
    programmes: frozenset[str]
    levels: frozenset[str]
    tags: frozenset[str]

    @classmethod
    def from_request(cls) -> "Wish":
        """Read the wish from this request's address."""
        args = request.args
        return cls(
            query=" ".join(args.get("q", "").split())[:MAX_QUERY],
            programmes=frozenset(filter(None, args.getlist("programme"))),
            levels=frozenset(filter(None, args.getlist("level"))),
            tags=frozenset(filter(None, args.getlist("tag"))),
        )

    @property
    def filters_on(self) -> int:
        """How many boxes are ticked."""
        return len(self.programmes) + len(self.levels) + len(self.tags)


@bp.get("/courses")
@public
def show() -> Response:
    """Show the courses that match; an htmx request gets the list alone."""
    wish = Wish.from_request()
    database = session()
    page = make_catalogue(database, wish)
    only_list = (
        "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers
    )
    template = "student/_results.html" if only_list else "student/catalogue.html"
    response = make_response(render_template(template, page=page))
    response.headers["Vary"] = "HX-Request"
    return response


def make_front(database: Session) -> FrontPage:
    """Return the front page: every programme and course."""
    courses = catalogue.list_courses(database)
    return FrontPage(
        programmes=tuple(map(programme_row, catalogue.list_programmes(database))),
        courses=course_rows(database, courses, ""),
    )


def make_catalogue(database: Session, wish: Wish) -> CataloguePage:
    """Return the catalogue page for `wish`."""
    everything = catalogue.list_courses(database)
    programmes = catalogue.list_programmes(database)
    members = {one.key: {*one.required, *chain(*one.path)} for one in programmes}
    found = [course for course in everything if _has_words(course, wish.query)]
    kept = [course for course in found if _passes(course, wish, members)]
    return CataloguePage(
        query=wish.query,
        courses_total=len(everything),
        programmes_total=len(programmes),
        filters=_filters(found, wish, programmes, members),
        filters_on=wish.filters_on,
        results=course_rows(database, kept, wish.query),
        outside_filters=len(found) - len(kept),
    )


def course_rows(database: Session, courses: Sequence[Course], query: str) -> tuple[CourseRow, ...]:
    """Return rows for `courses`, with seats and where the person stands."""
    offerings = [offering.id for course in courses for offering in course.offerings]
    taken = enrolment.count_active(database, offerings)
    actor = optional_actor()
    mine: dict[int, Enrolment] = {}
    if actor is not None:
        rows = enrolment.list_enrolled(database, actor.person_id)
        mine = {one.offering_id: one for one, _ in rows}
    return tuple(_course_row(course, query, mine, taken, now()) for course in courses)


def _course_row(
    course: Course,
    query: str,
    mine: Mapping[int, Enrolment],
    taken: Mapping[int, int],
    at: datetime,
) -> CourseRow:
    speaking = speaking_offering(course.offerings, mine, taken, at)
    offering, way = speaking or (None, "")
    return CourseRow(
        key=course.key,
        code=course.code,
        title=course.title,
        summary=course.summary,
        why=_why(course, query),
        level=level_word(course.level),
        credits=course.credits,
        starts=starts_words(offering, at),
        seats=seats_words(offering, taken.get(offering.id, 0) if offering else 0),
        compute=compute_words(course.compute),
        place=PLACES.get(way),
    )


def programme_row(programme: Programme) -> ProgrammeRow:
    """Return the row of a programme."""
    return ProgrammeRow(
        key=programme.key,
        title=programme.title,
        summary=programme.summary,
        kind=kind_word(programme.kind),
        credits=programme.credits,
        courses=len({key for term in programme.path for key in term}),
        terms=len(programme.path),
    )


def _has_words(course: Course, query: str) -> bool:
    return matches(query, catalogue.searched_texts(course))


def _passes(course: Course, wish: Wish, members: Mapping[str, set[str]], without: str = "") -> bool:
    """Say whether the course passes the filters, one group of them left out if named."""
    in_programme = any(course.key in members.get(key, ()) for key in wish.programmes)
    return (
        (without == "programme" or not wish.programmes or in_programme)
        and (without == "level" or not wish.levels or course.level in wish.levels)
        and (without == "tag" or not wish.tags or bool(wish.tags & set(course.tags)))
    )


def _filters(
    found: Sequence[Course],
    wish: Wish,
    programmes: Iterable[Programme],
    members: Mapping[str, set[str]],
) -> tuple[FilterGroup, ...]:
    def group(
        name: str,
        title: str,
        labels: Mapping[str, str],
        chosen: frozenset[str],
        has: Callable[[Course, str], bool],
    ) -> FilterGroup:
        pool = [course for course in found if _passes(course, wish, members, without=name)]
        options = tuple(
            FilterOption(
                value=value,
                label=label,
                count=sum(has(course, value) for course in pool),
                checked=value in chosen,
            )
            for value, label in labels.items()
        )
        return FilterGroup(name=name, title=title, options=options)

    return (
        group(
            "programme",
            gettext("Programme"),
            {one.key: say(one.title) for one in programmes},
            wish.programmes,
            lambda course, key: course.key in members[key],
        ),
        group(
            "level",
            gettext("Level"),
            {key: say(level_word(key)) for key in ("foundation", "bachelor", "graduate")},
            wish.levels,
            lambda course, key: course.level == key,
        ),
    )


def _why(course: Course, query: str) -> Markup | None:
    """Say in which unit the search found the course, where the title alone does not show it."""
    words = fold(query).split()
    if not words or all(word in fold(say(course.title)) for word in words):
        return None
    locale = current_locale()
    for number, unit in enumerate(course.units, 1):
        title = unit.title[locale]
        if any(word in fold(title) for word in words):
            # The message is ours; the title is escaped by mark_words.
            return Markup(gettext("unit %(number)s, “%(title)s”")) % {  # noqa: S704
                "number": number,
                "title": mark_words(title, words),
            }
    tag = next((tag for tag in course.tags if any(word in fold(tag) for word in words)), None)
    return None if tag is None else mark_words(tag, words)


def mark_words(text: str, words: Iterable[str]) -> Markup:
    """Return `text` with the first place of each word marked, if folding kept its length."""
    folded = fold(text)
    if len(folded) != len(text):
        return Markup("{}").format(text)
    spans = sorted((folded.find(word), len(word)) for word in words if word in folded)
    parts, position = [], 0
    for start, length in spans:
        if start >= position:
            parts.append(
                Markup("{}<mark>{}</mark>").format(
                    text[position:start], text[start : start + length]
                )
            )
            position = start + length
    return Markup("").join([*parts, Markup("{}").format(text[position:])])
