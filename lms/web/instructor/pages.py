"""What each page of the instructor's journey draws: one frozen value a template."""

from dataclasses import dataclass
from datetime import datetime

from lms.foundation.bilingual import Bilingual
from lms.protocol.sentences import Sentence
from lms.web.parts import State


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtOffering:
    """One offering that the person looks after."""

    key: str
    course: Bilingual
    term: Bilingual
    students: int
    pending: int
    handed_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachPage:
    """instructor/teach.html."""

    offerings: tuple[TaughtOffering, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterRow:
    """One person in the offering."""

    enrolment_id: int
    name: str
    username: str
    role: Sentence
    state: State
    is_pending: bool
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSummary:
    """How far one assignment's submissions are."""

    title: Bilingual
    href: str
    due: str
    is_released: bool
    handed_in: int
    under_way: int
    graded: int
    for_person: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachOfferingPage:
    """instructor/offering.html."""

    key: str
    course: Bilingual
    term: Bilingual
    students: int
    tasks: tuple[TaskSummary, ...]
    #: Results that wait for a person's decision.
    held: int
    pending: tuple[RosterRow, ...]
    roster: tuple[RosterRow, ...]
    may_decide: bool
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRow:
    """The newest attempt of one person."""

    id: int
    name: str
    username: str
    attempt: int
    submitted_at: datetime
    late: bool
    state: State
    score: float | None
    max_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedPage:
    """instructor/received.html: what came in for one assignment."""

    offering_key: str
    course: Bilingual
    title: Bilingual
    href: str
    due: str
    rows: tuple[ReceivedRow, ...]
    students: int
    may_regrade: bool
    #: Where a correction waits for a decision; empty when none does.
    correction_href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """One held result."""

    run_id: int
    submission_href: str
    name: str
    username: str
    task: Bilingual
    attempt: int
    finished_at: datetime | None
    score: float | None
    max_score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldGroup:
    """Held results with one kind of reason."""

    seal: State
    is_tampered: bool
    reason: Sentence
    rows: tuple[HeldRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPage:
    """instructor/held.html: what waits for a person's decision in one offering."""

    offering_key: str
    course: Bilingual
    practice: bool
    may_decide: bool
    count: int
    groups: tuple[HeldGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedQuestion:
    """One question whose score a correction changes; None where it was not run."""

    grade_id: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRow:
    """One attempt that a correction changes."""

    submission_href: str
    name: str
    username: str
    attempt: int
    before: float | None
    after: float | None
    difference: float
    said: str
    is_held: bool
    questions: tuple[ShiftedQuestion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionPage:
    """instructor/correction.html: who gains or loses by a corrected release."""

    offering_key: str
    course: Bilingual
    title: Bilingual
    task_href: str
    href: str
    #: Changes whenever the page would.
    stamp: str
    state: State
    is_open: bool
    #: (where, what) of each change.
    changes: tuple[tuple[str, Sentence], ...]
    total: int
    #: How many attempts have been graded against it.
    ready: int
    gaining: int
    losing: int
    same: int
    held: int
    #: Attempts that could not be graded against it: they keep their results.
    failing: int
    rows: tuple[CorrectionRow, ...]
    may_decide: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RegradePage:
    """instructor/regrade.html: asks before a submission is graded again."""

    offering_key: str
    submission_id: int
    course: Bilingual
    title: Bilingual
    task_href: str
    name: str
    attempt: int
    score: float | None
    max_score: float | None
    state: State
