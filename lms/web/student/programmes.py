"""A programme: its path as a drawn map, and the table that says the same."""

from collections.abc import Mapping, Sequence

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Course, Programme
from lms.enrolment.rules import is_closed
from lms.protocol.sentences import sentence
from lms.web.access import optional_actor, public
from lms.web.curriculum import CourseStatus, Drawing, MapCourse, draw_map
from lms.web.database import session
from lms.web.i18n import gettext, say
from lms.web.parts import State
from lms.web.student.pages import ProgrammeCourse, ProgrammePage
from lms.web.student.progress import CourseProgress, course_progress
from lms.web.system import now
from lms.web.words import kind_word

bp = Blueprint("programmes", __name__)

_STATES: Mapping[CourseStatus, State] = {
    "done": State("check", "ok", sentence("Done")),
    "now": State("book", "live", sentence("Taking it now")),
    "open": State("go", "", sentence("Open to you")),
    "shut": State("lock", "", sentence("Not yet")),
}


@bp.get("/programmes/<key>")
@public
def show(key: str) -> ResponseReturnValue:
    """Show a programme."""
    page = make_programme(session(), catalogue.get_programme(session(), key))
    return render_template("student/programme.html", page=page)


def make_programme(database: Session, programme: Programme) -> ProgrammePage:
    """Return the page of a programme, with the person's own progress if known."""
    actor = optional_actor()
    courses = {course.key: course for course in catalogue.list_courses(database)}
    progress = {} if actor is None else course_progress(database, actor.person_id)
    terms = [[courses[key] for key in term if key in courses] for term in programme.path]
    statuses = _statuses(terms, progress)
    rows = [
        _row(course, number, programme, statuses[course.key], courses)
        for number, term in enumerate(terms, 1)
        for course in term
    ]
    shown = [course for term in terms for course in term]
    return ProgrammePage(
        title=programme.title,
        summary=programme.summary,
        kind=kind_word(programme.kind),
        credits=programme.credits,
        credits_done=sum(c.credits for c in shown if statuses[c.key] == "done"),
        courses_now=sum(statuses[c.key] == "now" for c in shown),
        terms=len(terms),
        is_known=actor is not None,
        wide=_draw(terms, statuses, progress, courses, downwards=False),
        narrow=_draw(terms, statuses, progress, courses, downwards=True),
        courses=tuple(rows),
        next_step=_next_step(shown, statuses, progress),
    )


def _statuses(
    terms: Sequence[Sequence[Course]], progress: Mapping[str, CourseProgress]
) -> dict[str, CourseStatus]:
    done = {key for key, one in progress.items() if one.is_done}

    def status(course: Course) -> CourseStatus:
        if course.key in done:
            return "done"
        if course.key in progress:
            return "now"
        runs = any(not is_closed(offering.ends_on, now()) for offering in course.offerings)
        return "open" if runs and done.issuperset(course.prerequisites) else "shut"

    return {course.key: status(course) for term in terms for course in term}


def _meta(
    course: Course,
    status: CourseStatus,
    progress: Mapping[str, CourseProgress],
    courses: Mapping[str, Course],
) -> str:
    if status == "done":
        return gettext("Done")
    if status == "now":
        return gettext("Now, %(n)s%%", n=progress[course.key].percent)
    if status == "open":
        return gettext("Open to you")
    missing = next((key for key in course.prerequisites if key in courses), None)
    if missing is None:
        return gettext("Not running now")
    return gettext("After %(course)s", course=say(courses[missing].title))


def _draw(
    terms: Sequence[Sequence[Course]],
    statuses: Mapping[str, CourseStatus],
    progress: Mapping[str, CourseProgress],
    courses: Mapping[str, Course],
    *,
    downwards: bool,
) -> Drawing:
    boxes = [
        [
            MapCourse(
                key=course.key,
                title=say(course.title),
                meta=_meta(course, statuses[course.key], progress, courses),
                status=statuses[course.key],
                credits=course.credits,
                percent=progress[course.key].percent if course.key in progress else 0,
                after=tuple(course.prerequisites),
            )
            for course in term
        ]
        for term in terms
    ]
    return draw_map(
        boxes,
        label=gettext("Curriculum map. The table below holds the same facts."),
        term_names=[gettext("Term %(n)s", n=number) for number in range(1, len(terms) + 1)],
        downwards=downwards,
    )


def _row(
    course: Course,
    term: int,
    programme: Programme,
    status: CourseStatus,
    courses: Mapping[str, Course],
) -> ProgrammeCourse:
    return ProgrammeCourse(
        key=course.key,
        title=course.title,
        term=term,
        credits=course.credits,
        prerequisites=tuple(courses[key].title for key in course.prerequisites if key in courses),
        is_required=course.key in programme.required,
        state=_STATES[status],
    )


def _next_step(
    courses: Sequence[Course],
    statuses: Mapping[str, CourseStatus],
    progress: Mapping[str, CourseProgress],
) -> tuple[str, str] | None:
    """Return (words, address) of what to do next: go on, else begin."""
    for course in courses:
        if statuses[course.key] == "now":
            title = say(course.title)
            return gettext("Go on with %(course)s", course=title), progress[course.key].href
    for course in courses:
        if statuses[course.key] == "open":
            return gettext("Look at %(course)s", course=say(course.title)), f"/courses/{course.key}"
    return None
