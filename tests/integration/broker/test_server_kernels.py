"""Kernels of real notebook servers: forks that join the server's sandbox, and end with it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.integration.broker.conftest import LEARNER_A, LEARNER_B, SERVICE_GID, run_as
from tests.integration.broker.test_broker import _of_uid, until
from tests.integration.broker.test_server_zygote import Place, Server, place, status_of

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="own uids need root"),
]

_TOKEN = {"Authorization": "token do-not-tell-4711"}
WHO = "import os; print(os.readlink('/proc/self/ns/pid'), os.getpid())"


@dataclass
class Kernel:
    """A kernel as JupyterLab uses it."""

    server: Server
    id: str

    @classmethod
    def start(cls, server: Server) -> "Kernel":
        answer = requests.post(_url(server, "kernels"), json={}, headers=_TOKEN, timeout=120)
        return cls(server, answer.json()["id"])

    def ask(self, verb: str) -> int:
        url = _url(self.server, f"kernels/{self.id}/{verb}")
        return requests.post(url, headers=_TOKEN, timeout=60).status_code

    def end(self) -> int:
        url = _url(self.server, f"kernels/{self.id}")
        return requests.delete(url, headers=_TOKEN, timeout=60).status_code

    def run(self, source: str, *, interrupt_on: str = "") -> str:
        """Run a cell and return what it printed, an error's name included."""
        return asyncio.run(self._run(source, interrupt_on))

    def spend(self, source: str) -> None:
        """Run a cell that the kernel does not survive."""
        with contextlib.suppress(TimeoutError):
            asyncio.run(self._run(source, "", seconds=15))

    async def _run(self, source: str, interrupt_on: str, seconds: float = 90) -> str:
        url = _url(self.server, f"kernels/{self.id}/channels").replace("http:", "ws:")
        line = await websocket_connect(HTTPRequest(url, headers=_TOKEN))
        header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "version": "5.3"}
        content = {"code": source, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"header": header, "content": content, "channel": "shell"}
        await line.write_message(json.dumps(message | {"parent_header": {}, "metadata": {}}))
        try:
            return await self._read(line, interrupt_on, seconds)
        finally:
            line.close()
            while await line.read_message() is not None:
                pass

    async def _read(
        self, line: WebSocketClientConnection, interrupt_on: str, seconds: float
    ) -> str:
        printed = ""
        async with asyncio.timeout(seconds):
            while True:
                reply: dict[str, Any] = json.loads(await line.read_message() or "{}")
                if reply.get("parent_header", {}).get("msg_id") != "1":
                    continue
                printed += str(reply["content"].get("text", ""))
                if reply["msg_type"] == "error":
                    printed += str(reply["content"]["ename"])
                if interrupt_on and interrupt_on in printed:
                    interrupt_on = ""
                    await asyncio.to_thread(self.ask, "interrupt")
                if reply["content"].get("execution_state") == "idle":
                    return printed.strip()


def _url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.port}/user/{server.name}/api/{path}"


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    with place() as one:
        yield one


@pytest.fixture
def server(shared: Place) -> Iterator[Server]:
    yield shared.start("a", LEARNER_A)
    shared.client.stop_server("a", now=True)


def kernels() -> list[int]:
    return [pid for pid in _of_uid(LEARNER_A) if status_of(pid)["Name"] == "seodang-kernel"]


def test_a_kernel_is_a_fork_inside_its_server(server: Server) -> None:
    main = server.pid(LEARNER_A)
    kernel = Kernel.start(server)
    space = Path(f"/proc/{main}/ns/pid").readlink()
    assert kernel.run(WHO).split()[0] == str(space)
    (pid,) = kernels()
    status = status_of(pid)
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert set(status["Uid"].split()) == {str(LEARNER_A)}
    assert Path(f"/proc/{pid}/ns/mnt").readlink() == Path(f"/proc/{main}/ns/mnt").readlink()
    outer = Path(f"/proc/{main}/cgroup").read_text().splitlines()
    inner = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    parts = [line for line in inner if "/kernel-" in line]
    assert parts
    for line in parts:
        assert line.rpartition("/kernel-")[0] in {name.removesuffix("/main") for name in outer}
    home = Path(f"/proc/{main}/cwd").readlink()
    assert kernel.run("import os; print(os.getcwd())") == str(home)
    assert kernel.end() == 204
    until(lambda: kernels() == [])


def test_a_kernel_is_interrupted_and_started_again(server: Server) -> None:
    kernel = Kernel.start(server)
    source = "print('now', flush=True); import time; time.sleep(600)"
    assert kernel.run(source, interrupt_on="now").endswith("KeyboardInterrupt")
    left = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True); x = 1"
    assert kernel.run(left) == ""
    first = kernels()
    assert kernel.ask("restart") == 200
    assert kernel.run("print('x' in globals())") == "False"
    assert kernels() != first
    # What the old kernel had started has ended with it.
    assert "sleep" not in {status_of(pid)["Name"] for pid in _of_uid(LEARNER_A)}
    assert kernel.end() == 204


