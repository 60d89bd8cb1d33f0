"""A small school with something in every state, for page tests and for looking at pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, Course, OfferedAssignment, Offering, Release, Unit
from lms.enrolment.models import UnitVisit
from lms.enrolment.rules import EnrolmentState
from lms.exchange.models import Submission
from lms.foundation.bilingual import Bilingual
from lms.foundation.blobs import BlobStore, digest_of
from lms.grading.models import CellScore, NotebookRun, Run
from lms.identity.models import Person
from lms.identity.passwords import hash_password
from lms.identity.scopes import Role
from lms.protocol.grading import Integrity, RunStatus
from lms.protocol.sentences import sentence
from tests.factories import (
    make_course,
    make_enrolment,
    make_offering,
    make_person,
    make_programme,
    make_run,
    make_submission,
)
from tests.factories.content import code_cell, markdown_cell, notebook_bytes, stream

UNITS = Path(__file__).parents[2] / "courses" / "python-for-ai" / "units"
PASSWORD = "a quiet village school"

FEEDBACK = (
    b"<!doctype html><meta charset=utf-8><title>letters</title><h1>letters</h1>"
    b"<p>count_words: expected 3, got 2</p><script>parent.alert(1)</script>"
)

#: (grade_id, points, by a person)
Question = tuple[str, float, bool]
LETTERS: tuple[Question, ...] = (
    ("normalise", 3, False), ("count_words", 4, False), ("caesar", 4, False),
    ("crack", 3, False), ("essay", 6, True),
)  # fmt: skip
ARRAYS: tuple[Question, ...] = (
    ("standardize", 4, False), ("pairwise", 4, False), ("moving_mean", 4, False),
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class School:
    """What the tests name."""

    minseo: Person
    teacher: Person
    admin: Person
    newcomer: Person
    course: Course
    offering: Offering
    letters: OfferedAssignment
    arrays: OfferedAssignment
    by_code: Offering
    by_approval: Offering
    full: Offering
    closed: Offering
    #: The first attempt, which ran out of time, and the second, which waits for a person.
    timed_out: Submission
    submission: Submission


def make_school(session: Session, blobs: BlobStore, now: datetime) -> School:
    """Fill the database; deadlines lie around `now`, and everybody's password is PASSWORD."""
    password_hash = hash_password(PASSWORD)

    def person(username: str, display_name: str, locale: str = "ko", **fields: object) -> Person:
        return make_person(
            session, username, display_name=display_name, locale=locale,
            password_hash=password_hash, **fields,
        )  # fmt: skip

    minseo, teacher = person("minseo", "김민서"), person("jihoon", "박지훈")
    admin = person("keeper", "Mary Keeper", "en", is_admin=True)
    newcomer = person("anna", "Anna Berg", "en")
    today = now.date()
    course = _python(session, blobs)
    offering = make_offering(
        session, course, starts_on=today - timedelta(20), ends_on=today + timedelta(90),
        capacity=200,
    )  # fmt: skip
    letters = _offer(session, offering, course.assignments[0], LETTERS, now + timedelta(hours=6.2))
    arrays = _offer(session, offering, course.assignments[1], ARRAYS, now + timedelta(days=4.4))
    others = _other_courses(session, blobs, today)
    make_enrolment(session, minseo, offering)
    make_enrolment(session, teacher, offering, Role.INSTRUCTOR)
    make_enrolment(session, minseo, others["approval"], state=EnrolmentState.PENDING)
    make_enrolment(session, newcomer, offering, state=EnrolmentState.PENDING)
    make_enrolment(session, teacher, others["full"])
    for unit in course.units[:2]:
        session.add(
            UnitVisit(
                person_id=minseo.id,
                offering_id=offering.id,
                unit_id=unit.id,
                first_opened_at=now,
            )
        )
    timed_out, submission = _results(session, blobs, letters, minseo, now)
    session.commit()
    return School(
        minseo=minseo, teacher=teacher, admin=admin, newcomer=newcomer, course=course,
        offering=offering, letters=letters, arrays=arrays, by_code=others["code"],
        by_approval=others["approval"], full=others["full"], closed=others["closed"],
        timed_out=timed_out, submission=submission,
    )  # fmt: skip


def add_unit(
    session: Session, blobs: BlobStore, course: Course, title: Bilingual, content: bytes, file: str
) -> Unit:
    """Add the course's next unit."""
    unit = Unit(
        course_id=course.id,
        key=Path(file).stem,
        position=len(course.units),
        title=title,
        summary=Bilingual(ko="한 걸음씩 해 봅니다.", en="One step at a time."),
        minutes=90,
        file=file,
        digest=blobs.put(content),
    )
    course.units.append(unit)
    session.flush()
    return unit


