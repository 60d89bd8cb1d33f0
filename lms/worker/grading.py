"""One job: grade the submission of a claim and store what was found."""

import time
from collections.abc import Callable, Sequence

from lms.bootstrap import System
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.grading.cache import Recipe, Turn, begin
from lms.grading.jobs import Job, read_job
from lms.grading.queue import Claim
from lms.grading.service import Finding, finish
from lms.outposts.broker.launcher import KernelLauncher
from lms.outposts.runner.grade import NotebookOutcome, grade_submission

#: How long to wait between two looks at a result that another run is finding, in seconds.
_LOOK_SECONDS = 0.2


def grade_claim(
    system: System, claim: Claim, launcher: KernelLauncher, is_sandboxed: Callable[[], bool]
) -> None:
    """Grade and record; raises what is our fault, never for what a student handed in.

    Where there is no sandbox and the operator allowed that, the result is marked.
    """
    with system.sessions() as session:
        job = read_job(session, system.blobs, claim.run_id)
    findings = find_known(system, claim, job.recipe)
    if findings is not None:
        record(system, claim, job, findings, unsafe=False)
        return
    outcomes = grade_submission(
        job.source, job.files, limits=job.limits, launcher=launcher, seed=job.seed
    )
    kept = [_keep(system.blobs, outcome) for outcome in outcomes]
    record(system, claim, job, kept, unsafe=not is_sandboxed())


def find_known(system: System, claim: Claim, recipe: Recipe) -> Sequence[Finding] | None:
    """Return what the same bytes gave before; None when it is this claim's turn to run them.

    Waits while another run is at the very same bytes.
    """
    while True:
        with transaction(system.sessions) as session:
            turn = begin(session, recipe, claim, now=clock.now())
        if turn is Turn.RUN:
            return None
        if turn is not Turn.WAIT:
            return turn
        time.sleep(_LOOK_SECONDS)


def record(
    system: System, claim: Claim, job: Job, findings: Sequence[Finding], *, unsafe: bool
) -> None:
    """Store what was found, unless the claim has been superseded."""
    with transaction(system.sessions) as session:
        finish(session, claim, findings, now=clock.now(), unsafe=unsafe, recipe=job.recipe)


def _keep(blobs: BlobStore, outcome: NotebookOutcome) -> Finding:
    return Finding(
        result=outcome.result,
        autograded=None if outcome.autograded is None else blobs.put(outcome.autograded),
        feedback=None if outcome.feedback_html is None else blobs.put(outcome.feedback_html),
    )
