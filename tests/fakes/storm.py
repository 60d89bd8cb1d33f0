"""A worker as `lms worker` runs it, but for what grading one submission costs: a storm's stand-in.

Queue, leases, fence, executor, database, blobs, audit log and receipts are the real ones.
"""

import functools
import hashlib
import os
import signal
import time
from datetime import timedelta

from lms.bootstrap import build
from lms.foundation.settings import load_settings
from lms.grading import queue
from lms.outposts.executors.job import Graded, GradingJob, Place, run_job
from lms.outposts.executors.processes import ProcessesExecutor
from lms.protocol.grading import CellResult, Integrity, NotebookResult, RunStatus
from lms.worker import loop
from lms.worker.executors import executor_starter
from lms.worker.grading import Grader

JOB_SECONDS = 0.004
MODULES = ("tests.fakes.light", "lms.outposts.runner.grade", "tests.fakes.storm")


def grade_cheaply(job: GradingJob) -> Graded:
    """Score a submission by its bytes: the same bytes, the same score."""
    from lms.outposts.runner.grade import NotebookOutcome

    time.sleep(JOB_SECONDS)
    content = b"".join(job.submission[path] for path in sorted(job.submission))
    score = float(hashlib.sha256(content).digest()[0] % 3)
    cell = CellResult(
        grade_id="q1",
        auto_score=score,
        max_score=2.0,
        needs_manual=False,
        integrity=Integrity.VERIFIED,
    )
    result = NotebookResult(
        notebook="ps1",
        status=RunStatus.GRADED,
        integrity=Integrity.VERIFIED,
        score=score,
        max_score=2.0,
        cells=(cell,),
    )
    return Graded(outcomes=(NotebookOutcome(result=result),))


def main(name: str, engine: str) -> None:
    """Work under `name` until told to stop; `engine` is "cheap" or the "real" one."""
    # As in life, but for how long one waits: silence is found in seconds, so that it happens often.
    queue.LEASE, loop.BEAT = timedelta(seconds=4), timedelta(seconds=0.5)
    # Here every death is ours; a run that was hit three times by chance is no deadly notebook.
    queue.MAX_INTERRUPTIONS = 50
    settings = load_settings()
    system = build(settings)
    starter = executor_starter(settings)
    if settings.grading_executor == "processes" and engine == "cheap":
        # Only what the stand-in needs: processes start by the dozen here.
        starter = functools.partial(ProcessesExecutor, settings.grading_runs, modules=MODULES)
    worker = loop.Worker(
        system=system,
        grade=Grader(system=system, place=Place()),
        start_executor=starter,
        probe=lambda: loop.Health(sandbox_ok=True),
        job=run_job if engine == "real" else grade_cheaply,
        name=name,
    )
    signal.signal(signal.SIGTERM, lambda _number, _frame: worker.stop.set())
    worker.run()
    os._exit(0)
