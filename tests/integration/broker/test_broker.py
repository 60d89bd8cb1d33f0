"""A real broker process: who may ask, kernels for a worker in its view, servers for the Hub."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from lms.outposts.broker.client import BrokerClient, BrokerRefusedError
from lms.outposts.broker.processes import ProcessName
from lms.protocol.broker import ServerLimits, ServerRequest, Verdict
from lms.protocol.disk import HomeUse
from tests.integration.broker.conftest import (
    HUB_UID,
    LEARNER_A,
    LEARNER_B,
    PROXY_UID,
    TEST_PROGRAM,
    WORKER_UID,
    BrokerProcess,
    run_as,
)

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="own uids need root"),
]

#: A worker's part: launches a kernel whose folder lies in the worker's own private /tmp.
LAUNCH = (
    "import sys, tempfile, time\n"
    "from lms.outposts.broker.launcher import BrokerLauncher, KernelRequest\n"
    "from lms.protocol.grading import Limits\n"
    "folder = tempfile.mkdtemp(); files = tempfile.mkdtemp()\n"
    "open(files + '/data.csv', 'w').write('1,2')\n"
    "process = BrokerLauncher(sys.argv[1]).launch(KernelRequest(\n"
    "    argv=(sys.executable, '-c', sys.argv[2]), connection_dir=folder, files_dir=files,\n"
    "    limits=Limits(memory_bytes=300 << 20)))\n"
)
WAIT = "print(process.wait(60), process.usage().verdict, process.usage().output_tail)"

WEB_SERVER = (
    "import http.server, os, sys\n"
    "open(os.path.expanduser('~/started'), 'w').write(str(os.getuid()))\n"
    "class Do(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        try: body = open(self.path, 'rb').read()\n"
    "        except OSError as error: return self.send_error(404, type(error).__name__)\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(body)\n"
    "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Do).serve_forever()"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(claim: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def request(
    broker: BrokerProcess, name: str, uid: int, source: str, *arguments: str, **limits: int
) -> ServerRequest:
    return ServerRequest(
        username=name,
        uid=uid,
        argv=(*TEST_PROGRAM, source, *arguments),
        home=str(broker.data / "homes" / name),
        limits=ServerLimits(**limits),
    )


def get(port: int, path: Path | str) -> str | None:
    """Return what the server at `port` reads at `path`; None when it cannot."""
    end = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            error.close()
            return None
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_worker_in_its_view_gets_a_kernel_with_its_files(broker: BrokerProcess) -> None:
    answer = run_as(
        WORKER_UID,
        LAUNCH + WAIT,
        str(broker.socket),
        "import os; print(os.getuid() >= 300000, open('data.csv').read())",
        folders=(broker.socket.parent,),
    )
    assert answer.said == "0 exited True 1,2\n\n", answer.said + broker.log.read_text()


def test_kernel_dies_with_the_worker_that_asked(broker: BrokerProcess) -> None:
    answer = run_as(
        WORKER_UID,
        LAUNCH + "print(process.pid, flush=True); import os; os._exit(0)",
        str(broker.socket),
        "import time; time.sleep(600)",
        folders=(broker.socket.parent,),
    )
    assert answer.code == 0
    keeper = ProcessName.of(int(answer.said))
    assert keeper is None or keeper.wait_for_end(5)


@pytest.mark.parametrize("uid", [PROXY_UID, LEARNER_A, 300_005])
def test_other_users_are_refused(broker: BrokerProcess, uid: int) -> None:
    answer = run_as(
        uid, LAUNCH + WAIT, str(broker.socket), "print(1)", folders=(broker.socket.parent,)
    )
    assert answer.code == 1
    assert f"uid {uid} may not use the broker" in answer.said


def test_worker_may_not_handle_servers_and_the_hub_may_not_launch_kernels(
    broker: BrokerProcess,
) -> None:
    poll = (
        "import sys; from lms.outposts.broker.client import BrokerClient\n"
        "print(BrokerClient(sys.argv[1]).poll_server('minsu').running)"
    )
    folders = (broker.socket.parent,)
    assert run_as(HUB_UID, poll, str(broker.socket), folders=folders).said == "False\n"
    worker = run_as(WORKER_UID, poll, str(broker.socket), folders=folders)
    assert "may not ask for poll_server" in worker.said
    hub = run_as(HUB_UID, LAUNCH + WAIT, str(broker.socket), "print(1)", folders=folders)
    assert "may not ask for launch" in hub.said


@pytest.mark.parametrize(
    "message",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"launch": {}, "probe": {}}',
        b'{"launch": {"argv": []}}',
        b'{"launch": {"argv": ["x"], "env": {}, "connection_dir": "/tmp/../etc", "limits": {}}}',
        b'{"launch":{"argv":["x"],"env":{},"connection_dir":"/x","limits":{"processes":0}}}',
        b'{"start_server": {"username": "../root", "limits": {}}}',
        b'{"poll_server": {"username": "a/b", "server_name": ""}}',
        b'{"remove_everything": {}}',
        b"[" * 100_000,
    ],
)
def test_nonsense_is_answered_with_an_error_and_the_broker_lives(
    broker: BrokerProcess, message: bytes
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(broker.socket))
        line.send(message)
        line.settimeout(20)
        assert "error" in json.loads(line.recv(65536))
    assert BrokerClient(broker.socket).probe().ok


def test_server_runs_as_its_learner_and_cannot_see_others(broker: BrokerProcess) -> None:
    client, homes = BrokerClient(broker.socket), broker.data / "homes"
    port_a, port_b = free_port(), free_port()
    client.start_server(request(broker, "a", LEARNER_A, WEB_SERVER, str(port_a)))
    client.start_server(request(broker, "b", LEARNER_B, WEB_SERVER, str(port_b)))
    assert get(port_a, homes / "a" / "started") == str(LEARNER_A)
    assert (homes / "a").stat().st_mode & 0o777 == 0o700
    assert (homes / "a" / "started").stat().st_uid == LEARNER_A
    assert get(port_b, homes / "a" / "started") is None
    assert get(port_a, broker.socket) is None
    assert get(port_a, "/etc/shadow") is None
    assert get(port_a, f"/proc/{os.getpid()}/environ") is None
    assert f":{LEARNER_A}:" in (get(port_a, "/etc/passwd") or "")


def test_even_with_one_mount_namespace_homes_are_closed_to_others(broker: BrokerProcess) -> None:
    client, homes = BrokerClient(broker.socket), broker.data / "homes"
    client.start_server(request(broker, "a", LEARNER_A, WEB_SERVER, str(free_port())))
    until((homes / "a" / "started").exists)
    answer = run_as(
        LEARNER_B, f"open({str(homes / 'a' / 'started')!r})", folders=(broker.data / "homes",)
    )
    assert "PermissionError" in answer.said


def test_server_survives_a_killed_broker_and_is_found_again(broker: BrokerProcess) -> None:
    client, port = BrokerClient(broker.socket), free_port()
    pid = client.start_server(request(broker, "a", LEARNER_A, WEB_SERVER, str(port)))
    assert get(port, "/etc/hostname") is not None
    broker.kill()
    broker.start()
    state = client.poll_server("a")
    assert (state.running, state.pid) == (True, pid)
    assert get(port, "/etc/hostname") is not None
    with pytest.raises(BrokerRefusedError, match="already has such a server"):
        client.start_server(request(broker, "a", LEARNER_A, WEB_SERVER, str(port)))
    ended = client.stop_server("a")
    assert (ended.running, ended.verdict, ended.exit_code) == (False, Verdict.KILLED, -15)


def test_server_ends_with_everything_it_started(broker: BrokerProcess) -> None:
    client = BrokerClient(broker.socket)
    nest = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0: os.setsid(); time.sleep(600)\n"
        "open(os.path.expanduser('~/started'), 'w').close()\n"
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    )
    client.start_server(request(broker, "a", LEARNER_A, nest))
    until((broker.data / "homes" / "a" / "started").exists)
    assert len(_of_uid(LEARNER_A)) == 4
    client.stop_server("a", now=True)
    assert _of_uid(LEARNER_A) == []


def test_kernel_of_a_server_over_its_memory_dies_and_the_server_lives(
    broker: BrokerProcess,
) -> None:
    client, port = BrokerClient(broker.socket), free_port()
    greedy = (
        "import os, sys\n"
        "if os.fork() == 0:\n"
        "    held = []\n"
        "    while True: held.append(bytearray(4 << 20))\n"
    ) + WEB_SERVER
    client.start_server(request(broker, "a", LEARNER_A, greedy, str(port), memory_bytes=150 << 20))
    assert get(port, "/etc/hostname") is not None
    until(lambda: len(_of_uid(LEARNER_A)) == 1)
    assert client.poll_server("a").running


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"uid": 0}, "no learner's"),
        ({"uid": WORKER_UID}, "no learner's"),
        ({"uid": 300_001}, "no learner's"),
        ({"home": "/root"}, "the home of a is"),
        ({"argv": ("/bin/sh", "-c", "id")}, "not a notebook server"),
        ({"username": ".."}, "username must be"),
    ],
)
def test_server_as_anyone_but_a_learner_is_refused(
    broker: BrokerProcess, change: dict[str, object], reason: str
) -> None:
    good = request(broker, "a", LEARNER_A, WEB_SERVER, "1").to_json()
    wrong = good | {key: list(v) if isinstance(v, tuple) else v for key, v in change.items()}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(broker.socket))
        line.send(json.dumps({"start_server": wrong}).encode())
        assert reason in json.loads(line.recv(65536))["error"]


def test_kernels_of_a_server_listen_where_no_other_learner_can_connect(
    broker: BrokerProcess,
) -> None:
    client = BrokerClient(broker.socket)
    source = "import os, sys; print(sys.argv[1:], os.environ['JUPYTER_RUNTIME_DIR'])"
    client.start_server(request(broker, "a", LEARNER_A, source))
    until(lambda: not client.poll_server("a").running)
    said = (broker.data / "logs" / "a~.log").read_text()
    assert said == "['--KernelManager.transport=ipc'] /tmp/jupyter\n"


def test_home_of_one_learner_is_never_given_to_another(broker: BrokerProcess) -> None:
    client = BrokerClient(broker.socket)
    client.start_server(request(broker, "a", LEARNER_A, WEB_SERVER, str(free_port())))
    client.stop_server("a")
    with pytest.raises(BrokerRefusedError, match="does not belong"):
        client.start_server(request(broker, "a", LEARNER_B, WEB_SERVER, str(free_port())))


def test_a_home_over_its_allowance_starts_all_the_same_and_is_told_of(
    broker: BrokerProcess,
) -> None:
    client = BrokerClient(broker.socket)
    full = HomeUse(username="a", used_bytes=2 << 20, limit_bytes=1, measured_at=1.0)
    broker.kill()
    (broker.data / "run" / "servers" / "homes" / "use.json").write_text(
        json.dumps([full.to_json()])
    )
    broker.start()
    wish = request(broker, "a", LEARNER_A, WEB_SERVER, str(free_port()), disk_bytes=1 << 20)
    assert client.start_server(wish) > 0
    (use,) = client.list_homes()
    assert (use.username, use.limit_bytes) == ("a", 1 << 20)
    # On a file system with quotas it counts anew.
    assert use.enforced or use.used_bytes == 2 << 20
    if not use.enforced:
        assert "1 homes are nearly full: a 200%" in " ".join(map(str, client.probe().missing))
    client.stop_server("a")


def test_home_that_is_a_link_is_refused(broker: BrokerProcess, tmp_path: Path) -> None:
    (broker.data / "homes").mkdir(exist_ok=True)
    (broker.data / "homes" / "a").symlink_to(tmp_path)
    os.chown(tmp_path, LEARNER_A, LEARNER_A)
    with pytest.raises(BrokerRefusedError, match="does not belong"):
        BrokerClient(broker.socket).start_server(
            request(broker, "a", LEARNER_A, WEB_SERVER, str(free_port()))
        )


def test_server_log_is_kept_and_a_crash_is_told(broker: BrokerProcess) -> None:
    client = BrokerClient(broker.socket)
    client.start_server(request(broker, "a", LEARNER_A, "print('hello'); raise SystemExit(3)"))
    until(lambda: not client.poll_server("a").running)
    assert client.poll_server("a").exit_code == 3
    assert (broker.data / "logs" / "a~.log").read_text() == "hello\n"


def test_killed_keeper_takes_its_server_with_it(broker: BrokerProcess) -> None:
    client = BrokerClient(broker.socket)
    pid = client.start_server(request(broker, "a", LEARNER_A, WEB_SERVER, str(free_port())))
    os.kill(pid, signal.SIGKILL)
    until(lambda: not _of_uid(LEARNER_A))
    assert not client.poll_server("a").running


def _of_uid(uid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == uid and ProcessName.of(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