def test_a_stopped_server_leaves_no_kernel(shared: Place, server: Server) -> None:
    two = [Kernel.start(server), Kernel.start(server)]
    assert [kernel.run("print(1 + 1)") for kernel in two] == ["2", "2"]
    assert len(kernels()) == 2
    shared.client.stop_server("a", now=True)
    assert _of_uid(LEARNER_A) == []
    folder = shared.broker.data / "run" / "servers" / "kernels"
    until(lambda: not list(folder.iterdir()))


def _oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


#: Many small processes: no one of them holds as much as the server does.
CROWD = """
import mmap, os, time
for _ in range(40):
    if os.fork() == 0:
        held = mmap.mmap(-1, 40 << 20); held.write(b'x' * (40 << 20)); time.sleep(600)
    time.sleep(0.02)
"""


def test_memory_is_taken_from_kernels_and_never_from_their_server(server: Server) -> None:
    main = server.pid(LEARNER_A)
    beside = Kernel.start(server)
    assert beside.run("x = 5") == ""
    kernel = Kernel.start(server)
    kernel.spend(CROWD)
    assert Path(f"/proc/{main}").exists()
    assert server.answers()
    assert beside.run("print(x)") == "5"
    for one in kernels():
        assert _oom_score(one) > _oom_score(main)
    assert kernel.end() == 204


def test_a_kernel_that_used_too_much_memory_says_so_in_the_notebook(server: Server) -> None:
    kernel = Kernel.start(server)
    assert kernel.run("x = 5; print(x)") == "5"
    (first,) = kernels()
    kernel.spend("held = []\nwhile True: held.append(bytearray(8 << 20))")
    until(lambda: len(kernels()) == 1 and first not in kernels())
    said = kernel.run("print('x' in globals())")
    assert "메모리" in said
    assert "This kernel used more memory than it may and was ended" in said
    assert said.endswith("False")
    # Once is enough, and an end that was wished for is none of memory.
    assert kernel.run("print(1)") == "1"
    assert kernel.ask("restart") == 200
    assert kernel.run("print(2)") == "2"
    assert kernel.end() == 204


@pytest.mark.parametrize("uid", [LEARNER_A, LEARNER_B])
def test_who_is_not_in_a_server_gets_no_kernel(shared: Place, server: Server, uid: int) -> None:
    assert server.answers()
    ask = (
        "import json, socket, sys\n"
        "line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); line.connect(sys.argv[1])\n"
        "wanted = {'connection_file': '/tmp/k', 'env': {}, 'cwd': '/'}\n"
        "line.send(json.dumps({sys.argv[2]: wanted}).encode()); print(line.recv(4096).decode())"
    )
    door = shared.broker.data / "run" / "kernels" / str(LEARNER_A)
    # Where its owner alone may go.
    os.chown(door, 0, SERVICE_GID)
    said = run_as(uid, ask, str(door / "broker.sock"), "server_kernel", folders=(door,)).said
    assert ("does not ask from a notebook server" in said) == (uid == LEARNER_A), said
    said = run_as(uid, ask, str(door / "broker.sock"), "poll_server", folders=(door,)).said
    assert ("may not ask for poll_server" in said) == (uid == LEARNER_A), said
    os.chown(door, 0, LEARNER_A)


def knock(uid: int, door: Path) -> str:
    """Return what a door answers to a person, or what keeps that person from it."""
    ask = (
        "import os, socket, sys; os.setgroups([]); os.setresgid(*3 * [int(sys.argv[1])])\n"
        "os.setresuid(*3 * [int(sys.argv[1])])\n"
        "line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); line.settimeout(2)\n"
        "line.connect(sys.argv[2]); line.send(b'[]'); print(line.recv(4096))"
    )
    words = [sys.executable, "-I", "-S", "-c", ask, str(uid), str(door)]
    tried = subprocess.run(words, capture_output=True, text=True, check=False)
    return tried.stdout or tried.stderr.splitlines()[-1]


def test_a_door_is_open_to_its_owner(shared: Place, server: Server) -> None:
    assert server.answers()
    door = shared.broker.data / "run" / "kernels" / str(LEARNER_A) / "broker.sock"
    assert "a request is an object" in knock(LEARNER_A, door)
    assert "Permission denied" in knock(LEARNER_B, door)
    assert knock(0, door).startswith(("b''", "BrokenPipe", "ConnectionReset"))


def test_the_other_door_starts_no_kernel_for_servers(shared: Place) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(str(shared.broker.socket))
        line.send(b'{"server_kernel": {}}')
        assert "may not ask for server_kernel" in line.recv(4096).decode()


NONSENSE = """
import json, os, socket
def ask(data):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.settimeout(30); line.connect(os.environ['LMS_KERNEL_BROKER']); line.send(data)
        return 'error' in json.loads(line.recv(65536))
good = {'connection_file': '/tmp/k', 'env': {}, 'cwd': '/'}
wrong = [{'env': {'A': chr(0xd800)}}, {'env': {'A=B': ''}}, {'cwd': '/../root'}, {'lease': '../x'},
    {'lease': 5}, {'connection_file': 'x'}, {'environment': '../../x'}]
frames = [json.dumps({'server_kernel': good | one}).encode() for one in wrong]
frames += [b'[' * 60000, b'1' * 60000, bytes([255, 254]), b'{' + b' ' * 150000, b'{"probe": {}}',
    json.dumps({'x' + chr(10) + 'INFO forged': 1}).encode()] * 9
print({ask(one) for one in frames})
"""


