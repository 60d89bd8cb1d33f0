"""What a worker needs to grade a run, read at once; and the recipe that the result follows from."""

from collections import OrderedDict
from dataclasses import dataclass

from sqlalchemy.orm import Session

from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.service import read_release
from lms.exchange.models import Submission
from lms.exchange.service import read_submission
from lms.foundation.blobs import BlobStore
from lms.grading.cache import Recipe, make_recipe
from lms.grading.changes import source_digest, tests_digest
from lms.grading.models import Run
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits

_KEPT = 64
#: source digest -> tests digest: a class hands in the same assignment.
_TESTS: OrderedDict[str, str] = OrderedDict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that grading a run takes."""

    source: AssignmentSource
    files: dict[str, bytes]
    limits: Limits
    seed: int
    #: Digest of the requirements it runs with; empty: the default environment.
    requirements: str
    recipe: Recipe


def read_job(session: Session, blobs: BlobStore, run_id: int, *, seed: int = 0) -> Job:
    """Return what a run is graded with: its own release if it has one, else its submission's."""
    run = session.get_one(Run, run_id)
    submission = session.get_one(Submission, run.submission_id)
    release = session.get_one(Release, run.release_id or submission.release_id)
    task = session.get_one(OfferedAssignment, submission.task_id)
    assignment = session.get_one(Assignment, task.assignment_id)
    files = read_release(blobs, release, "instructor")
    limits = Limits(**assignment.limits)
    recipe = recipe_of(
        files, submission.digest, limits, seed=seed, requirements=release.environment
    )
    return Job(
        source=AssignmentSource(name=assignment.key, files=files),
        files=read_submission(blobs, submission),
        limits=limits,
        seed=seed,
        requirements=release.environment,
        recipe=recipe,
    )


def recipe_of(
    instructor_files: dict[str, bytes],
    submission_digest: str,
    limits: Limits,
    *,
    seed: int = 0,
    requirements: str = "",
) -> Recipe:
    """Return the recipe of grading a submission against an instructor's files here and now."""
    source = source_digest(instructor_files)
    return make_recipe(
        source=source,
        tests=_tests(source, instructor_files),
        submission=submission_digest,
        limits=limits,
        seed=seed,
        requirements=requirements,
    )


def _tests(source: str, files: dict[str, bytes]) -> str:
    if source not in _TESTS:
        _TESTS[source] = tests_digest(files)
        while len(_TESTS) > _KEPT:
            _TESTS.popitem(last=False)
    return _TESTS[source]
