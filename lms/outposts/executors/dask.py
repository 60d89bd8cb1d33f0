"""Jobs on a Dask cluster: TLS both ways or nothing, one try a job, no plain HTTP beside it.

Dask keeps nothing when its scheduler goes, so it keeps nothing of ours: the row in the database is
the queue, and what is lost here is handed back there.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import dask
from distributed import Client, Security

from lms.outposts.executors.base import ExecutorUnavailableError, JobExecutor
from lms.outposts.executors.certificates import AUTHORITY, certificate_path, key_path

_T = TypeVar("_T")
#: What every worker loads first.
NODE = "lms.outposts.executors.node"
#: How long to wait for a scheduler that does not answer.
CONNECT_SECONDS = "20s"

#: Settings that every part of the cluster must run with.
_CONFIG: dict[str, Any] = {
    "distributed.comm.require-encryption": True,
    # A job that took its worker down is for our queue to count, not for Dask to try elsewhere.
    "distributed.scheduler.allowed-failures": 0,
    # What their HTTP servers tell of the cluster's insides is nobody's business.
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    # A source of some megabytes travels with each job; it is no graph that grew by mistake.
    "distributed.admin.large-graph-warning-threshold": "1GB",
    # A submission is small and runs long: better to wait for a free worker than to queue at one.
    "distributed.scheduler.worker-saturation": 1.0,
}


def cluster_config(keys: Path, role: str) -> dict[str, Any]:
    """Return the settings that a part of the cluster must run with."""
    # Dask opens an HTTP port whether it has pages or not; with these it speaks TLS alone.
    tls = {
        "ca-file": certificate_path(keys, AUTHORITY),
        "cert": certificate_path(keys, role),
        "key": key_path(keys, role),
    }
    pages = {f"distributed.scheduler.dashboard.tls.{name}": str(path) for name, path in tls.items()}
    return _CONFIG | pages


def as_environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as the environment variables by which a Dask program takes them."""
    return {
        "DASK_" + name.replace(".", "__").replace("-", "_").upper(): (
            value if isinstance(value, str) else repr(value)
        )
        for name, value in config.items()
    }


def security(keys: Path, *roles: str) -> Security:
    """Return the TLS settings with the certificates of these roles; nothing goes without TLS.

    Raises ExecutorUnavailableError where one is missing.
    """
    files = {"tls_ca_file": certificate_path(keys, AUTHORITY)}
    for role in roles:
        files[f"tls_{role}_cert"] = certificate_path(keys, role)
        files[f"tls_{role}_key"] = key_path(keys, role)
    for path in files.values():
        if not path.is_file():
            raise ExecutorUnavailableError(
                f"{path} is not there: make certificates with `lms cluster certificates`"
            )
    paths = {name: str(path) for name, path in files.items()}
    return Security(require_encryption=True, tls_min_version=0x0304, **paths)


class DaskExecutor(JobExecutor):
    """Runs picklable functions on the workers of a cluster, each job once."""

    def __init__(self, client: Client, close: Callable[[], None]) -> None:
        self._client = client
        self._close = close
        self._jobs = client.get_executor(pure=False, retries=0)

    @property
    def client(self) -> Client:
        """The connection to the scheduler."""
        return self._client

    def submit(
        self,
        function: Callable[..., _T],
        /,
        *arguments: Any,  # noqa: ANN401
        **_named: Any,  # noqa: ANN401
    ) -> "Future[_T]":
        """Run `function(*arguments)` on a worker.

        Fails with KilledWorker when the worker dies, is cancelled when the scheduler goes.
        """
        if self.is_lost():
            raise ExecutorUnavailableError("the Dask scheduler has gone")
        future: Future[_T] = self._jobs.submit(function, *arguments)
        return future

    def is_lost(self) -> bool:
        """Say whether the scheduler has gone."""
        return self._client.status not in {"running", "connecting"}

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Let go of the cluster; without `wait`, what still runs on it is cancelled."""
        del cancel_futures
        if not self.is_lost():
            self._jobs.shutdown(wait=wait)
        self._close()


def connect(address: str, keys: Path) -> DaskExecutor:
    """Return the executor of the cluster whose scheduler listens at `address` (tls://…).

    Raises ExecutorUnavailableError, at once for an address without TLS.
    """
    if not address.startswith("tls://"):
        raise ExecutorUnavailableError(
            f"the Dask scheduler's address is {address!r}; it must begin with tls://"
        )
    dask.config.set(cluster_config(keys, "client"))
    try:
        client = Client(
            address,
            security=security(keys, "client"),
            timeout=CONNECT_SECONDS,
            set_as_default=False,
        )
    except (OSError, TimeoutError) as error:
        raise ExecutorUnavailableError(
            f"no Dask scheduler answers at {address}: {error}"
        ) from error
    return DaskExecutor(client, client.close)
