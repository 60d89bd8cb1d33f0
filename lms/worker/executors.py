"""Which executor the settings ask for, and where its sandboxes are."""

import functools
from collections.abc import Callable

from lms.foundation.settings import Settings
from lms.outposts.executors.base import JobExecutor, ThreadsExecutor
from lms.outposts.executors.job import Place, ask_sandbox
from lms.outposts.executors.processes import ProcessesExecutor
from lms.protocol.broker import SandboxReport
from lms.protocol.sentences import sentence

#: Executors that compute on this machine.
_HERE = frozenset({"threads", "processes"})


def executor_starter(settings: Settings) -> Callable[[], JobExecutor]:
    """Return what starts the executor; called again when one is lost.

    The started one raises ExecutorUnavailableError where there is nothing to start it on.
    """
    slots = settings.grading_runs
    if settings.grading_executor == "threads":
        return functools.partial(ThreadsExecutor, slots)
    if settings.grading_executor == "processes":
        return functools.partial(ProcessesExecutor, slots)
    # Here, not above: they need packages that one machine does without.
    from lms.outposts.executors.dask import connect
    from lms.outposts.executors.slurm import start_cluster

    keys = settings.cluster_keys_dir
    if settings.grading_executor == "dask":
        return functools.partial(connect, settings.dask_scheduler, keys)
    return functools.partial(start_cluster, settings.slurm_file, keys)


def place_of(settings: Settings) -> Place:
    """Return where the jobs' sandboxes come from: on other machines, from the job's process."""
    socket = settings.run_dir / "broker.sock"
    local = settings.grading_executor in _HERE
    return Place(
        broker=str(socket) if local and socket.exists() else "",
        environments=str(settings.environments_dir),
        unsafe=settings.unsafe_grading,
    )


def sandbox_of(settings: Settings) -> Callable[[], SandboxReport]:
    """Return what tells of the sandboxes that submissions are graded in."""
    if settings.grading_executor in _HERE:
        return functools.partial(ask_sandbox, place_of(settings))
    return _elsewhere


def _elsewhere() -> SandboxReport:
    # Who only hands jobs on may well run where no sandbox can be started. A machine of the cluster
    # that can start none grades nothing, and says so itself.
    why = sentence(
        "Submissions are graded on a cluster, whose machines start the sandboxes themselves."
    )
    return SandboxReport(
        namespaces=True, seccomp=True, cgroups="none", own_uids=True, missing=(why,)
    )
