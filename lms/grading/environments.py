"""Which environments grading and notebooks still need."""

from collections.abc import Callable
from datetime import date

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from lms.catalogue.environments import used_requirements
from lms.catalogue.models import OfferedAssignment, Offering, Release
from lms.exchange.models import Submission
from lms.grading.models import Run
from lms.grading.queue import SEALED, parked, unpark
from lms.protocol.grading import RunStatus
from lms.protocol.sentences import Sentence, sentence


def used_environments(session: Session, *, today: date) -> dict[str, list[str]]:
    """Return who uses which requirements: what is taught, handed in or waiting to be graded.

    Work of an offering that is over needs its environment only while it is graded again.
    """
    used = used_requirements(session)
    waiting = (RunStatus.QUEUED, RunStatus.RUNNING)
    rows = session.execute(
        select(Release.environment, Offering.key, Release.number)
        .select_from(Submission)
        .join(Run, Run.submission_id == Submission.id)
        .join(Release, or_(Release.id == Run.release_id, Release.id == Submission.release_id))
        .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
        .join(Offering, Offering.id == OfferedAssignment.offering_id)
        .where(
            Release.environment != "",
            or_(Offering.ends_on >= today, Run.status.in_(waiting)),
        )
        .distinct()
    )
    for digest, offering, number in rows:
        name = f"{offering} ({number})"
        if name not in used.setdefault(digest, []):
            used[digest].append(name)
    return used


def look_at_parked(session: Session, is_built: Callable[[str], bool]) -> list[Sentence]:
    """Queue again what waited for an environment that is built by now; tell what still waits."""
    waiting = []
    for requirements, count in sorted(parked(session).items()):
        if requirements.startswith(SEALED):
            # Whoever opens them queues the runs again.
            waiting.append(
                sentence(
                    "Submissions that wait for hidden tests which are still sealed: %(count)s. "
                    "When central gives the code, run lms bundle open.",
                    count=count,
                )
            )
            continue
        if is_built(requirements):
            unpark(session, requirements)
            continue
        waiting.append(
            sentence(
                "Submissions that wait for an environment which is not built here: %(count)s. Run "
                "lms environment build %(requirements)s.",
                count=count,
                requirements=requirements,
            )
        )
    return waiting
