"""A unit to read: notebook or Markdown, rendered in the page."""

from io import BytesIO

from flask import Blueprint, render_template, request, send_file
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from lms.catalogue import service as catalogue
from lms.catalogue.models import Offering, Unit
from lms.enrolment import service as enrolment
from lms.web.access import current_actor, signed_in
from lms.web.database import session, transaction
from lms.web.i18n import current_locale
from lms.web.rendering import render_unit
from lms.web.student.offerings import turn_away
from lms.web.student.tasks import task_href
from lms.web.student.work_pages import UnitPage
from lms.web.system import blobs, now

bp = Blueprint("units", __name__)


@bp.get("/offerings/<offering_key>/units/<unit_key>")
@signed_in
def show(offering_key: str, unit_key: str) -> ResponseReturnValue:
    """Show a unit and note that it was opened."""
    actor, offering = current_actor(), catalogue.get_offering(session(), offering_key)
    if not actor.may("course:read", offering.id):
        return turn_away(offering)
    unit = catalogue.get_unit(session(), offering.course_id, unit_key)
    page = make_unit(offering, unit, both=request.args.get("both") == "1")
    if offering.id in actor.roles:
        _note_visit(actor.person_id, offering.id, unit.id)
    return render_template("student/unit.html", page=page)


@bp.get("/offerings/<offering_key>/units/<unit_key>/file")
@signed_in
def download(offering_key: str, unit_key: str) -> ResponseReturnValue:
    """Send the unit's file as it is."""
    offering = catalogue.get_offering(session(), offering_key)
    current_actor().require("course:read", offering.id)
    unit = catalogue.get_unit(session(), offering.course_id, unit_key)
    return send_file(
        BytesIO(blobs().get(unit.digest)),
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=_file_name(unit),
    )


def make_unit(offering: Offering, unit: Unit, *, both: bool) -> UnitPage:
    """Return the page of a unit; `both` shows a bilingual notebook in both languages."""
    locale = current_locale()
    reading = render_unit(unit.file, blobs().get(unit.digest), None if both else locale)
    units = offering.course.units
    place = next(i for i, one in enumerate(units) if one.id == unit.id)
    base = f"/offerings/{offering.key}/units"

    def neighbour(index: int) -> tuple[str, str] | None:
        if not 0 <= index < len(units):
            return None
        return f"{base}/{units[index].key}", units[index].title[locale]

    return UnitPage(
        offering_key=offering.key,
        course=offering.course.title,
        number=place + 1,
        total=len(units),
        title=unit.title,
        summary=unit.summary,
        content=reading.html,
        href=f"{base}/{unit.key}",
        outline=reading.outline,
        minutes=unit.minutes or reading.minutes,
        both=both,
        has_other_language=reading.has_other_language or both,
        is_notebook=unit.file.endswith(".ipynb"),
        before=neighbour(place - 1),
        after=neighbour(place + 1),
        tasks=tuple(
            (task_href(task), task.assignment.title)
            for task in offering.tasks
            if task.assignment.unit_key == unit.key
        ),
    )


def _note_visit(person_id: int, offering_id: int, unit_id: int) -> None:
    if unit_id in enrolment.list_visits(session(), person_id, [offering_id]).get(offering_id, ()):
        return
    try:
        with transaction() as database:
            enrolment.visit_unit(database, person_id, offering_id, unit_id, now=now())
    except SQLAlchemyError:
        # A unit that can be read must be readable on a full disk too.
        from flask import current_app

        current_app.logger.exception("a visit of unit %s could not be noted", unit_id)


def _file_name(unit: Unit) -> str:
    return unit.file.rsplit("/", 1)[-1]
