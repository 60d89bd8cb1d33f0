"""The home page: what needs the person now, what comes next, how far they are."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment
from lms.enrolment.rules import EnrolmentState
from lms.gradebook.service import Standing, standings
from lms.identity.models import Person
from lms.protocol.grading import RunStatus
from lms.web.access import optional_person, public
from lms.web.chrome import given_name
from lms.web.database import session
from lms.web.dates import due_phrase, here, time_left
from lms.web.i18n import gettext, say
from lms.web.parts import blank_cells, is_under_way, state_of_standing
from lms.web.student.catalogue import make_front
from lms.web.student.pages import HomePage, MyCourse, NewResult, NowBlock, TodoRow, WeekDay
from lms.web.student.progress import CourseProgress, list_progress
from lms.web.student.tasks import question_count, task_href
from lms.web.system import now

bp = Blueprint("home", __name__)

#: What is due within this time needs the person now.
PRESSING = timedelta(days=7)
#: How long a result counts as new.
NEWS = timedelta(days=14)
MAX_NEWS = 4
MAX_TODO = 6
_BROKEN = frozenset(
    {RunStatus.TIMED_OUT, RunStatus.OUT_OF_MEMORY, RunStatus.CRASHED, RunStatus.REJECTED}
)


@bp.get("/")
@public
def show() -> ResponseReturnValue:
    """Show a person what to do now, and a visitor what there is."""
    person = optional_person()
    if person is None:
        return render_template("student/front.html", page=make_front(session()))
    return render_template("student/home.html", page=make_home(session(), person, now()))


def make_home(database: Session, person: Person, at: datetime) -> HomePage:
    """Return the home page of `person`."""
    courses = list_progress(database, person.id)
    active = [one for one in courses if one.enrolment.state == EnrolmentState.ACTIVE]
    standing = standings(database, person.id, [one.offering.id for one in active])
    tasks = [task for one in active for task in one.offering.tasks]
    todo = _todo(tasks, standing, at)
    return HomePage(
        name=given_name(person.display_name),
        today=here(at).date(),
        pressing=sum(task.due_at is not None and task.due_at - at <= PRESSING for task in todo),
        now=_now_block(todo[0], standing, at) if todo else None,
        week=_week(tasks, at),
        todo=tuple(_row(task, standing.get(task.id)) for task in todo[1 : 1 + MAX_TODO]),
        courses=tuple(map(_my_course, courses)),
        results=_news(tasks, standing, at),
    )


def _todo(
    tasks: Iterable[OfferedAssignment], standing: Mapping[int, Standing], at: datetime
) -> list[OfferedAssignment]:
    """Return what is released, not over, and not yet handed in or broken; the nearest first."""
    far = datetime.max.replace(tzinfo=at.tzinfo)
    waiting = [
        task
        for task in tasks
        if task.release is not None
        and (task.due_at is None or task.due_at > at)
        and (task.id not in standing or standing[task.id].status in _BROKEN)
    ]
    return sorted(waiting, key=lambda task: (task.due_at or far, task.assignment.position))


def _row(task: OfferedAssignment, standing: Standing | None) -> TodoRow:
    return TodoRow(
        title=task.assignment.title,
        course=task.offering.course.title,
        href=task_href(task),
        due_at=task.due_at,
        points=task.release.points if task.release else None,
        questions=question_count(task.release),
        minutes=task.assignment.minutes,
        state=state_of_standing(standing),
    )


def _now_block(task: OfferedAssignment, standing: Mapping[int, Standing], at: datetime) -> NowBlock:
    return NowBlock(
        task=_row(task, standing.get(task.id)),
        due=due_phrase(task.due_at, at),
        left=time_left(task.due_at, at) if task.due_at else None,
        cells=blank_cells(question_count(task.release)),
        open_href=f"{task_href(task)}/open",
    )


def _week(tasks: Sequence[OfferedAssignment], at: datetime) -> tuple[WeekDay, ...]:
    """Return Monday to Sunday around `at`; empty when nothing is due in it."""
    today = here(at).date()
    monday = today - timedelta(days=today.weekday())
    dues: dict[date, list[OfferedAssignment]] = {}
    for task in tasks:
        if task.due_at is not None:
            dues.setdefault(here(task.due_at).date(), []).append(task)
    days = [monday + timedelta(days=number) for number in range(7)]
    if not any(day in dues for day in days):
        return ()
    return tuple(
        WeekDay(
            on=day,
            is_today=day == today,
            dues=tuple(
                (task.assignment.title, task.due_at)
                for task in dues.get(day, [])
                if task.due_at is not None
            ),
        )
        for day in days
    )


def _my_course(one: CourseProgress) -> MyCourse:
    pending = one.enrolment.state == EnrolmentState.PENDING
    hint, go_on = _next(one)
    return MyCourse(
        title=one.offering.course.title,
        term=one.offering.title,
        href=f"/courses/{one.offering.course.key}" if pending else one.href,
        percent=one.percent,
        hint=gettext("Waiting for the instructor's approval") if pending else hint,
        go_on=None if pending else go_on,
        pending=pending,
    )


def _next(one: CourseProgress) -> tuple[str, tuple[str, str] | None]:
    """Return a hint where the person is, and (words, address) of how to go on."""
    following = one.next_unit
    if following is None:
        left = len(one.offering.tasks) - one.tasks_done
        if left > 0:
            return gettext("All units read; assignments are left"), (
                gettext("To the course"),
                one.href,
            )
        return gettext("All units read, everything handed in"), None
    number, unit = following
    href = f"{one.href}/units/{unit.key}"
    hint = gettext("Next: unit %(n)s, %(title)s", n=number, title=say(unit.title))
    return hint, (gettext("Begin") if number == 1 else gettext("Resume"), href)


def _news(
    tasks: Iterable[OfferedAssignment], standing: Mapping[int, Standing], at: datetime
) -> tuple[NewResult, ...]:
    news = []
    for task in tasks:
        one = standing.get(task.id)
        if one is None or one.run is None or is_under_way(one.status) or not one.run.finished_at:
            continue
        if at - one.run.finished_at <= NEWS:
            news.append(
                NewResult(
                    title=task.assignment.title,
                    course=task.offering.course.title,
                    href=f"/submissions/{one.submission.id}",
                    state=state_of_standing(one),
                    score=one.score,
                    max_score=one.max_score,
                    finished_at=one.run.finished_at,
                )
            )
    return tuple(sorted(news, key=lambda item: item.finished_at, reverse=True)[:MAX_NEWS])
