"""Corrections that central has applied: they travel with the course, and a centre follows them.

Whether a corrected test counts for work that was graded already is decided at central, where who
gains and loses is seen before. A bundle names the releases for which it was decided.
"""

import json
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.errors import CourseFileError
from lms.catalogue.models import Assignment, Course, Release
from lms.catalogue.service import is_sealed
from lms.foundation.blobs import BlobStore
from lms.grading.models import RegradePlan
from lms.grading.regrades import queue_touched
from lms.grading.rules import PlanState

#: Where a bundle says it: {"format": 1, "releases": [digest]}.
FILE = "regraded.json"
_FORMAT = 1


def write_corrections(session: Session, course: str) -> bytes | None:
    """Return what a bundle of the course says of corrections; None when there were none."""
    digests = session.scalars(
        select(Release.digest)
        .join(RegradePlan, RegradePlan.release_id == Release.id)
        .join(Assignment, Assignment.id == Release.assignment_id)
        .join(Course, Course.id == Assignment.course_id)
        .where(Course.key == course, RegradePlan.state == PlanState.APPLIED)
        .order_by(Release.digest)
    ).all()
    if not digests:
        return None
    return json.dumps({"format": _FORMAT, "releases": list(dict.fromkeys(digests))}).encode()


def follow_corrections(session: Session, blobs: BlobStore, folder: Path, *, now: datetime) -> int:
    """Queue what the corrections in a course's folder touch here; returns how many attempts.

    Only the release that stands now matters, and one whose tests are still sealed waits for its
    opening. Raises CourseFileError.
    """
    path = folder / FILE
    if not path.is_file():
        return 0
    try:
        values = json.loads(path.read_bytes())
        digests = {str(one) for one in values["releases"]}
    except (ValueError, KeyError, TypeError) as error:
        raise CourseFileError(FILE, "cannot be understood") from error
    count = 0
    for release in session.scalars(select(Release).where(Release.digest.in_(digests))):
        if _is_newest(session, release) and not is_sealed(blobs, release.digest):
            count += queue_touched(session, blobs, release, now=now)
    return count


def _is_newest(session: Session, release: Release) -> bool:
    newest = session.scalar(
        select(Release.id)
        .where(Release.assignment_id == release.assignment_id, Release.staged.is_(False))
        .order_by(Release.number.desc())
        .limit(1)
    )
    return newest == release.id
