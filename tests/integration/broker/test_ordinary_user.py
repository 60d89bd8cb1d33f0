"""Sandboxes of a user who is not root, in user namespaces; and the operator's unsafe mode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lms.outposts.broker.layout import program_folders

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="root becomes the ordinary user here"),
]

#: Becomes uid 4321 where it can read Python and our code, wherever those lie on this machine:
#: folders closed to others are covered by open ones in a mount namespace of this process.
BECOME = """
import json, os, stat, sys
from lms.outposts.broker import syscalls as s
folders = json.loads(sys.argv[1])
s.unshare(s.CLONE_NEWNS)
s.mount(None, "/", None, s.MS_REC | s.MS_PRIVATE)
trees = {path: s.clone_tree(path, read_only=True) for path in folders if os.path.isdir(path)}
for path in trees:
    parts = path.split("/")
    for count in range(2, len(parts)):
        above = "/".join(parts[:count])
        if os.path.isdir(above) and not os.stat(above).st_mode & stat.S_IXOTH:
            s.mount("tmpfs", above, "tmpfs", 0, "mode=755")
    if not os.path.isdir(path) or not os.listdir(path):
        os.makedirs(path, exist_ok=True)
        s.attach(trees[path], path)
os.setgroups([])
os.setresgid(4321, 4321, 4321)
os.setresuid(4321, 4321, 4321)
"""

LAUNCH = """
import tempfile
from lms.outposts.broker.launcher import DirectLauncher, KernelRequest, probe
from lms.protocol.grading import Limits

def run(source, **limits):
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        process = DirectLauncher(unsafe=UNSAFE).launch(KernelRequest(
            argv=(sys.executable, "-c", source), connection_dir=folder, limits=Limits(**limits)))
        code = process.wait(60)
        usage = process.usage()
        return [code, usage.verdict, usage.output_tail.strip()]
"""
UNSAFE = "UNSAFE = False\n"

#: The program "cells" instead: a zygote's fork.
CELLS = """
import socket
from lms.outposts.kernels.frames import Line

def run(source, **limits):
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        ours, theirs = socket.socketpair()
        process = DirectLauncher(unsafe=UNSAFE).launch(KernelRequest(program="cells",
            argv=("c",), connection_dir=folder, limits=Limits(**limits)), theirs)
        line = Line(ours, limit_bytes=1 << 24)
        line.receive(60)
        line.send({"do": "execute", "id": 1, "source": source})
        said = ""
        try:
            while "done" not in (header := line.receive(60)[0]):
                said += header["content"].get("text", "") + header["content"].get("ename", "")
        except Exception as error:
            said += type(error).__name__
        else:
            process.kill()
        process.wait(60)
        ours.close()
        return [process.usage().verdict, said.strip()]
