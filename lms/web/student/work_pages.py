"""What each page of taking a course draws: one frozen value a template, no rows, no queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from markupsafe import Markup

from lms.foundation.bilingual import Bilingual
from lms.protocol.sentences import Sentence
from lms.web.dates import TimeLeft
from lms.web.parts import Cell, Cells, State, Step
from lms.web.rendering import Heading


@dataclass(frozen=True, slots=True, kw_only=True)
class PathTask:
    """An assignment on a course's path."""

    title: Bilingual
    href: str
    due: str
    due_at: datetime | None
    state: State
    late: bool
    score: float | None
    max_score: float | None
    cells: Cells | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathUnit:
    """A unit on a course's path, with the assignments that follow it."""

    number: int
    title: Bilingual
    summary: Bilingual
    href: str
    minutes: int
    is_read: bool
    tasks: tuple[PathTask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferingPage:
    """student/offering.html: the course's home for someone who takes part."""

    key: str
    course_key: str
    title: Bilingual
    term: Bilingual
    summary: Bilingual
    starts_on: date
    ends_on: date
    percent: int
    units_read: int
    units_total: int
    tasks_done: int
    tasks_total: int
    units: tuple[PathUnit, ...]
    tasks: tuple[PathTask, ...]
    go_on: tuple[str, str] | None
    may_withdraw: bool
    may_teach: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPage:
    """student/unit.html: a unit to read."""

    offering_key: str
    course: Bilingual
    number: int
    total: int
    title: Bilingual
    summary: Bilingual
    content: Markup
    href: str
    outline: tuple[Heading, ...]
    minutes: int
    #: Both languages are shown.
    both: bool
    has_other_language: bool
    is_notebook: bool
    before: tuple[str, str] | None
    after: tuple[str, str] | None
    tasks: tuple[tuple[str, Bilingual], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt in a list."""

    number: int
    href: str
    submitted_at: datetime
    late: bool
    state: State
    score: float | None
    max_score: float | None
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """student/task.html: an assignment to do."""

    offering_key: str
    course: Bilingual
    title: Bilingual
    summary: Bilingual
    href: str
    due_at: datetime | None
    due: str
    left: TimeLeft | None
    is_overdue: bool
    is_released: bool
    #: First digits of the release's digest.
    release: str
    points: float
    manual_points: float
    minutes: int
    cell_seconds: int
    memory_bytes: int
    notebooks: tuple[str, ...]
    cells: Cells
    attempts: tuple[AttemptRow, ...]
    may_submit: bool
    #: The offering itself has ended.
    is_over: bool
    upload_limit: int
    #: Why the notebook cannot be opened now; None when nobody has tried in vain.
    hub_trouble: Sentence | None
    errors: Mapping[str, Sentence]


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldBlock:
    """A held result and what the reader may do about it."""

    #: Why it is held; None for its student.
    reason: Sentence | None
    #: What its student is told, while it is held and after a person's decision.
    told: Sentence | None
    is_held: bool
    #: The verdict of a person who decided, and when; empty before.
    decided: State | None
    decided_at: datetime | None
    decided_by: str
    #: Where to decide; empty for who may not.
    href: str
    run_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """One question of a result."""

    cell: Cell
    grade_id: str
    spoken: str
    score: float | None
    max_score: float
    how: State
    comment: str | None
    #: Why its score is not verified; for staff.
    doubt: Sentence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookBlock:
    """What a run found in one notebook."""

    name: str
    state: State
    reason: Sentence | None
    questions: tuple[QuestionRow, ...]
    score: float
    max_score: float
    feedback_href: str | None
    #: Why it is not verified, and names and values about how it ended; for staff.
    doubt: Sentence | None
    detail: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusBlock:
    """Where a submission stands; `stamp` changes whenever the page would."""

    href: str
    page_href: str
    stamp: str
    state: State
    under_way: bool
    hint: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBlock:
    """What a student can keep."""

    attempt: int
    submitted_at: datetime
    files: tuple[tuple[str, int], ...]
    total_bytes: int
    digest: str
    release: str
    late: bool
    via: Sentence
    href: str
    files_href: str
    #: Where the signed record of the grade is; empty until there is one to see.
    grade_href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionPage:
    """student/submission.html: one attempt, its score and feedback."""

    id: int
    offering_key: str
    course: Bilingual
    task_href: str
    title: Bilingual
    #: The owner's name when somebody else looks; empty for the owner.
    student: str
    is_own: bool
    may_regrade: bool
    attempt: int
    attempts: tuple[AttemptRow, ...]
    status: StatusBlock
    receipt: ReceiptBlock
    score: float | None
    max_score: float | None
    points: float
    cells: Cells
    seal: State | None
    is_unverified: bool
    reason: Sentence | None
    due: str
    due_at: datetime | None
    notebooks: tuple[NotebookBlock, ...]
    waits_for_person: bool
    #: The run ended without a grade.
    is_failed: bool
    #: It ran without a sandbox.
    is_unsafe: bool
    #: None for a result that never waited for a person.
    hold: HoldBlock | None
    #: Score, questions and feedback are kept back from this reader.
    is_hidden: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeRow:
    """One assignment in the grades."""

    title: Bilingual
    href: str
    due: str
    state: State
    late: bool
    score: float | None
    points: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeBlock:
    """One course in the grades."""

    course: Bilingual
    term: Bilingual
    href: str
    rows: tuple[GradeRow, ...]
    score: float
    points: float
    #: How many assignments have a score.
    marked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GradesPage:
    """student/grades.html."""

    blocks: tuple[GradeBlock, ...]
