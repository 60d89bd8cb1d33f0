"""How far a person is in each of their courses, in a fixed number of queries."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from lms.catalogue import service as catalogue
from lms.catalogue.models import Offering, Unit
from lms.enrolment import service as enrolment
from lms.enrolment.models import Enrolment
from lms.enrolment.rules import EnrolmentState
from lms.exchange import service as exchange

_ALL = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseProgress:
    """A person's way through one offering."""

    offering: Offering
    enrolment: Enrolment
    units_read: frozenset[int]
    tasks_done: int

    @property
    def href(self) -> str:
        """Address of the course's home."""
        return f"/offerings/{self.offering.key}"

    @property
    def percent(self) -> int:
        """Units opened and assignments handed in, of all there are."""
        total = len(self.offering.course.units) + len(self.offering.tasks)
        return percent(len(self.units_read) + self.tasks_done, total)

    @property
    def is_done(self) -> bool:
        """Say whether every unit was opened and every assignment handed in."""
        return self.percent == _ALL

    @property
    def next_unit(self) -> tuple[int, Unit] | None:
        """The first unit not yet opened, with its number."""
        for number, unit in enumerate(self.offering.course.units, 1):
            if unit.id not in self.units_read:
                return number, unit
        return None


def percent(done: int, total: int) -> int:
    """Return done of total in per cent; only all of it is 100."""
    if not total:
        return 0
    return _ALL if done >= total else min(_ALL - 1, round(_ALL * done / total))


def list_progress(database: Session, person_id: int) -> list[CourseProgress]:
    """Return the person's active and pending courses with their progress, newest first."""
    pairs = enrolment.list_enrolled(database, person_id)
    return progress_of(database, person_id, [one for one, _ in pairs])


def progress_of(
    database: Session, person_id: int, enrolments: Sequence[Enrolment]
) -> list[CourseProgress]:
    """Return the progress in the offerings of `enrolments`."""
    by_offering = {one.offering_id: one for one in enrolments}
    if not by_offering:
        return []
    offerings = catalogue.list_offerings(database, by_offering)
    visits = enrolment.list_visits(database, person_id, by_offering)
    handed_in = exchange.count_submitted(database, person_id)
    return [
        CourseProgress(
            offering=offering,
            enrolment=by_offering[offering.id],
            # A unit may have been taken out of the course since it was read.
            units_read=visits.get(offering.id, frozenset())
            & {unit.id for unit in offering.course.units},
            tasks_done=min(handed_in.get(offering.id, 0), len(offering.tasks)),
        )
        for offering in offerings
    ]


def course_progress(database: Session, person_id: int) -> dict[str, CourseProgress]:
    """Return the furthest progress by course key, of active enrolments."""
    best: dict[str, CourseProgress] = {}
    for one in list_progress(database, person_id):
        if one.enrolment.state != EnrolmentState.ACTIVE:
            continue
        known = best.get(one.offering.course.key)
        if known is None or one.percent > known.percent:
            best[one.offering.course.key] = one
    return best
