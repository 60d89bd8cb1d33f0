"""A grading job as a value: bytes in, outcomes out, on whatever machine runs it."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lms.outposts.broker.client import BrokerClient
from lms.outposts.broker.launcher import (
    BrokerLauncher,
    DirectLauncher,
    EnvironmentLauncher,
    KernelLauncher,
    probe,
)
from lms.outposts.environments.identity import environment_id
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.broker import SandboxReport
from lms.protocol.grading import Limits

if TYPE_CHECKING:
    from lms.outposts.runner.grade import NotebookOutcome

#: How long an answer about the sandbox is believed, in seconds.
_FRESH_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where sandboxes come from on the machine that runs the job."""

    #: The broker's socket; empty starts sandboxes from the job's own process.
    broker: str = ""
    #: The folder of built environments there.
    environments: str = ""
    #: Run without a sandbox where there is none: the operator's choice.
    unsafe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GradingJob:
    """Everything that grading one submission needs."""

    source: AssignmentSource
    submission: Mapping[str, bytes]
    limits: Limits
    seed: int = 0
    #: Digest of the requirements it runs with; empty: the default environment.
    requirements: str = ""
    place: Place = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """What the job found, and whether the student's code ran in a sandbox."""

    outcomes: "tuple[NotebookOutcome, ...]"
    sandboxed: bool = True


def run_job(job: GradingJob) -> Graded:
    """Grade the job's submission here; raises what `grade_submission` raises."""
    # Here, not above: who only hands jobs on need not wait for nbgrader.
    from lms.outposts.runner.grade import grade_submission

    outcomes = grade_submission(
        job.source,
        job.submission,
        limits=job.limits,
        launcher=launcher_for(job.place, job.requirements),
        seed=job.seed,
    )
    # Without the operator's leave there is no run outside of a sandbox, so there is none to ask of.
    sandboxed = not job.place.unsafe or _has_sandbox(job.place, time.monotonic() // _FRESH_SECONDS)
    return Graded(outcomes=outcomes, sandboxed=sandboxed)


@functools.lru_cache(maxsize=4)
def launcher_of(place: Place) -> KernelLauncher:
    """Return the launcher of a place, the same for every job of this process."""
    if place.broker:
        return BrokerLauncher(Path(place.broker))
    environments = Path(place.environments) if place.environments else None
    return DirectLauncher(unsafe=place.unsafe, environments=environments)


def launcher_for(place: Place, requirements: str) -> KernelLauncher:
    """Return the launcher of a place that starts everything with the requirements' packages."""
    launcher = launcher_of(place)
    if not requirements:
        return launcher
    # What requirements become depends on the Python of the machine that runs the job.
    return EnvironmentLauncher(launcher, environment_id(requirements))


def ask_sandbox(place: Place) -> SandboxReport:
    """Return what the sandbox of a place can do; raises what the broker's client raises."""
    return BrokerClient(Path(place.broker)).probe() if place.broker else probe()


@functools.lru_cache(maxsize=4)
def _has_sandbox(place: Place, _period: float) -> bool:
    return ask_sandbox(place).ok
