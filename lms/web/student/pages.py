"""What each page of finding a course, and the home page, draws: one frozen value a template."""

from dataclasses import dataclass
from datetime import date, datetime

from markupsafe import Markup

from lms.foundation.bilingual import Bilingual
from lms.protocol.sentences import Sentence
from lms.web.curriculum import Drawing
from lms.web.dates import TimeLeft
from lms.web.parts import Cells, State

# --- catalogue ---


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseRow:
    """One course in a list; `why` says where the search found it."""

    key: str
    code: str
    title: Bilingual
    summary: Bilingual
    why: Markup | None
    level: Sentence
    credits: int
    starts: str
    seats: str
    compute: str
    place: State | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOption:
    """One box to tick, with how many courses it would leave."""

    value: str
    label: str
    count: int
    checked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterGroup:
    """Boxes of one question; `name` is the address's parameter."""

    name: str
    title: str
    options: tuple[FilterOption, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguePage:
    """student/catalogue.html and its fragment student/_results.html."""

    query: str
    courses_total: int
    programmes_total: int
    filters: tuple[FilterGroup, ...]
    filters_on: int
    results: tuple[CourseRow, ...]
    #: How many courses match the words but not the filters.
    outside_filters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeRow:
    """One programme in a list."""

    key: str
    title: Bilingual
    summary: Bilingual
    kind: Sentence
    credits: int
    courses: int
    terms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPage:
    """student/front.html: the home page of a visitor."""

    programmes: tuple[ProgrammeRow, ...]
    courses: tuple[CourseRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeCourse:
    """One course of a programme's table."""

    key: str
    title: Bilingual
    term: int
    credits: int
    prerequisites: tuple[Bilingual, ...]
    is_required: bool
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammePage:
    """student/programme.html."""

    title: Bilingual
    summary: Bilingual
    kind: Sentence
    credits: int
    credits_done: int
    courses_now: int
    terms: int
    is_known: bool
    wide: Drawing
    narrow: Drawing
    courses: tuple[ProgrammeCourse, ...]
    next_step: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitLine:
    """One unit of a syllabus."""

    number: int
    title: Bilingual
    summary: Bilingual
    minutes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """One assignment of a syllabus."""

    title: Bilingual
    summary: Bilingual
    minutes: int
    points: float | None
    questions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingBlock:
    """One offering of a course: when, how one gets in, and where this person stands."""

    key: str
    title: Bilingual
    starts_on: date
    ends_on: date
    seats: str
    place: State | None
    #: "enrolled", "pending", "declined", "closed", "full", "open", "code" or "approval".
    way: str
    code: str
    error: Sentence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoursePage:
    """student/course.html."""

    key: str
    code: str
    title: Bilingual
    summary: Bilingual
    level: Sentence
    credits: int
    contact_hours: int
    study_hours: int
    languages: tuple[str, ...]
    compute: str
    tags: tuple[str, ...]
    prerequisites: tuple[tuple[str, Bilingual], ...]
    outcomes: tuple[Bilingual, ...]
    units: tuple[UnitLine, ...]
    tasks: tuple[TaskLine, ...]
    offerings: tuple[OfferingBlock, ...]
    is_signed_in: bool


# --- home ---


@dataclass(frozen=True, slots=True, kw_only=True)
class TodoRow:
    """One assignment to do."""

    title: Bilingual
    course: Bilingual
    href: str
    due_at: datetime | None
    points: float | None
    questions: int
    minutes: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class NowBlock:
    """The one thing that matters now."""

    task: TodoRow
    due: str
    left: TimeLeft | None
    cells: Cells
    open_href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekDay:
    """One day of the week strip."""

    on: date
    is_today: bool
    dues: tuple[tuple[Bilingual, datetime], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MyCourse:
    """One course that the person takes part in."""

    title: Bilingual
    term: Bilingual
    href: str
    percent: int
    hint: str
    go_on: tuple[str, str] | None
    pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """A result that came in lately."""

    title: Bilingual
    course: Bilingual
    href: str
    state: State
    score: float | None
    max_score: float | None
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HomePage:
    """student/home.html."""

    name: str
    today: date
    #: How many assignments are due within the week.
    pressing: int
    now: NowBlock | None
    week: tuple[WeekDay, ...]
    todo: tuple[TodoRow, ...]
    courses: tuple[MyCourse, ...]
    results: tuple[NewResult, ...]