"""


def as_ordinary_user(source: str) -> object:
    """Run `source`, which prints JSON, as a user without rights."""
    result = subprocess.run(
        [sys.executable, "-c", BECOME + UNSAFE + LAUNCH + source, json.dumps(program_folders())],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_probe_finds_a_sandbox_without_own_uids() -> None:
    report = as_ordinary_user("print(json.dumps(probe().to_json()))")
    assert isinstance(report, dict)
    assert (report["namespaces"], report["seccomp"], report["own_uids"]) == (True, True, False)


def test_program_is_nobody_special_and_sees_no_files_of_its_user(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    tmp_path.chmod(0o777)
    inside = (
        "import os\n"
        f"print(os.getuid() >= 300000, os.path.exists({str(tmp_path / 'mine')!r}),"
        " os.listdir('/proc/1/task') == ['1'],"
        " [l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')])"
    )
    answer = as_ordinary_user(f"print(json.dumps(run({inside!r})))")
    assert answer == [0, "exited", "True False True ['0000000000000000']"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("open('/usr/x', 'w')", "Read-only file system"),
        ("import socket; socket.create_connection(('192.0.2.1', 80), 2)", "unreachable"),
        ("open('/etc/shadow')", "No such file"),
    ],
)
def test_walls_stand_without_root_too(source: str, expected: str) -> None:
    answer = as_ordinary_user(f"print(json.dumps(run({source!r})))")
    assert isinstance(answer, list)
    assert answer[0] == 1
    assert expected in answer[2]


def test_watchdog_reports_a_memory_bomb_where_there_are_no_control_groups() -> None:
    bomb = "held = []\nwhile True: held.append(bytearray(8 << 20))"
    answer = as_ordinary_user(f"print(json.dumps(run({bomb!r}, memory_bytes=150 << 20)))")
    assert isinstance(answer, list)
    assert answer[1] == "out_of_memory"


def test_watchdog_counts_shared_memory_and_children() -> None:
    bomb = (
        "import mmap, os, time\n"
        "if os.fork() == 0:\n"
        "    shared = mmap.mmap(-1, 1 << 30)\n"
        "    while True: shared.write(b'x' * (1 << 20))\n"
        "time.sleep(60)"
    )
    answer = as_ordinary_user(f"print(json.dumps(run({bomb!r}, memory_bytes=150 << 20)))")
    assert isinstance(answer, list)
    assert answer[1] == "out_of_memory"


def test_memory_that_no_process_holds_is_denied_under_the_watchdog() -> None:
    source = "import os; os.memfd_create('x')"
    answer = as_ordinary_user(f"print(json.dumps(run({source!r})))")
    assert isinstance(answer, list)
    assert "PermissionError" in answer[2]


def test_broker_of_an_ordinary_user_serves_that_user_alone() -> None:
    source = """
import threading
from pathlib import Path
from lms.outposts.broker.client import BrokerClient
from lms.outposts.broker.server import Broker, BrokerConfig
from lms.outposts.broker.servers import ServerPlaces
from lms.protocol.broker import ServerRequest
with tempfile.TemporaryDirectory(prefix="b-") as folder:
    data = Path(folder)
    broker = Broker(BrokerConfig(socket_path=data / "s", places=ServerPlaces(
        homes_dir=data / "homes", state_dir=data / "state", logs_dir=data / "logs",
        learner_first=200000, learner_end=290000, programs=((sys.executable, "-c"),)),
        worker_uid=190003, hub_uid=190002))
    thread = threading.Thread(target=broker.run)
    thread.start()
    import time
    while not (data / "s").exists(): time.sleep(0.01)
    client = BrokerClient(data / "s")
    program = (
        "import os, pty; pty.openpty()\\n"
        "print(os.getuid(), os.listdir(os.path.dirname(os.getcwd())))\\n"
        "open('kept', 'w').close()"
    )
    client.start_server(ServerRequest(username="a", uid=200001,
        argv=(sys.executable, "-c", program), home=str(data / "homes" / "a")))
    while client.poll_server("a").running: time.sleep(0.02)
    state = client.poll_server("a")
    broker.stop()
    thread.join()
    log = (data / "logs" / "a~.log").read_text()
    print(json.dumps([state.exit_code, log, (data / "homes/a/kept").exists()]))
