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


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One cell of a strip."""

    x: int
    count: int
    is_today: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The last days of a centre as manuscript cells; `spoken` says it in a sentence."""

    days: tuple[Day, ...]
    width: int
    height: int
    spoken: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What central's own grading found of a centre's results."""

    results: int
    checked: int
    under_way: int
    disputed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreRow:
    """A centre in central's table."""

    name: str
    href: str
    state: State
    contact_at: datetime | None
    ago: str
    software: str
    strip: Strip
    records: int
    #: Records that are kept and not done yet.
    waiting: int
    refused: int
    #: Records that came after the centre was revoked.
    kept_apart: int
    audit: Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class CentresPage:
    """admin/centres.html."""

    centres: tuple[CentreRow, ...]
    software: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTests:
    """Sealed tests of a course, and whether their code is out."""

    course: str
    opens_at: datetime | None
    is_out: bool
    problem: Sentence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Where two truths met, and what was decided."""

    what: Sentence
    decision: Sentence
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disputed:
    """A result that central's own grading does not confirm."""

    href: str
    name: str
    attempt: int
    finished_at: datetime | None
    is_held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreView:
    """admin/centre.html."""

    row: CentreRow
    identity: str
    epoch: int
    invited_at: datetime
    joined_at: datetime | None
    is_revoked: bool
    revoked_at: datetime | None
    revoked_reason: str
    applied: int
    submissions: int
    #: What was typed for the audit rate, or the rate.
    percent: str
    codes: tuple[SealedTests, ...]
    #: Number of the record, and why it was not taken over.
    refused: tuple[tuple[int, Sentence | None], ...]
    decided: tuple[Decided, ...]
    disputes: tuple[Disputed, ...]
    errors: Mapping[str, Sentence] = field(default_factory=dict)

    def with_form(self, percent: str, errors: Mapping[str, Sentence]) -> "CentreView":
        """Return the page with what was typed and what was wrong with it."""
        return replace(self, percent=percent, errors=errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenPage:
    """admin/centres_code.html: codes that were given out just now."""

    name: str
    href: str
    course: str
    codes: tuple[tuple[str, datetime], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokePage:
    """admin/centres_revoke.html: asks before a centre is revoked."""

    name: str
    href: str
    submissions: int
    reason: str
    errors: Mapping[str, Sentence]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsPage:
    """admin/centres_runs.html: two runs of the same files."""

    centre: str
    centre_href: str
    name: str
    attempt: int
    submission_href: str
    #: Score and end of the centre's run, and of central's.
    theirs: tuple[float | None, datetime | None]
    ours: tuple[float | None, datetime | None]
    most: float
    is_held: bool
    #: (question, the centre's score, central's, most)
    questions: tuple[tuple[str, float | None, float | None, float], ...]
