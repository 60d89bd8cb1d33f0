"""Which executor the settings ask for."""

import functools
from collections.abc import Callable

from lms.foundation.settings import Settings
from lms.outposts.executors.base import JobExecutor, ThreadsExecutor
from lms.outposts.executors.job import Place
from lms.outposts.executors.processes import ProcessesExecutor


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
    local = settings.grading_executor in {"threads", "processes"}
    return Place(
        broker=str(socket) if local and socket.exists() else "", unsafe=settings.unsafe_grading
    )