def test_nonsense_is_refused_and_fills_no_log(shared: Place, server: Server) -> None:
    kernel = Kernel.start(server)
    before = shared.broker.log.stat().st_size
    assert kernel.run(NONSENSE) == "{True}"
    said = shared.broker.log.read_bytes()[before:]
    assert b"Traceback" not in said
    assert b"\nINFO forged" not in said
    assert kernel.run("print(1 + 1)") == "2"
    assert shared.client.probe().ok


@pytest.mark.slow
def test_without_a_broker_kernels_start_the_stock_way(shared: Place, server: Server) -> None:
    before = Kernel.start(server)
    assert before.run("x = 5") == ""
    shared.broker.kill()
    try:
        stock = Kernel.start(server)
        assert stock.run("print(2 + 2)") == "4"
        assert len(kernels()) == 1
        assert before.run("print(x)") == "5"
    finally:
        shared.broker.start()
    assert stock.ask("restart") == 200
    assert stock.run("print(3 + 3)") == "6"
    assert len(kernels()) == 2
    lost = kernels()[0]
    os.kill(lost, signal.SIGKILL)
    # Jupyter starts a lost kernel again.
    until(lambda: len(kernels()) == 2 and lost not in kernels())


def _lingering(stack: contextlib.ExitStack) -> socket.socket:
    """Return a connection whose last holder waits half a minute in `close`."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    line = socket.create_connection(listener.getsockname())
    stack.enter_context(listener.accept()[0])
    line.settimeout(0)
    for _ in range(8):  # what nobody reads fills both ends
        with contextlib.suppress(BlockingIOError):
            while True:
                line.send(bytes(1 << 16))
        time.sleep(0.05)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
    return line


@contextlib.contextmanager
def besieged(shared: Place, door: Path, callers: int, message: bytes) -> Iterator[None]:
    """Send lingering connections through a door, of which the broker is the last holder."""
    with contextlib.ExitStack() as stack:
        shared.broker.send_signal(signal.SIGSTOP)
        try:
            for _ in range(callers):
                trap = _lingering(stack)
                line = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                line.setblocking(False)  # noqa: FBT003 - has no keyword
                try:
                    line.connect(str(door))
                    socket.send_fds(line, [message], [trap.fileno()])
                except BlockingIOError:  # no more fit before the door
                    trap.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
                trap.close()
        finally:
            shared.broker.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        yield


@pytest.mark.parametrize(("callers", "message"), [(1, b"{}"), (8, b"{}"), (1, b"")])
def test_nobody_waits_for_what_a_caller_lets_linger(
    shared: Place, server: Server, callers: int, message: bytes
) -> None:
    door = shared.broker.data / "run" / "kernels" / str(LEARNER_A) / "broker.sock"
    assert server.answers()
    with besieged(shared, door, callers, message):
        began = time.monotonic()
        assert shared.client.probe().ok
        assert time.monotonic() - began < 5


def test_what_lingers_at_the_other_door_holds_up_for_a_moment(shared: Place) -> None:
    with besieged(shared, shared.broker.socket, 3, b"{}"):
        began = time.monotonic()
        assert shared.client.probe().ok
        assert time.monotonic() - began < 5


def test_who_shuts_a_door_shuts_out_nobody_else(shared: Place, server: Server) -> None:
    other = shared.start("b", LEARNER_B)
    assert Kernel.start(other).run("print(1 + 1)") == "2"  # the zygote has come
    door = shared.broker.data / "run" / "kernels" / str(LEARNER_A) / "broker.sock"
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(besieged(shared, door, 30, b"{}"))
            quiet = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(64)]
            for line in quiet:
                stack.enter_context(line).setblocking(False)  # noqa: FBT003 - has no keyword
                with contextlib.suppress(BlockingIOError):
                    line.connect(str(door))
            for line in quiet[:3]:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_WR)
            began = time.monotonic()
            kernel = Kernel.start(other)
            assert kernel.run("print(2 + 2)") == "4"
            assert time.monotonic() - began < 10
            names = [status_of(pid)["Name"] for pid in _of_uid(LEARNER_B)]
            assert "seodang-kernel" in names
        # And the door opens again, for its owner as well.
        until(lambda: "a request is an object" in knock(LEARNER_A, door))
        mine = Kernel.start(server)
        assert mine.run("print(3 + 3)") == "6"
        assert len(kernels()) == 1
    finally:
        shared.client.stop_server("b", now=True)


@pytest.mark.slow
def test_doors_are_there_for_servers_that_outlive_a_broker(shared: Place, server: Server) -> None:
    shared.broker.kill()
    shared.broker.start()
    kernel = Kernel.start(server)
    assert kernel.run("print(4 + 4)") == "8"
    assert len(kernels()) == 1
