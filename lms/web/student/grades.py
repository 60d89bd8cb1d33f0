"""All results of a person, course by course."""

from datetime import datetime

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from lms.catalogue.models import OfferedAssignment, Offering
from lms.enrolment.rules import EnrolmentState
from lms.gradebook.service import Standing, standings
from lms.web.access import current_actor, signed_in
from lms.web.database import session
from lms.web.dates import due_phrase
from lms.web.parts import state_of_standing
from lms.web.student.progress import list_progress
from lms.web.student.tasks import task_href
from lms.web.student.work_pages import GradeBlock, GradeRow, GradesPage
from lms.web.system import now

bp = Blueprint("grades", __name__)


@bp.get("/grades")
@signed_in
def show() -> ResponseReturnValue:
    """Show the person's results."""
    page = make_grades(session(), current_actor().person_id)
    return render_template("student/grades.html", page=page)


def make_grades(database: Session, person_id: int) -> GradesPage:
    """Return the grades page of a person."""
    offerings = [
        one.offering
        for one in list_progress(database, person_id)
        if one.enrolment.state == EnrolmentState.ACTIVE
    ]
    results = standings(database, person_id, [offering.id for offering in offerings])
    return GradesPage(
        blocks=tuple(_block(offering, results, now()) for offering in offerings if offering.tasks)
    )


def _block(offering: Offering, results: dict[int, Standing], at: datetime) -> GradeBlock:
    tasks = sorted(offering.tasks, key=lambda task: task.assignment.position)
    rows = tuple(_row(task, results.get(task.id), at) for task in tasks)
    return GradeBlock(
        course=offering.course.title,
        term=offering.title,
        href=f"/offerings/{offering.key}",
        rows=rows,
        score=sum(row.score or 0 for row in rows),
        points=sum(row.points for row in rows),
        marked=sum(row.score is not None for row in rows),
    )


def _row(task: OfferedAssignment, result: Standing | None, at: datetime) -> GradeRow:
    return GradeRow(
        title=task.assignment.title,
        href=f"/submissions/{result.submission.id}" if result else task_href(task),
        due=due_phrase(task.due_at, at),
        state=state_of_standing(result),
        late=result is not None and result.submission.late,
        score=result.score if result else None,
        points=task.release.points if task.release else 0,
    )
