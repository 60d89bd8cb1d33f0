"""Who starts servers for the Hub: what children are told, and how a broker is waited for."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lms.outposts.broker.client import BrokerClient, BrokerUnavailableError
from lms.outposts.hub.launchers import BrokerLauncher, LocalLauncher, ServerStart
from lms.protocol.broker import ServerState


def test_servers_without_a_broker_find_the_kernels_of_environments(tmp_path: Path) -> None:
    told = tmp_path / "told"
    start = ServerStart(
        username="kim",
        server_name="",
        uid=0,
        argv=("/bin/sh", "-c", f'printf %s "$JUPYTER_PATH" > {told}.new; mv {told}.new {told}'),
        env={"PATH": "/usr/bin:/bin", "JUPYTER_PATH": "/own"},
        home=tmp_path / "home",
        log=tmp_path / "logs" / "kim.log",
        memory_bytes=0,
        processes=0,
        cpu_percent=0,
    )
    launcher = LocalLauncher(tmp_path / "environments")
    pid = launcher.start(start)
    end = time.monotonic() + 30
    while launcher.poll("kim", "", pid) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert told.read_text() == f"/own:{tmp_path / 'environments'}"


def _start_of(folder: Path) -> ServerStart:
    return ServerStart(
        username="kim",
        server_name="",
        uid=200001,
        argv=("server",),
        env={},
        home=folder,
        log=folder / "log",
        memory_bytes=0,
        processes=0,
    )


@contextmanager
def _broker(path: Path, after: float) -> Iterator[None]:
    """Answer as a broker does that is there only after some seconds."""

    def serve() -> None:
        time.sleep(after)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(path))
            listener.listen()
            state = ServerState(running=False).to_json()
            for answer in ({"server": state}, {"started": {"pid": 7}}):
                line, _ = listener.accept()
                with line:
                    line.recv(65536)
                    line.send(json.dumps(answer).encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    thread.join(10)


def test_a_start_waits_for_a_broker_that_is_being_started_again(tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with _broker(path, 0.3):
        assert BrokerLauncher(BrokerClient(path)).start(_start_of(tmp_path)) == 7


def test_a_start_does_not_wait_for_ever(tmp_path: Path) -> None:
    launcher = BrokerLauncher(BrokerClient(tmp_path / "none"), patience=0.2)
    begin = time.monotonic()
    with pytest.raises(BrokerUnavailableError):
        launcher.start(_start_of(tmp_path))
    assert 0.2 <= time.monotonic() - begin < 5
