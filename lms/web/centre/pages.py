"""What each page of the centre's journey draws: one frozen value a template."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from lms.centre.pages import CourseHere
from lms.protocol.sentences import Sentence
from lms.web.charts import Chart
from lms.web.parts import State
from lms.web.status import PartRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that somebody should see to: what is so, and what to do."""

    tone: str
    title: str
    todo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseRow:
    """A course of this box and where it stands."""

    here: CourseHere
    state: State
    #: The sentence that `state` is too short for; may be empty.
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpacePart:
    """What one kind of thing takes of the disk; `percent` of the whole disk."""

    words: str
    kind: str
    size_bytes: int
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk that the data folder is on."""

    free: int
    total: int
    parts: tuple[SpacePart, ...]
    spoken: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CentrePage:
    """centre/centre.html."""

    name: str
    central: str
    title: str
    lede: str
    students: int
    contact_at: datetime | None
    joined_at: datetime
    #: How long ago central was heard of, as people say it.
    ago: str
    is_quiet: bool
    sent: int
    waiting: int
    oldest: datetime | None
    courses: tuple[CourseRow, ...]
    chart: Chart
    disk: Disk
    parts: tuple[PartRow, ...]
    clock_ok: bool
    signed_at: datetime
    problems: tuple[Problem, ...]
    may_open: bool
    #: What was typed into the form for an opening code, and what was wrong with it.
    typed: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, Sentence] = field(default_factory=dict)

    def with_form(self, typed: Mapping[str, str], errors: Mapping[str, Sentence]) -> "CentrePage":
        """Return the page with what was typed and what was wrong with it."""
        return replace(self, typed={"course": "", "code": "", **typed}, errors=errors)

    @property
    def sent_percent(self) -> int:
        """How much of what was written here central has, 0 to 100."""
        total = self.sent + self.waiting
        return 100 if not total else 100 * self.sent // total

    @property
    def closed(self) -> tuple[CourseRow, ...]:
        """Courses with a seal that is not open yet."""
        return tuple(row for row in self.courses if any(not one.is_open for one in row.here.seals))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsPage:
    """centre/claims.html: a slip for each person."""

    name: str
    central: str
    #: (name, username, code)
    slips: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetPage:
    """centre/sheet.html: how to begin, to hang on the wall."""

    name: str
    address: str
    #: The address as a QR code, drawn here.
    code: str
    #: Whether the address is one that no other machine can reach.
    only_here: bool
