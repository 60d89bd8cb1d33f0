"""Which submissions a new release touches, and in what."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.service import read_release
from lms.exchange.models import Submission
from lms.foundation.blobs import BlobStore
from lms.grading.changes import Change, Kind, Sides, compare, touches
from lms.grading.models import Run
from lms.grading.runs import runs_of
from lms.outposts.runner.version import environment_digest
from lms.protocol.grading import Limits, RunStatus

#: What a run may have ended in because of a limit.
_STOPPED = frozenset({RunStatus.TIMED_OUT, RunStatus.OUT_OF_MEMORY, RunStatus.CRASHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """One submission whose result the new release can change, and its newest run."""

    submission: Submission
    run: Run
    changes: list[Change]


@dataclass(slots=True, kw_only=True)
class Comparison:
    """A release against those that submissions of its assignment were graded with."""

    session: Session
    blobs: BlobStore
    release: Release
    _known: dict[int, list[Change]] = field(default_factory=dict)
    _sides: dict[int, Sides] = field(default_factory=dict)

    def touched(self) -> Iterator[Touched]:
        """Yield every submission that is touched, of every attempt that has a run."""
        assignment = self.session.get_one(Assignment, self.release.assignment_id)
        submissions = self.session.scalars(
            select(Submission)
            .join(OfferedAssignment, OfferedAssignment.id == Submission.task_id)
            .where(OfferedAssignment.assignment_id == assignment.id)
            .order_by(Submission.id)
        ).all()
        runs = runs_of(self.session, [one.id for one in submissions])
        limits = asdict(Limits(**assignment.limits))
        for submission in submissions:
            run = runs.get(submission.id)
            changes = [] if run is None else self._changes(submission, run, limits)
            if run is not None and changes:
                yield Touched(submission=submission, run=run, changes=changes)

    def _changes(self, submission: Submission, run: Run, limits: dict[str, int]) -> list[Change]:
        files = {entry["path"]: entry["digest"] for entry in submission.files}
        all_changes = [
            *self._against(run.release_id or submission.release_id),
            *_surroundings(run, limits, self.release.environment),
        ]
        return touches(all_changes, files, lambda path: self.blobs.get(files[path]))

    def _against(self, release_id: int) -> list[Change]:
        if release_id == self.release.id:
            return []
        if release_id not in self._known:
            old = self.session.get_one(Release, release_id)
            self._known[release_id] = compare(self._read(old), self._read(self.release))
        return self._known[release_id]

    def _read(self, release: Release) -> Sides:
        if release.id not in self._sides:
            self._sides[release.id] = Sides(
                instructor=read_release(self.blobs, release, "instructor"),
                student=read_release(self.blobs, release, "student"),
            )
        return self._sides[release.id]


def _surroundings(run: Run, limits: dict[str, int], requirements: str) -> Iterator[Change]:
    """Yield what changed around the release: the environment, and a limit that a run reached."""
    recipe = run.recipe
    if recipe is None:
        return
    if recipe["environment"] != environment_digest(requirements):
        yield Change(kind=Kind.ENVIRONMENT, notebook="", name="")
    if run.status in _STOPPED:
        for name, value in limits.items():
            if recipe["limits"].get(name) != value:
                yield Change(kind=Kind.LIMITS, notebook="", name=name)
