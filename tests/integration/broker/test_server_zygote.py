"""Real notebook servers as forks of a zygote: as closed in as executed ones, and as long-lived."""

import contextlib
import json
import os
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lms.foundation.resources import resource_dir
from lms.outposts.broker.client import BrokerClient
from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.servers import SERVER_PROGRAMS
from lms.protocol.broker import ServerLimits, ServerRequest, Verdict
from tests.fakes.small_hub import server_environment, small_hub
from tests.integration.broker.conftest import LEARNER_A, BrokerProcess
from tests.integration.broker.test_broker import free_port, until

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="own uids need root"),
]


@dataclass
class Place:
    """A broker, and the Hub that its servers ask."""

    broker: BrokerProcess
    hub_port: int

    @property
    def client(self) -> BrokerClient:
        return BrokerClient(self.broker.socket)

    def start(self, name: str, uid: int) -> "Server":
        """Start a server and wait until it answers."""
        port = free_port()
        keeper = self.client.start_server(
            ServerRequest(
                username=name,
                uid=uid,
                argv=(*SERVER_PROGRAMS[0], "--ServerApp.log_level=INFO"),
                env=server_environment(self.hub_port, port, name)
                | {"JUPYTER_CONFIG_PATH": str(resource_dir("hub_config"))},
                home=str(self.broker.data / "homes" / name),
                limits=ServerLimits(memory_bytes=700 << 20, processes=99, cpu_percent=150),
            )
        )
        server = Server(name, keeper, port)
        until(server.answers, 60)
        return server


@dataclass
class Server:
    """A notebook server that listens."""

    name: str
    keeper: int
    port: int

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.port}/user/{self.name}/api"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return "version" in json.loads(answer.read())
        return False

    def pid(self, uid: int) -> int:
        """Return the pid of the server itself, which leads a session."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                if entry.stat().st_uid == uid and os.getsid(pid) == pid and ProcessName.of(pid):
                    found.append(pid)
        assert len(found) == 1, [_said(Path(f"/proc/{pid}/cmdline")) for pid in found]
        return found[0]


def _said(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@contextlib.contextmanager
def place(server_zygote: str = "") -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="b-") as folder, small_hub() as port:
        Path(folder).chmod(0o711)
        broker = BrokerProcess(Path(folder), server_zygote=server_zygote)
        try:
            yield Place(broker, port)
        finally:
            broker.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    """One broker for all tests of this file: its zygote takes seconds to start."""
    with place() as one:
        yield one


def zygotes(kind: str) -> list[ProcessName]:
    """Return the zygotes of that kind which are our own brokers'."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or _said(entry / "comm").strip() != "seodang-zygote":
            continue
        name = ProcessName.of(int(entry.name))
        if name and f"'{kind}'" in _said(entry / "cmdline") and _is_ours(name.pid):
            found.append(name)
    return found


def _is_ours(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_forked_server_is_its_learner_with_every_limit_on(shared: Place) -> None:
    server = shared.start("a", LEARNER_A)
    pid = server.pid(LEARNER_A)
    status = status_of(pid)
    assert status["Name"] == "seodang-server"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {str(LEARNER_A)}
    assert status["Groups"] == ""
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert os.getsid(pid) == os.getpgid(pid) == pid
    for kind in ("mnt", "pid", "ipc", "uts"):
        ours = Path(f"/proc/self/ns/{kind}").readlink()
        assert Path(f"/proc/{pid}/ns/{kind}").readlink() != ours, kind
    home = shared.broker.data / "homes" / "a"
    assert Path(f"/proc/{pid}/cwd").readlink() == home
    limits = group_limits(pid)
    assert limits["memory"] == 700 << 20
    assert limits["pids"] == 101
    assert limits["cpu"] in {150, None}
    assert shared.client.stop_server("a").verdict is Verdict.KILLED
    assert not Path(f"/proc/{pid}").exists()
    log = (shared.broker.data / "logs" / "a~.log").read_text()
    assert "Jupyter Server" in log
    assert "do-not-tell-4711" not in log


def group_limits(pid: int) -> dict[str, int | None]:
    """Return what the control groups of a process allow, with either version."""
    limits: dict[str, int | None] = {"cpu": None}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        for kind, name in (
            ("memory", "memory.limit_in_bytes"),
            ("pids", "pids.max"),
            ("cpu", "cpu.cfs_quota_us"),
        ):
            file = Path(f"/sys/fs/cgroup/{kind}{path}/{name}")
            if kind in kinds.split(",") and file.exists():
                number = int(file.read_text())
                limits[kind] = number // 1000 if kind == "cpu" else number
    return limits


def test_one_servers_token_is_not_in_anothers_memory_or_environment(shared: Place) -> None:
    server = shared.start("a", LEARNER_A)
    pid = server.pid(LEARNER_A)
    assert b"do-not-tell" not in Path(f"/proc/{pid}/environ").read_bytes()
    (zygote,) = zygotes("servers")
    assert b"do-not-tell" not in Path(f"/proc/{zygote.pid}/environ").read_bytes()
    assert not _memory_holds(zygote.pid, b"do-not-tell-" + b"4711")
    assert _memory_holds(pid, b"do-not-tell-" + b"4711")
    shared.client.stop_server("a", now=True)


def _memory_holds(pid: int, word: bytes) -> bool:
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            low, high = (int(number, 16) for number in span.split("-"))
            if rights.startswith("rw") and low < 1 << 47:
                memory.seek(low)
                with contextlib.suppress(OSError):
                    if word in memory.read(high - low):
                        return True
    return False


def test_servers_outlive_their_zygote_and_the_next_gets_another(shared: Place) -> None:
    first = shared.start("a", LEARNER_A)
    (zygote,) = zygotes("servers")
    os.kill(zygote.pid, signal.SIGKILL)
    assert zygote.wait_for_end(10)
    assert first.answers()
    second = shared.start("b", LEARNER_A + 1)
    assert second.answers()
    for name in ("a", "b"):
        assert not shared.client.stop_server(name).running


@pytest.mark.slow
def test_servers_outlive_a_killed_broker_and_are_found_again(shared: Place) -> None:
    server = shared.start("a", LEARNER_A)
    shared.broker.kill()
    shared.broker.start()
    assert server.answers()
    state = shared.client.poll_server("a")
    assert (state.running, state.pid) == (True, server.keeper)
    ended = shared.client.stop_server("a")
    assert (ended.running, ended.verdict) == (False, Verdict.KILLED)
    assert shared.start("a", LEARNER_A).answers()
    shared.client.stop_server("a", now=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "broken"])
def test_without_a_zygote_a_server_is_executed_and_the_reason_told(kind: str) -> None:
    with place(kind) as one:
        server = one.start("a", LEARNER_A)
        assert status_of(server.pid(LEARNER_A))["Name"] != "seodang-server"
        reasons = [str(reason) for reason in one.client.probe().missing]
        assert any("start slowly" in reason for reason in reasons) == (kind == "broken"), reasons
        assert ("cannot start" in one.broker.log.read_text()) == (kind == "broken")
