"""Kernels' jobs as Slurm knows them: what runs, how one ended, and which nobody uses any more."""

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lms.outposts.environment import process_environment
from lms.outposts.kernels.on_node import boot_id

#: Begins the name of every kernel's job; the lease's id follows.
PREFIX = "seodang-kernel-"
_SECONDS = 20.0
_FORMAT = "%i|%j|%u|%T|%r|%N|%k"
#: Of the caller's variables, those that Slurm's commands need.
_VARIABLES = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SLURM_CONF", "TMPDIR", "TZ", "USER")


class SlurmError(Exception):
    """One of Slurm's commands failed; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelJob:
    """A job of a kernel."""

    id: str
    lease: str
    user: str
    state: str
    #: Slurm's own word for why it waits or how it ended, such as "Resources".
    reason: str
    node: str
    #: Whose it is: `own_mark` of the server that started it.
    mark: str


def command_environment() -> dict[str, str]:
    """Return what Slurm's commands may know; no token of the server's is in it."""
    env = process_environment()
    return {name: env[name] for name in _VARIABLES if name in env}


def run_slurm(argv: Sequence[str]) -> str:
    """Return what one of Slurm's commands prints; raises SlurmError."""
    try:
        result = subprocess.run(
            argv, env=command_environment(), capture_output=True, text=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise SlurmError(f"{argv[0]} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{argv[0]} did not answer within {_SECONDS:.0f} seconds") from error
    if result.returncode:
        raise SlurmError(f"{argv[0]}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def list_kernel_jobs(*, mine: bool = False) -> list[KernelJob]:
    """Return the kernels' jobs that wait or run, of everybody or of this user alone."""
    return _parse(run_slurm(["squeue", "-h", "-o", _FORMAT, *(["--me"] if mine else [])]))


def find_job(job_id: str) -> KernelJob | None:
    """Return the job, also for a while after its end, or None when Slurm knows it no more."""
    try:
        found = _parse(run_slurm(["squeue", "-h", "-o", _FORMAT, "-t", "all", "-j", job_id]))
    except SlurmError:
        return None
    return found[0] if found else None


def cancel_jobs(ids: Iterable[str]) -> None:
    """End jobs and everything in them; those that have ended already are left alone."""
    wanted = list(ids)
    if wanted:
        run_slurm(["scancel", "--quiet", *wanted])


def reconcile(leases: Iterable[str]) -> list[KernelJob]:
    """Cancel every kernel's job whose lease is not among `leases`; return those."""
    known = set(leases)
    orphans = [job for job in list_kernel_jobs() if job.lease not in known]
    cancel_jobs(job.id for job in orphans)
    return orphans


def cancel_orphans() -> list[KernelJob]:
    """Cancel this user's jobs whose server ran here and has ended; return those."""
    orphans = [job for job in list_kernel_jobs(mine=True) if is_orphan(job.mark)]
    cancel_jobs(job.id for job in orphans)
    return orphans


def own_mark(pid: int | None = None) -> str:
    """Return what tells this process from every other, here and on other machines."""
    number = os.getpid() if pid is None else pid
    namespace = str(Path("/proc/self/ns/pid").readlink()).partition("[")[2].rstrip("]")
    return f"{boot_id()}:{namespace}:{number}:{_started(number)}"


def is_orphan(mark: str) -> bool:
    """Say whether the process of `mark` has certainly ended: it was here, and is not."""
    parts = mark.split(":")
    if len(parts) != 4 or not parts[2].isdigit():  # noqa: PLR2004 - as own_mark makes it
        return False
    here = own_mark().split(":")
    if parts[:2] != here[:2]:
        return False
    return _started(int(parts[2])) != parts[3]


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name may hold spaces and brackets; the start time is the 20th word behind it.
    return stat.rpartition(")")[2].split()[19]


def _parse(text: str) -> list[KernelJob]:
    jobs = []
    for line in text.splitlines():
        job_id, name, user, state, reason, node, mark = line.strip().split("|", 6)
        if name.startswith(PREFIX):
            jobs.append(
                KernelJob(
                    id=job_id, lease=name.removeprefix(PREFIX), user=user, state=state,
                    reason=reason, node=node, mark=mark,
                )
            )  # fmt: skip
    return jobs