"""
    assert as_ordinary_user(source) == [0, "200001 ['a']\n", True]


class TestForks:
    """A zygote's forks where nobody is root: the fork is the keeper, in a user namespace."""

    def test_fork_has_no_capability_and_sees_no_process_but_its_own(self) -> None:
        source = (
            "import os\n"
            "caps = {l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')}\n"
            "print(os.getuid() >= 300000, caps, sorted(n for n in os.listdir('/proc')"
            " if n.isdigit())[:3])"
        )
        answer = as_ordinary_user(f"{CELLS}\nprint(json.dumps(run({source!r})))")
        assert answer == ["killed", f"True {{'{'0' * 16}'}} ['1', '2']"]

    def test_fork_cannot_reach_its_keeper(self) -> None:
        source = (
            "import ctypes, os\n"
            "c = ctypes.CDLL(None)\n"
            "found = [c.ptrace(16, 1, 0, 0), c.unshare(0x10000000), c.unshare(0x20000)]\n"
            "for path in ('/proc/1/mem', '/proc/1/environ'):\n"
            "    try: found.append(len(open(path, 'rb').read(1)))\n"
            "    except OSError as error: found.append(type(error).__name__)\n"
            "os.kill(1, 2); os.kill(1, 9)\n"
            "print(found)"
        )
        answer = as_ordinary_user(f"{CELLS}\nprint(json.dumps(run({source!r})))")
        assert answer == ["killed", "[-1, -1, -1, 'PermissionError', 'PermissionError']"]

    def test_memory_shared_with_the_zygote_is_not_counted_but_a_bomb_is(self) -> None:
        forks = (
            "import os, time\n"
            "children = [os.fork() for _ in range(1)]\n"
            "if 0 in children: time.sleep(1); os._exit(0)\n"
            "[os.waitpid(child, 0) for child in children]; print('fine')"
        )
        bomb = "held = []\nwhile True: held.append(bytearray(8 << 20))"
        limit = "memory_bytes=150 << 20"
        answer = as_ordinary_user(
            f"{CELLS}\nprint(json.dumps([run({forks!r}, {limit}), run({bomb!r}, {limit})[0]]))"
        )
        assert answer == [["killed", "fine"], "out_of_memory"]

    def test_fork_runs_without_a_sandbox_where_the_operator_allows_it(self) -> None:
        source = (
            "import os; a = os.fork()\n"
            "if a == 0: os.setsid(); import time; time.sleep(600)\n"
            "print(a)"
        )
        answer = as_ordinary_user(
            f"{TestUnsafe.LOCKED}{CELLS}\nUNSAFE = True\n"
            f"verdict, child = run({source!r})\n"
            "from lms.outposts.broker.processes import ProcessName\n"
            "name = ProcessName.of(int(child))\n"
            "print(json.dumps([verdict, name is None or name.wait_for_end(5)]))"
        )
        assert answer == ["killed", True]


class TestUnsafe:
    """LMS_UNSAFE_GRADING: a machine without namespaces, which a seccomp filter plays here."""

    #: Refuse unshare from now on, as a locked-down machine does.
    LOCKED = (
        "from lms.outposts.broker import seccomp\n"
        "s.prctl(s.PR_SET_NO_NEW_PRIVS, 1)\n"
        "s.set_seccomp(seccomp.build_program(s.machine()))\n"
    )

    def test_launch_is_refused_by_default_with_the_reason(self) -> None:
        source = (
            "from lms.outposts.broker.launcher import SandboxUnavailableError\n"
            "try: run('1')\n"
            "except SandboxUnavailableError as e: print(json.dumps(str(e)))"
        )
        assert "unshare" in str(as_ordinary_user(self.LOCKED + source))

    def test_probe_says_what_is_missing_and_what_to_do(self) -> None:
        report = as_ordinary_user(self.LOCKED + "print(json.dumps(probe().to_json()))")
        assert isinstance(report, dict)
        assert report["namespaces"] is False
        assert "Run as root" in report["missing"][0]["template"]

    def test_operator_may_allow_runs_that_still_end_and_leave_nothing(self) -> None:
        messy = (
            "import os, sys, time\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    os.setsid()\n"
            "    time.sleep(600)\n"
            "open('left', 'w').close(); print(os.getcwd(), child)"
        )
        source = (
            "UNSAFE = True\n"
            f"code, verdict, said = run({messy!r})\n"
            "folder, child = said.split()\n"
            "print(json.dumps([code, os.path.exists(folder), os.path.exists('/proc/' + child)]))"
        )
        assert as_ordinary_user(self.LOCKED + source) == [0, False, False]

    def test_allowed_run_over_its_memory_is_still_ended(self) -> None:
        bomb = "held = []\nwhile True: held.append(bytearray(8 << 20))"
        source = f"UNSAFE = True\nprint(json.dumps(run({bomb!r}, memory_bytes=150 << 20)))"
        answer = as_ordinary_user(self.LOCKED + source)
        assert isinstance(answer, list)
        assert answer[1] == "out_of_memory"
