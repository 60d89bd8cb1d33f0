"""`lms cluster`: certificates of a grading cluster, its scheduler and its workers."""

import os
import sys
from pathlib import Path

import click

from lms.foundation import clock
from lms.foundation.errors import ConflictError, UnavailableError
from lms.foundation.settings import load_settings, process_environment
from lms.outposts.executors.base import ExecutorUnavailableError
from lms.outposts.executors.certificates import (
    AUTHORITY,
    certificate_path,
    key_path,
    make_certificates,
)
from lms.protocol.sentences import sentence

_KEYS = click.option(
    "--keys",
    type=click.Path(path_type=Path),
    help="Folder of the certificates. [default: keys/grading/cluster in the data folder]",
)


@click.group()
def cluster() -> None:
    """Grade on more machines than this one: on Slurm, on Kubernetes, on any that you have."""


@cluster.command()
@_KEYS
@click.option("--host", "hosts", multiple=True, help="A further name or address of the scheduler.")
def certificates(keys: Path | None, hosts: tuple[str, ...]) -> None:
    """Make the cluster's own authority and a certificate for each role."""
    folder = keys or load_settings().cluster_keys_dir
    try:
        make_certificates(folder, now=clock.now(), hosts=hosts)
    except FileExistsError as error:
        raise ConflictError(
            sentence(
                "%(path)s is there already; new certificates need an empty folder.",
                path=str(error.filename),
            )
        ) from error
    click.echo(f"{folder}: authority, scheduler, worker and client")


@cluster.command()
@_KEYS
@click.option("--port", type=int, default=8786, show_default=True, help="Where it listens.")
@click.option("--host", default="", help="The address it listens on. [default: all]")
def scheduler(keys: Path | None, port: int, host: str) -> None:
    """Run a scheduler that speaks TLS with holders of the cluster's certificates alone."""
    options = ["--port", str(port), "--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
    if host:
        options += ["--host", host]
    _become("scheduler", keys, options)


@cluster.command()
@click.argument("address")
@_KEYS
@click.option("--memory", default="auto", show_default=True, help="What one may use.")
def worker(address: str, keys: Path | None, memory: str) -> None:
    """Grade one submission at a time for the scheduler at ADDRESS (tls://…)."""
    options = [address, "--nthreads", "1", "--nworkers", "1", "--memory-limit", memory]
    options += ["--no-dashboard", "--no-nanny", "--death-timeout", "60"]
    options += ["--preload", "lms.outposts.executors.node"]
    _become("worker", keys, options)


def _become(role: str, keys: Path | None, options: list[str]) -> None:
    from lms.outposts.executors.dask import as_environment, cluster_config, security

    folder = (keys or load_settings().cluster_keys_dir).absolute()
    try:
        security(folder, role)
    except ExecutorUnavailableError as error:
        raise UnavailableError(
            sentence("The cluster's certificates are missing: %(why)s.", why=str(error))
        ) from error
    argv = [sys.executable, "-m", f"distributed.cli.dask_{role}", "--protocol", "tls"]
    argv += ["--tls-ca-file", str(certificate_path(folder, AUTHORITY))]
    argv += ["--tls-cert", str(certificate_path(folder, role))]
    argv += ["--tls-key", str(key_path(folder, role)), *options]
    env = process_environment() | as_environment(cluster_config(folder, role))
    os.execve(sys.executable, argv, env)  # noqa: S606 - it is what this command is for