def add_run(
    session: Session,
    submission: Submission,
    status: RunStatus,
    scores: Sequence[tuple[Question, float | None]],
    **fields: object,
) -> Run:
    """Add a finished run with a score a question; `fields` may hold number, reason, feedback."""
    reason, feedback = fields.get("reason"), fields.get("feedback")
    run = make_run(
        session, submission, status, number=fields.get("number", 1),
        score=sum(score or 0 for _, score in scores),
        max_score=sum(points for (_, points, _), _ in scores),
        integrity=Integrity.UNVERIFIED, reason=reason,
        started_at=submission.submitted_at + timedelta(seconds=1),
        finished_at=submission.submitted_at + timedelta(seconds=5.2),
    )  # fmt: skip
    cells = [
        CellScore(grade_id=grade_id, auto_score=score, max_score=points, needs_manual=manual)
        for (grade_id, points, manual), score in scores
    ]
    run.notebooks.append(
        NotebookRun(
            notebook="letters", status=status, integrity=Integrity.UNVERIFIED, score=run.score,
            max_score=run.max_score, reason=reason, feedback=feedback, cells=cells,
        )
    )  # fmt: skip
    session.flush()
    return run


def _python(session: Session, blobs: BlobStore) -> Course:
    course = make_course(
        session, "python-for-ai", code="AIF101", level="foundation",
        title=Bilingual(ko="파이썬으로 시작하는 AI", en="Python for AI"),
        tags=["python", "numpy", "unicode", "reproducibility"],
        summary=Bilingual(
            ko="프로그래밍을 처음 배우는 사람이 데이터를 다루는 짧고 정확한 프로그램을 쓰고, "
            "시험하고, 그림으로 설명하게 합니다.",
            en="First programming: write, test and explain with a picture short correct "
            "programs that handle data. Hangul and Unicode from the first week on.",
        ),
        outcomes=[
            {"id": "O1", "tested_by": ["letters.Q1"],
             "text": {"ko": "함수를 성질로 시험한다", "en": "Test a function by its properties"}},
            {"id": "O2", "tested_by": ["arrays.Q1"],
             "text": {"ko": "반복문을 배열로 바꾼다", "en": "Turn a loop into array operations"}},
        ],
    )  # fmt: skip
    titles = (
        ("values-and-names", "값과 이름", "Values and names"),
        ("functions-and-flow", "함수와 흐름", "Functions and flow"),
        ("structures", "자료구조와 비용", "Structures and cost"),
        ("arrays", "넘파이: 모양이 결정합니다", "NumPy: shapes decide"),
        ("reproduce-and-plot", "재현과 그림", "Reproduce and plot"),
    )
    for key, ko, en in titles:
        title = Bilingual(ko=ko, en=en)
        add_unit(session, blobs, course, title, _notebook(key), f"{key}.ipynb")
    _assignment(session, course, "letters", "글자 탐정", "Letter detective", "structures")
    _assignment(session, course, "arrays", "배열로 생각하기", "Thinking in arrays", "arrays")
    return course


def _assignment(
    session: Session, course: Course, key: str, ko: str, en: str, unit_key: str
) -> None:
    course.assignments.append(
        Assignment(
            key=key, position=len(course.assignments), title=Bilingual(ko=ko, en=en),
            summary=Bilingual(ko="글을 다듬고, 세고, 풀어요.", en="Count and crack text."),
            unit_key=unit_key, minutes=180, limits={},
        )
    )  # fmt: skip
    session.flush()


def _offer(
    session: Session,
    offering: Offering,
    assignment: Assignment,
    questions: Sequence[Question],
    due_at: datetime,
) -> OfferedAssignment:
    release = Release(
        number=1,
        digest=digest_of(assignment.key.encode()),
        published_at=due_at - timedelta(days=20),
        points=sum(points for _, points, _ in questions),
        manual_points=sum(points for _, points, manual in questions if manual),
        notebooks=[
            {
                "name": assignment.key,
                "questions": [
                    {"grade_id": grade_id, "points": points, "manual": manual}
                    for grade_id, points, manual in questions
                ],
            }
        ],
    )
    assignment.releases.append(release)
    session.flush()
    task = OfferedAssignment(
        offering_id=offering.id, assignment_id=assignment.id, due_at=due_at, release_id=release.id
    )
    session.add(task)
    session.flush()
    return task


