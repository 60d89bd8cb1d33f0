"""A Dask cluster of Slurm jobs: as many as there is work for, down to none."""

import shlex
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMCluster
from distributed import Client

from lms.outposts.executors.base import ExecutorUnavailableError
from lms.outposts.executors.certificates import ROLES
from lms.outposts.executors.dask import (
    NODE,
    DaskExecutor,
    as_environment,
    cluster_config,
    security,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJobs:
    """What each Slurm job asks for, and how many there may be; read from a TOML file."""

    #: Names and folders as `dask_jobqueue.SLURMCluster` takes them.
    queue: str | None = None
    account: str | None = None
    walltime: str = "00:30:00"
    memory: str = "4GB"
    #: Submissions that one job grades at once, each in a process of its own.
    processes: int = 1
    #: Network that nodes and this machine share.
    interface: str | None = None
    minimum_jobs: int = 0
    maximum_jobs: int = 8
    #: How many looks without work before a job is given back, two seconds apart.
    idle_looks: int = 5
    #: Further lines of `#SBATCH`, such as "--gres=gpu:1".
    directives: list[str] = field(default_factory=list)
    #: Shell lines before the worker starts.
    prologue: list[str] = field(default_factory=list)
    #: A Python on the nodes with Seodang installed; empty is this one's path.
    python: str = ""
    #: Where jobs write their logs; empty is Slurm's own choice.
    log_folder: str = ""
    #: A folder on the node for what does not fit into memory.
    local_folder: str = "/tmp"  # noqa: S108 - on the node, and Dask makes its own folder in it


def read_jobs(path: Path | None) -> SlurmJobs:
    """Read the file; raises ExecutorUnavailableError with what is wrong in it."""
    if path is None:
        raise ExecutorUnavailableError("LMS_SLURM_FILE names no file: what may a Slurm job use?")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExecutorUnavailableError(f"{path} cannot be read: {error}") from error
    for name in found:
        if name not in {one.name for one in fields(SlurmJobs)}:
            raise ExecutorUnavailableError(f"{path}: {name} is not known")
    return SlurmJobs(**found)


def start_cluster(path: Path | None, keys: Path) -> DaskExecutor:
    """Start a scheduler here, and Slurm jobs as there is work; raises ExecutorUnavailableError."""
    jobs = read_jobs(path)
    dask.config.set(cluster_config(keys, "scheduler"))
    try:
        cluster = SLURMCluster(**_options(jobs, keys), security=security(keys, *ROLES))
    except (OSError, RuntimeError, ValueError) as error:
        raise ExecutorUnavailableError(f"no Slurm cluster could be started: {error}") from error
    cluster.adapt(
        minimum_jobs=jobs.minimum_jobs,
        maximum_jobs=jobs.maximum_jobs,
        interval="2s",
        wait_count=jobs.idle_looks,
        # One job asked for each submission that waits, rather than for the time they may take.
        target_duration="1s",
    )
    client = Client(cluster, security=security(keys, *ROLES), set_as_default=False)

    def close() -> None:
        client.close()
        cluster.close()

    return DaskExecutor(client, close)


def _options(jobs: SlurmJobs, keys: Path) -> dict[str, Any]:
    # What holds here must hold on the nodes too.
    config = as_environment(cluster_config(keys, "worker"))
    exports = [f"export {name}={shlex.quote(value)}" for name, value in config.items()]
    return {
        "cores": jobs.processes,
        "processes": jobs.processes,
        "memory": jobs.memory,
        "queue": jobs.queue,
        "account": jobs.account,
        "walltime": jobs.walltime,
        "interface": jobs.interface,
        "python": jobs.python or None,
        "job_name": "seodang-grading",
        "job_extra_directives": jobs.directives,
        "job_script_prologue": [*exports, *jobs.prologue],
        "log_directory": jobs.log_folder or None,
        "local_directory": jobs.local_folder,
        # Without a nanny a job whose worker died ends, and Slurm's own limits are the limits.
        "nanny": False,
        "worker_extra_args": [
            *("--no-dashboard", "--preload", NODE),
            *("--lifetime", _lifetime(jobs.walltime)),
        ],
        "scheduler_options": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        "protocol": "tls://",
    }


def _lifetime(walltime: str) -> str:
    """Return when a worker leaves by itself, in seconds: before Slurm takes its job's life."""
    days, _, clock = walltime.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    while len(parts) < 3:  # noqa: PLR2004 - Slurm's own short forms: minutes, minutes:seconds
        parts = [0, *parts] if len(parts) == 2 else [0, parts[0], 0]  # noqa: PLR2004
    seconds = int(days or 0) * 86400 + parts[0] * 3600 + parts[1] * 60 + parts[2]
    return f"{max(seconds - 60, seconds // 2)}s"
