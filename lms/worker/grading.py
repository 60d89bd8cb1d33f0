"""One job: grade the submission of a claim and store what was found."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

from lms.bootstrap import System
from lms.catalogue.errors import SealedError
from lms.catalogue.service import is_sealed
from lms.foundation import clock
from lms.foundation.blobs import BlobStore
from lms.foundation.db import transaction
from lms.grading.cache import Recipe, Turn, begin
from lms.grading.jobs import Job, read_job
from lms.grading.queue import Claim, park, park_sealed, unpark_sealed
from lms.grading.service import Finding, finish
from lms.outposts.environments.folder import Environments
from lms.outposts.executors.job import Graded, GradingJob, Place

if TYPE_CHECKING:
    from lms.outposts.runner.grade import NotebookOutcome

LOG = logging.getLogger("lms.worker")
#: How long to wait between two looks at a result that another run is finding, in seconds.
_LOOK_SECONDS = 0.2
#: How often a result is stored anew when the database's connection breaks, and how long between.
_STORE_TRIES, _STORE_SECONDS = 4, 0.25

#: Has a job run on some executor.
Submit = Callable[[GradingJob], "Future[Graded]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grader:
    """Grades claims: reads the job here, has it run elsewhere, records here."""

    system: System
    place: Place

    def __call__(self, claim: Claim, submit: Submit) -> None:
        """Grade and record; raises what is our fault, never for what a student handed in.

        Where there is no sandbox and the operator allowed that, the result is marked.
        """
        system = self.system
        try:
            with system.sessions() as session:
                job = read_job(session, system.blobs, claim.run_id)
        except SealedError as error:
            wait_for_opening(system, claim, error.release)
            return
        findings = find_known(system, claim, job.recipe)
        if findings is not None:
            record(system, claim, job, findings, unsafe=False)
            return
        if not Environments(system.settings.environments_dir).has(job.requirements):
            LOG.warning("run %d waits for its environment %s", claim.run_id, job.requirements)
            with transaction(system.sessions) as session:
                park(session, claim, job.requirements)
            return
        graded = submit(
            GradingJob(
                source=job.source,
                submission=job.files,
                limits=job.limits,
                seed=job.seed,
                requirements=job.requirements,
                place=self.place,
            )
        ).result()
        kept = [_keep(system.blobs, outcome) for outcome in graded.outcomes]
        record(system, claim, job, kept, unsafe=not graded.sandboxed)


def wait_for_opening(system: System, claim: Claim, release: str) -> None:
    """Set a run aside until the hidden tests of its release are open."""
    LOG.info("run %d waits until the hidden tests of its release are opened", claim.run_id)
    with transaction(system.sessions) as session:
        park_sealed(session, claim, release)
    # They may have been opened between the two looks, by who found nothing to queue again.
    if not is_sealed(system.blobs, release):
        with transaction(system.sessions) as session:
            unpark_sealed(session, release)


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
    """Store what was found, unless the claim has been superseded.

    A connection that breaks is no reason to grade again: storing is tried again. Had the first try
    come through after all, the fence refuses the second.
    """
    for attempt in range(1, _STORE_TRIES + 1):
        try:
            with transaction(system.sessions) as session:
                finish(session, claim, findings, now=clock.now(), unsafe=unsafe, recipe=job.recipe)
        except DBAPIError:
            if attempt == _STORE_TRIES:
                raise
            LOG.warning("run %d could not be stored; trying again", claim.run_id)
            time.sleep(_STORE_SECONDS * attempt)
        else:
            return


def _keep(blobs: BlobStore, outcome: "NotebookOutcome") -> Finding:
    return Finding(
        result=outcome.result,
        autograded=None if outcome.autograded is None else blobs.put(outcome.autograded),
        feedback=None if outcome.feedback_html is None else blobs.put(outcome.feedback_html),
    )
