"""Turning a built release into an immutable row and blobs, and giving it to the offerings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment, Offering, Release
from lms.foundation.blobs import BlobStore
from lms.identity.scopes import Actor
from lms.outposts.runner.release import BuiltRelease, graded_cells, is_manual, points_of

#: Version of the manifest's form.
MANIFEST_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a release is to be, whether all its files are here or not."""

    #: Names the files by their digests, and is named by its own.
    manifest: bytes
    points: float
    manual_points: float
    notebooks: list[dict[str, Any]]
    environment: str


def prepare(blobs: BlobStore, key: str, limits: Mapping[str, int], built: BuiltRelease) -> Prepared:
    """Keep a built release's files, and return what it is to be as a release."""
    return Prepared(
        manifest=_manifest(blobs, key, limits, built),
        points=built.points,
        manual_points=built.manual_points,
        notebooks=[_notebook_facts(facts.name, built) for facts in built.notebooks],
        environment=built.environment,
    )


def publish(
    session: Session,
    blobs: BlobStore,
    assignment: Assignment,
    built: BuiltRelease,
    *,
    actor: Actor,
    now: datetime,
) -> Release:
    """Make `built` the assignment's newest release and give it to every offering not yet over.

    The same files published again give the release that is already there. Needs release:write in
    each offering of the course, or an administrator.
    """
    made = prepare(blobs, assignment.key, assignment.limits, built)
    return publish_prepared(session, blobs, assignment, made, actor=actor, now=now)


def publish_prepared(
    session: Session,
    blobs: BlobStore,
    assignment: Assignment,
    made: Prepared,
    *,
    actor: Actor,
    now: datetime,
) -> Release:
    """Publish what was prepared here or elsewhere; the instructor's files may come later."""
    release = _ensure(session, blobs, assignment, made, staged=False, actor=actor, now=now)
    _give(session, release, now)
    return release


def stage(
    session: Session,
    blobs: BlobStore,
    assignment: Assignment,
    built: BuiltRelease,
    *,
    actor: Actor,
    now: datetime,
) -> Release:
    """Keep `built` as a release that no student gets until it is published.

    What was published before is returned as it is. Needs the same scope as publishing.
    """
    made = prepare(blobs, assignment.key, assignment.limits, built)
    return _ensure(session, blobs, assignment, made, staged=True, actor=actor, now=now)


def publish_staged(session: Session, release: Release, *, actor: Actor, now: datetime) -> None:
    """Give a release that was kept aside to every offering not yet over."""
    assignment = session.get_one(Assignment, release.assignment_id)
    _require(session, assignment, actor)
    if release.staged:
        release.staged, release.published_at = False, now
        release.published_by = actor.person_id or None
    _give(session, release, now)


def _ensure(
    session: Session,
    blobs: BlobStore,
    assignment: Assignment,
    made: Prepared,
    *,
    staged: bool,
    actor: Actor,
    now: datetime,
) -> Release:
    _require(session, assignment, actor)
    digest = blobs.put(made.manifest)
    release = session.scalar(
        select(Release).where(Release.assignment_id == assignment.id, Release.digest == digest)
    )
    if release is None:
        release = _add(session, assignment, made, digest, actor=actor, now=now)
        release.staged = staged
    elif release.staged and not staged:
        release.staged, release.published_at = False, now
    session.flush()
    return release


def _require(session: Session, assignment: Assignment, actor: Actor) -> None:
    for offering_id in session.scalars(
        select(Offering.id).where(Offering.course_id == assignment.course_id)
    ):
        actor.require("release:write", offering_id)


def _give(session: Session, release: Release, now: datetime) -> None:
    for task in session.scalars(
        select(OfferedAssignment)
        .join(Offering, Offering.id == OfferedAssignment.offering_id)
        .where(
            OfferedAssignment.assignment_id == release.assignment_id,
            Offering.ends_on >= now.date(),
        )
    ):
        task.release_id = release.id
    session.flush()


def _add(
    session: Session,
    assignment: Assignment,
    made: Prepared,
    digest: str,
    *,
    actor: Actor,
    now: datetime,
) -> Release:
    last = session.scalar(
        select(func.max(Release.number)).where(Release.assignment_id == assignment.id)
    )
    release = Release(
        assignment_id=assignment.id,
        number=(last or 0) + 1,
        digest=digest,
        published_at=now,
        published_by=actor.person_id or None,
        points=made.points,
        manual_points=made.manual_points,
        notebooks=made.notebooks,
        environment=made.environment,
    )
    session.add(release)
    session.flush()
    return release


def _notebook_facts(name: str, built: BuiltRelease) -> dict[str, Any]:
    """Return what pages show of a notebook: its questions in order."""
    return {
        "name": name,
        "questions": [
            {
                "grade_id": cell.metadata.nbgrader.grade_id,
                "points": points_of(cell),
                "manual": is_manual(cell),
            }
            for cell in graded_cells(built.released[name])
        ],
    }


def _manifest(blobs: BlobStore, key: str, limits: Mapping[str, int], built: BuiltRelease) -> bytes:
    manifest: dict[str, Any] = {
        "format": MANIFEST_FORMAT,
        "assignment": key,
        "limits": limits,
        "student": {path: blobs.put(data) for path, data in sorted(built.student_files.items())},
        "instructor": {
            path: blobs.put(data) for path, data in sorted(built.instructor_files.items())
        },
    }
    if built.environment:
        # By its requirements, themselves a blob: what they become differs from machine to machine.
        manifest["environment"] = {"requirements": built.environment}
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()
