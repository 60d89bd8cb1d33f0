"""One job: grade the submission of a claim and store what was found."""

from collections.abc import Callable

from lms.bootstrap import System
from lms.catalogue.models import Assignment, OfferedAssignment, Release
from lms.catalogue.service import read_release
from lms.exchange.models import Submission
from lms.exchange.service import read_submission
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.grading.queue import Claim
from lms.grading.service import Finding, finish
from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits


def grade_claim(
    system: System, claim: Claim, launcher: KernelLauncher, is_sandboxed: Callable[[], bool]
) -> None:
    """Grade and record; raises what is our fault, never for what a student handed in.

    Where there is no sandbox and the operator allowed that, the result is marked.
    """
    source, files, limits = _read(system, claim)
    outcomes = grade_submission(source, files, limits=limits, launcher=launcher)
    findings = [_keep(system.blobs, outcome) for outcome in outcomes]
    with transaction(system.sessions) as session:
        finish(session, claim, findings, now=clock.now(), unsafe=not is_sandboxed())


def _read(system: System, claim: Claim) -> tuple[AssignmentSource, dict[str, bytes], Limits]:
    with system.sessions() as session:
        submission = session.get_one(Submission, claim.submission_id)
        release = session.get_one(Release, submission.release_id)
        task = session.get_one(OfferedAssignment, submission.task_id)
        assignment = session.get_one(Assignment, task.assignment_id)
        files = read_release(system.blobs, release, "instructor")
        source = AssignmentSource(name=assignment.key, files=files)
        return source, read_submission(system.blobs, submission), Limits(**assignment.limits)


def _keep(blobs: BlobStore, outcome: NotebookOutcome) -> Finding:
    return Finding(
        result=outcome.result,
        autograded=None if outcome.autograded is None else blobs.put(outcome.autograded),
        feedback=None if outcome.feedback_html is None else blobs.put(outcome.feedback_html),
    )
