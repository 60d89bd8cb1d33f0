"""A course before one is in it: what it teaches, when it runs, and getting in."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Assignment, Course, Offering
from lms.enrolment import service as enrolment
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.foundation.bilingual import Bilingual
from lms.foundation.errors import LmsError
from lms.protocol.sentences import Sentence
from lms.web.access import current_actor, optional_actor, public, signed_in
from lms.web.database import session, transaction
from lms.web.errors import status_of
from lms.web.i18n import gettext
from lms.web.student.pages import CoursePage, OfferingBlock, TaskLine, UnitLine
from lms.web.student.places import ORDER, PLACES, seats_words, way_of
from lms.web.system import now
from lms.web.words import compute_words, language_words, level_word

bp = Blueprint("courses", __name__)

MAX_CODE = 64


@bp.get("/courses/<key>")
@public
def show(key: str) -> ResponseReturnValue:
    """Show a course."""
    page = make_course(session(), catalogue.get_course(session(), key))
    return render_template("student/course.html", page=page)


@bp.post("/offerings/<key>/enrol")
@signed_in
def enrol(key: str) -> ResponseReturnValue:
    """Enrol in an offering; a refusal is shown beside the form, with what was typed."""
    code = request.form.get("code", "")[:MAX_CODE]
    actor = current_actor()
    try:
        with transaction() as database:
            offering = catalogue.get_offering(database, key)
            state = enrolment.enrol(database, offering, actor=actor, now=now(), code=code).state
    except LmsError as error:
        course = catalogue.get_offering(session(), key).course
        page = make_course(session(), course, refused={key: error.sentence}, code=code)
        return render_template("student/course.html", page=page), status_of(error)
    if state == EnrolmentState.PENDING:
        flash(
            gettext("Your request went to the instructor. You see here when it is decided."), "wait"
        )
        return redirect(f"/courses/{offering.course.key}")
    flash(gettext("You are enrolled. Begin with the first unit."), "ok")
    return redirect(f"/offerings/{key}")


@bp.post("/offerings/<key>/withdraw")
@signed_in
def withdraw(key: str) -> ResponseReturnValue:
    """Leave an offering, or take back a request."""
    with transaction() as database:
        offering = catalogue.get_offering(database, key)
        enrolment.withdraw(database, offering, actor=current_actor(), now=now())
        course_key = offering.course.key
    flash(gettext("You have left the course. What you submitted is kept."))
    return redirect(f"/courses/{course_key}")


def make_course(
    database: Session,
    course: Course,
    *,
    refused: Mapping[str, Sentence] | None = None,
    code: str = "",
) -> CoursePage:
    """Return the page of a course; `refused` holds why enrolling just failed, by offering."""
    actor = optional_actor()
    mine: dict[int, Enrolment] = {}
    if actor is not None:
        mine = enrolment.find_enrolments(
            database, actor.person_id, [o.id for o in course.offerings]
        )
    taken = enrolment.count_active(database, [offering.id for offering in course.offerings])
    known = catalogue.list_titles(database, course.prerequisites)
    tasks = catalogue.list_newest_releases(database, course)
    blocks = [
        _block(one, mine.get(one.id), taken.get(one.id, 0), (refused or {}).get(one.key), code)
        for one in reversed(course.offerings)
    ]
    return CoursePage(
        key=course.key,
        code=course.code,
        title=course.title,
        summary=course.summary,
        level=level_word(course.level),
        credits=course.credits,
        contact_hours=course.contact_hours,
        study_hours=course.study_hours,
        languages=language_words(course.languages),
        compute=compute_words(course.compute),
        tags=tuple(course.tags),
        prerequisites=tuple((key, known[key]) for key in course.prerequisites if key in known),
        outcomes=tuple(map(_outcome, course.outcomes)),
        units=tuple(
            UnitLine(number=n, title=unit.title, summary=unit.summary, minutes=unit.minutes)
            for n, unit in enumerate(course.units, 1)
        ),
        tasks=tuple(_task_line(one, tasks.get(one.id)) for one in course.assignments),
        offerings=tuple(sorted(blocks, key=lambda block: ORDER.index(block.way))),
        is_signed_in=actor is not None,
    )


def _outcome(entry: Mapping[str, Any]) -> Bilingual:
    return Bilingual(ko=entry["text"]["ko"], en=entry["text"]["en"])


def _task_line(assignment: Assignment, release: "catalogue.ReleaseFacts | None") -> TaskLine:
    return TaskLine(
        title=assignment.title,
        summary=assignment.summary,
        minutes=assignment.minutes,
        points=release.points if release else None,
        questions=release.questions if release else 0,
    )


def _block(
    offering: Offering,
    mine: Enrolment | None,
    taken: int,
    error: Sentence | None,
    code: str,
) -> OfferingBlock:
    way = way_of(offering, mine, taken, now())
    return OfferingBlock(
        key=offering.key,
        title=offering.title,
        starts_on=offering.starts_on,
        ends_on=offering.ends_on,
        seats=seats_words(offering, taken),
        place=PLACES.get(way),
        way=way,
        code=code if error else "",
        error=error,
    )