def _notebook(key: str) -> bytes:
    """Return the real unit where the course folder has it, else a small one."""
    for file in sorted(UNITS.glob("*.ipynb")):
        if key in file.stem:
            return file.read_bytes()
    return notebook_bytes(
        markdown_cell("# Title"),
        markdown_cell("이름은 값에 붙인 이름표예요. $e : N \\to O$", "ko"),
        markdown_cell("---\n\nA name is a label on a value. $e : N \\to O$", "en"),
        code_cell("a = [1, 2]\nprint(a)", stream("[1, 2]\n")),
    )


def _other_courses(session: Session, blobs: BlobStore, today: date) -> dict[str, Offering]:
    rows: tuple[tuple[str, str, str, str, list[str], str, dict[str, object] | None], ...] = (
        ("approval", "maths-for-ai", "AI를 위한 수학", "Mathematics for AI",
         ["python-for-ai"], "foundation", {"enrolment": "approval"}),
        ("code", "statistics", "확률과 통계", "Probability and Statistics",
         ["python-for-ai"], "foundation", {"enrolment": "code", "code": "honest coin"}),
        ("full", "ml-from-scratch", "밑바닥부터 만드는 기계학습", "Machine Learning from Scratch",
         ["maths-for-ai", "statistics"], "bachelor", {"capacity": 1}),
        ("closed", "ai-and-law", "AI와 사회·법", "AI, Society and Law",
         [], "foundation", {"ends_on": today - timedelta(10)}),
        ("", "deep-learning", "딥러닝", "Deep Learning", ["ml-from-scratch"], "bachelor", None),
    )  # fmt: skip
    offerings: dict[str, Offering] = {}
    for number, (kind, key, ko, en, before, level, values) in enumerate(rows, 102):
        course = make_course(
            session, key, code=f"AIF{number}", title=Bilingual(ko=ko, en=en),
            prerequisites=before, level=level,
        )  # fmt: skip
        first = Bilingual(ko="첫 단원", en="First unit")
        add_unit(session, blobs, course, first, "## 시작\n\n글이에요.\n".encode(), "first.md")
        if values is not None:
            dates = {"starts_on": today - timedelta(30), "ends_on": today + timedelta(80)}
            offerings[kind] = make_offering(session, course, **(dates | values))
    programme = make_programme(
        session, "ai-foundations",
        ["python-for-ai", "maths-for-ai", "statistics", "ml-from-scratch"],
    )  # fmt: skip
    programme.path = [
        ["python-for-ai", "ai-and-law"],
        ["maths-for-ai", "statistics"],
        ["ml-from-scratch"],
        ["deep-learning"],
    ]
    programme.summary = Bilingual(
        ko="수식과 코드를 한 노트북에서 배워요. 네 학기 동안 여섯 과목이에요.",
        en="Formulas and code in one notebook: six courses in four terms.",
    )
    programme.credits = 18
    return offerings


def _results(
    session: Session, blobs: BlobStore, task: OfferedAssignment, person: Person, now: datetime
) -> tuple[Submission, Submission]:
    first = _attempt(session, blobs, task, person, 1, now - timedelta(days=2))
    reason = sentence(
        "“%(notebook)s” ran longer than %(seconds)s seconds. Look for a loop that never ends.",
        notebook="letters", seconds=30,
    )  # fmt: skip
    add_run(
        session, first, RunStatus.TIMED_OUT, list(zip(LETTERS, (3, None, None, None, None),
        strict=True)), reason=reason.to_json(),
    )  # fmt: skip
    second = _attempt(session, blobs, task, person, 2, now - timedelta(hours=3))
    add_run(
        session, second, RunStatus.NEEDS_MANUAL,
        list(zip(LETTERS, (3, 4, 2.5, 0, 0), strict=True)), feedback=blobs.put(FEEDBACK),
    )  # fmt: skip
    return first, second


def _attempt(
    session: Session,
    blobs: BlobStore,
    task: OfferedAssignment,
    person: Person,
    attempt: int,
    at: datetime,
) -> Submission:
    submission = make_submission(session, task, person, attempt=attempt)
    content = notebook_bytes(code_cell(f"attempt = {attempt}"))
    submission.submitted_at = at
    submission.files = [
        {"path": "letters.ipynb", "digest": blobs.put(content), "bytes": len(content)}
    ]
    session.flush()
    return submission
