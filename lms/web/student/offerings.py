"""A course's home for those who take part: units, assignments, deadlines, own progress."""

from collections.abc import Mapping
from datetime import datetime

from flask import Blueprint, flash, redirect, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import OfferedAssignment, Offering, Unit
from lms.enrolment import service as enrolment
from lms.exchange import service as exchange
from lms.gradebook.service import Standing, standings
from lms.identity.scopes import Actor
from lms.web.access import current_actor, signed_in
from lms.web.database import session
from lms.web.dates import due_phrase
from lms.web.i18n import gettext
from lms.web.parts import cells_for_student, is_under_way, state_of_standing
from lms.web.student.progress import percent
from lms.web.student.tasks import task_href
from lms.web.student.work_pages import OfferingPage, PathTask, PathUnit
from lms.web.system import now

bp = Blueprint("offerings", __name__)


@bp.get("/offerings/<key>")
@signed_in
def show(key: str) -> ResponseReturnValue:
    """Show the course's home; who is not in the course sees how to get in."""
    actor, offering = current_actor(), catalogue.get_offering(session(), key)
    if not actor.may("course:read", offering.id):
        return turn_away(offering)
    return render_template("student/offering.html", page=make_offering(session(), offering, actor))


def turn_away(offering: Offering) -> ResponseReturnValue:
    """Lead somebody who is not in the course to where one enrols."""
    flash(gettext("This is open to people in the course. Here is how to enrol."), "wait")
    return redirect(f"/courses/{offering.course.key}")


def make_offering(database: Session, offering: Offering, actor: Actor) -> OfferingPage:
    """Return the course's home for `actor`."""
    units = offering.course.units
    read = enrolment.list_visits(database, actor.person_id, [offering.id]).get(
        offering.id, frozenset()
    )
    standing = standings(database, actor.person_id, [offering.id])
    tasks = sorted(offering.tasks, key=lambda task: task.assignment.position)
    handed_in = exchange.count_submitted(database, actor.person_id).get(offering.id, 0)
    units_read = sum(unit.id in read for unit in units)
    drawn = {task.id: _path_task(task, standing.get(task.id), now()) for task in tasks}
    keys = {unit.key for unit in units}
    return OfferingPage(
        key=offering.key,
        course_key=offering.course.key,
        title=offering.course.title,
        term=offering.title,
        summary=offering.course.summary,
        starts_on=offering.starts_on,
        ends_on=offering.ends_on,
        percent=percent(units_read + handed_in, len(units) + len(tasks)),
        units_read=units_read,
        units_total=len(units),
        tasks_done=handed_in,
        tasks_total=len(tasks),
        units=tuple(
            _path_unit(offering, unit, number, unit.id in read, tasks, drawn)
            for number, unit in enumerate(units, 1)
        ),
        tasks=tuple(drawn[task.id] for task in tasks if task.assignment.unit_key not in keys),
        go_on=_go_on(offering, read),
        may_withdraw=actor.roles.get(offering.id) == "student",
        may_teach=actor.may("roster:read", offering.id),
    )


def _path_unit(
    offering: Offering,
    unit: Unit,
    number: int,
    is_read: bool,  # noqa: FBT001 - a fact of the row, not a switch
    tasks: list[OfferedAssignment],
    drawn: Mapping[int, PathTask],
) -> PathUnit:
    return PathUnit(
        number=number,
        title=unit.title,
        summary=unit.summary,
        href=f"/offerings/{offering.key}/units/{unit.key}",
        minutes=unit.minutes,
        is_read=is_read,
        tasks=tuple(drawn[task.id] for task in tasks if task.assignment.unit_key == unit.key),
    )


def _path_task(task: OfferedAssignment, standing: Standing | None, at: datetime) -> PathTask:
    run = standing.run if standing else None
    has_cells = run is not None and standing is not None and not is_under_way(standing.status)
    return PathTask(
        title=task.assignment.title,
        href=task_href(task),
        due=due_phrase(task.due_at, at) if task.release else gettext("Not released yet"),
        due_at=task.due_at,
        state=state_of_standing(standing),
        late=standing is not None and standing.submission.late,
        score=standing.score if standing else None,
        max_score=standing.max_score if standing else None,
        cells=cells_for_student(run) if run is not None and has_cells and run.notebooks else None,
    )


def _go_on(offering: Offering, read: frozenset[int]) -> tuple[str, str] | None:
    for number, unit in enumerate(offering.course.units, 1):
        if unit.id not in read:
            words = (
                gettext("Begin with unit 1")
                if number == 1
                else gettext("Go on with unit %(n)s", n=number)
            )
            return words, f"/offerings/{offering.key}/units/{unit.key}"
    return None
