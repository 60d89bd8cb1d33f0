"""A Dask cluster speaks TLS with its own and with nobody else; and what is lost with its parts."""

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import dask.config
import pytest
from distributed import Client
from distributed.scheduler import KilledWorker

from lms.foundation import clock
from lms.outposts.executors.base import ExecutorUnavailableError
from lms.outposts.executors.certificates import (
    AUTHORITY,
    certificate_path,
    key_path,
    make_certificates,
)
from lms.outposts.executors.dask import DaskExecutor, connect
from tests.fakes import jobs
from tests.integration.worker.cluster import Cluster, listening, make_cluster

PLAIN = b"GET /info/main/workers.html HTTP/1.0\r\n\r\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and one worker."""
    cluster = make_cluster(tmp_path_factory.mktemp("cluster"))
    cluster.start_worker()
    yield cluster
    cluster.end()


@pytest.fixture
def executor(cluster: Cluster) -> Iterator[DaskExecutor]:
    executor = connect(cluster.address, cluster.keys)
    executor.client.wait_for_workers(1, timeout=60)
    yield executor
    executor.shutdown(wait=False, cancel_futures=True)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of an authority that looks like ours."""
    folder = tmp_path_factory.mktemp("stranger")
    make_certificates(folder, now=clock.now())
    return folder


def test_jobs_run_on_a_worker_and_nothing_there_listens_without_tls(
    cluster: Cluster, executor: DaskExecutor
) -> None:
    assert executor.submit(jobs.add, 2, 3).result(60) == 5
    assert executor.submit(jobs.pid).result(60) == cluster.workers[0].pid
    for part in (cluster.scheduler, cluster.workers[0]):
        ports = listening(part.pid)
        assert ports
        for port in ports:
            assert _speaks_tls(port, cluster.keys), f"{port} of {ports}"
            assert not _answers_plainly(port), f"{port} of {ports}"


def _speaks_tls(port: int, keys: Path) -> bool:
    context = ssl.create_default_context(cafile=str(certificate_path(keys, AUTHORITY)))
    context.load_cert_chain(certificate_path(keys, "client"), key_path(keys, "client"))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        return line.version() == "TLSv1.3"


def _answers_plainly(port: int) -> bytes:
    """Return what a port says to who speaks no TLS, but for TLS's own word that this is wrong."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(PLAIN)
        try:
            answer = line.recv(1000)
        except ConnectionResetError:
            answer = b""
    return b"" if answer[:1] == b"\x15" else answer


def test_a_stranger_without_tls_is_refused(cluster: Cluster) -> None:
    address = cluster.address.replace("tls://", "tcp://")
    # A stranger's own settings ask for nothing; ours, once loaded, would stop him here already.
    with (
        dask.config.set({"distributed.comm.require-encryption": False}),
        pytest.raises(OSError, match=r"[Tt]imed out|closed|reset"),
    ):
        Client(address, timeout="2s", set_as_default=False)
    with pytest.raises(ExecutorUnavailableError, match="must begin with tls://"):
        connect(address, cluster.keys)


def test_a_stranger_with_certificates_of_his_own_is_refused(
    cluster: Cluster, stranger: Path
) -> None:
    with pytest.raises(ExecutorUnavailableError, match="no Dask scheduler answers"):
        connect(cluster.address, stranger)
    # He who trusts anybody, and whose authority has the name of ours.
    assert _refusal(cluster.port, stranger) == "TLSV1_ALERT_DECRYPT_ERROR"
    # And he who shows nothing.
    assert _refusal(cluster.port, None) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def _refusal(port: int, keys: Path | None) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if keys is not None:
        context.load_cert_chain(certificate_path(keys, "client"), key_path(keys, "client"))
    with (
        pytest.raises(ssl.SSLError) as refused,
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as line,
    ):
        # In TLS 1.3 a server looks at the client's certificate after the client is done.
        assert line.recv(1) == b"", "a stranger was let in"
    return str(refused.value.reason)


def test_nobody_gets_to_a_scheduler_with_half_of_the_certificates(
    cluster: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(ExecutorUnavailableError, match=r"authority\.pem is not there"):
        connect(cluster.address, tmp_path)


def test_certificates_are_made_once_and_keys_are_their_owners_alone(
    tmp_path: Path, stranger: Path
) -> None:
    with pytest.raises(FileExistsError):
        make_certificates(stranger, now=clock.now())
    for role in (AUTHORITY, "scheduler", "worker", "client"):
        assert key_path(stranger, role).stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_job_that_kills_its_worker_is_tried_once(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path)
    try:
        executor = connect(cluster.address, cluster.keys)
        cluster.start_worker()
        cluster.start_worker()
        executor.client.wait_for_workers(2, timeout=60)
        with pytest.raises(KilledWorker):
            executor.submit(jobs.die).result(60)
        assert executor.submit(jobs.add, 1, 1).result(60) == 2
        executor.shutdown(wait=False)
    finally:
        cluster.end()


@pytest.mark.slow
def test_what_a_lost_scheduler_had_is_cancelled_and_another_can_be_reached(
    tmp_path: Path,
) -> None:
    cluster = make_cluster(tmp_path)
    try:
        executor = connect(cluster.address, cluster.keys)
        cluster.start_worker()
        executor.client.wait_for_workers(1, timeout=60)
        future = executor.submit(jobs.wait_in, str(tmp_path), 600)
        assert not executor.is_lost()
        end = time.monotonic() + 60
        while not (tmp_path / str(cluster.workers[0].pid)).exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        cluster.scheduler.kill()
        with pytest.raises(CancelledError):
            future.result(60)
        # The job would go on for ten minutes: nobody waits for it any more.
        assert cluster.workers[0].wait(60) == 0
        end = time.monotonic() + 30
        while not executor.is_lost():
            assert time.monotonic() < end
            time.sleep(0.1)
        with pytest.raises(ExecutorUnavailableError):
            executor.submit(jobs.add, 1, 1)
        executor.shutdown(wait=False)
        cluster.scheduler.wait()
        cluster.start_scheduler()
        cluster.start_worker()
        again = connect(cluster.address, cluster.keys)
        assert again.submit(jobs.add, 1, 1).result(60) == 2
        again.shutdown(wait=False)
    finally:
        cluster.end()
