"""A program that a zygote forks has what its run gave it, and nothing of anybody else."""

import contextlib
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lms.outposts.broker.launcher import (
    BrokerLauncher,
    DirectLauncher,
    KernelLauncher,
    KernelProcess,
    KernelRequest,
    SandboxUnavailableError,
    Verdict,
)
from lms.outposts.broker.processes import ProcessName
from lms.outposts.broker.zygotes import shared_zygote
from lms.outposts.kernels.frames import Line
from lms.protocol.grading import Limits
from tests.integration.broker.conftest import BrokerProcess, broker

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="a sandbox with an own uid needs root"),
]
__all__ = ["broker"]

_LIMIT_BYTES = 1 << 24
_SECONDS = 60.0


@dataclass
class Cells:
    """A running program "cells", and what its cells print."""

    process: KernelProcess
    line: Line
    folder: str
    count: int = field(default=0)

    def run(self, source: str) -> str:
        """Execute a cell and return everything it wrote, an error's name included."""
        self.count += 1
        self.line.send({"do": "execute", "id": self.count, "source": source})
        said = ""
        while True:
            header, _ = self.line.receive(_SECONDS)
            content: dict[str, Any] = header.get("content", {})
            said += str(content.get("text", "")) + str(content.get("ename", ""))
            if "done" in header:
                return said.strip()

    def value(self, source: str) -> Any:  # noqa: ANN401 - whatever the cell prints as JSON
        """Return the value of an expression, as JSON carries it."""
        return json.loads(self.run(f"import json; print(json.dumps({source}))"))


@contextlib.contextmanager
def cells(
    launcher: KernelLauncher | None = None,
    *,
    seed: int = 0,
    env: dict[str, str] | None = None,
    **limits: int,
) -> Iterator[Cells]:
    """Launch "cells" in a sandbox and end it."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        ours, theirs = socket.socketpair()
        process = (launcher or DirectLauncher()).launch(
            KernelRequest(
                program="cells",
                argv=("cells",),
                seed=seed,
                env=env or {},
                connection_dir=folder,
                limits=Limits(**limits),
            ),
            theirs,
        )
        line = Line(ours, limit_bytes=_LIMIT_BYTES)
        header, _ = line.receive(_SECONDS)
        assert header.get("ready")
        try:
            yield Cells(process, line, folder)
        finally:
            process.kill()
            process.wait(_SECONDS)
            ours.close()


@pytest.fixture(scope="module")
def program() -> Iterator[Cells]:
    """One program for all tests that only look."""
    with cells(seed=7, env={"GIVEN": "yes"}) as running:
        yield running


def test_it_has_no_capability_and_cannot_get_one(program: Cells) -> None:
    lines = program.value(
        "[l.split() for l in open('/proc/self/status') "
        "if l.startswith(('Cap', 'NoNewPrivs', 'Seccomp:'))]"
    )
    said = {name.rstrip(":"): value for name, value in lines}
    assert {said[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("1", "2")


def test_it_is_nobody_special_in_a_session_of_its_own(program: Cells) -> None:
    uids = program.value("[*__import__('os').getresuid(), *__import__('os').getresgid()]")
    assert len(set(uids)) == 1
    assert 300_000 <= uids[0] < 301_000
    assert program.value("__import__('os').getgroups()") == []
    assert program.run("import os; print(os.getsid(0) == os.getpid())") == "True"


def test_it_inherits_no_descriptor_but_its_streams_and_its_channel() -> None:
    with cells() as fresh:
        held = fresh.value(
            "[os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') "
            "if os.path.lexists(f'/proc/self/fd/{n}')] if (os := __import__('os')) else 0"
        )
    kinds = [name.split(":")[0] for name in held]
    # Its own: the event loop, the streams' pipes and the files that keep what they carried.
    allowed = {"/dev/null", "pipe", "socket", "anon_inode", "/memfd"}
    assert set(kinds) <= allowed | {name for name in kinds if name.endswith("/fd")}
    # The channel, and the pair asyncio wakes itself with.
    assert len({name for name in held if name.startswith("socket")}) <= 3
    assert not [name for name in held if "pidfd" in name or "memfd:spec" in name]


def test_it_has_the_environment_it_was_given_and_no_other(program: Cells) -> None:
    found = program.value("dict(__import__('os').environ)")
    assert found["GIVEN"] == "yes"
    assert found["HOME"] == "/home/student"
    assert not [name for name in found if name.startswith(("LMS_", "PYTEST"))]
    outer = program.run("print('PYTEST' in open('/proc/self/environ').read())")
    assert outer == "False"


def test_signals_are_as_in_a_fresh_interpreter(program: Cells) -> None:
    handlers = program.value(
        "[str(__import__('signal').getsignal(n)) for n in (1, 2, 13, 15, 17, 25)]"
    )
    assert "default_int_handler" in handlers[1]
    assert [handlers[0], handlers[3], handlers[4]] == ["0", "0", "0"]
    assert handlers[2] == handlers[5] == "1"
    assert program.run("import signal; print(signal.pthread_sigmask(0, []))") == "set()"


def test_the_modules_are_there_already(program: Cells) -> None:
    wanted = ["numpy", "pandas", "matplotlib.pyplot", "sklearn"]
    assert program.value(f"[name in __import__('sys').modules for name in {wanted}]") == [True] * 4


def test_random_numbers_come_from_the_seed_alone() -> None:
    source = (
        "[__import__('random').random(), float(__import__('numpy').random.rand()), "
        "hash('a'), __import__('os').urandom(8).hex()]"
    )
    drawn = []
    for seed in (1, 1, 2):
        with cells(seed=seed) as running:
            drawn.append(running.value(source))
    assert drawn[0][:3] == drawn[1][:3]
    assert drawn[0][0] != drawn[2][0]
    assert drawn[0][1] != drawn[2][1]
    assert drawn[0][3] != drawn[1][3]


ATTACKS = {
    "ptrace of the first process": (
        "import ctypes; print(ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0))",
        "-1",
    ),
    "memory of the first process": ("open('/proc/1/mem', 'rb')", "PermissionError"),
    "root of the first process": ("os.listdir('/proc/1/root')", "PermissionError"),
    "descriptors of the first process": ("os.listdir('/proc/1/fd')", "PermissionError"),
    "environment of the first process": ("open('/proc/1/environ').read()", "PermissionError"),
    "end of the first process": ("os.kill(1, 9)", "PermissionError"),
    "a namespace of its own": ("import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))", "-1"),
    "another's namespace": (
        "import ctypes; print(ctypes.CDLL(None).setns(os.open('/proc/self/ns/mnt', 0), 0))",
        "-1",
    ),
    "root": ("os.setuid(0)", "PermissionError"),
    "another uid": ("os.setresuid(300001, 300001, 300001)", "PermissionError"),
    "a mount": (
        "import ctypes; print(ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, 0))",
        "-1",
    ),
    "the program's files": ("open(json.__file__, 'a')", "Error"),
    "root's files": ("os.listdir('/root') and open('/root/.bashrc').read()", "Error"),
    "the shadow file": ("open('/etc/shadow')", "FileNotFoundError"),
    "the network": ("import socket; socket.create_connection(('192.0.2.1', 80), 2)", "OSError"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_it_must_not_do_fails(program: Cells, attack: str) -> None:
    source, expected = ATTACKS[attack]
    assert expected in program.run(f"import os, json\n{source}")


def test_it_sees_no_process_but_its_own(program: Cells) -> None:
    pids = program.value("sorted(int(n) for n in __import__('os').listdir('/proc') if n.isdigit())")
    assert pids[:2] == [1, 2]
    assert len(pids) <= 3
    assert program.run("print(open('/proc/1/comm').read())") == "seodang-keeper"


def test_its_own_proc_is_its_own(program: Cells) -> None:
    said = program.run(
        "import os; print(len(os.listdir('/proc/self/fd')) > 2, "
        "os.stat('/proc/self/mem').st_uid == os.getuid())"
    )
    assert said == "True True"


def test_two_runs_do_not_see_each_other() -> None:
    with cells() as one, cells() as other:
        one.run("open('/tmp/mine', 'w').write('x'); secret = 'do-not-tell-4711'")
        assert other.value("__import__('os').path.exists('/tmp/mine')") is False
        assert other.value("'secret' in globals()") is False
        assert one.value("__import__('os').getuid()") != other.value("__import__('os').getuid()")


def test_what_one_run_was_asked_is_not_in_the_next_ones_memory() -> None:
    search = (
        "found = 0\n"
        "word = bytes(reversed(b'1174-llet-ton-od'))\n"
        "for line in open('/proc/self/maps'):\n"
        "    span, kind = line.split()[:2]\n"
        "    if not kind.startswith('rw'): continue\n"
        "    low, high = (int(n, 16) for n in span.split('-'))\n"
        "    with open('/proc/self/mem', 'rb', 0) as memory:\n"
        "        memory.seek(low)\n"
        "        try: found += memory.read(high - low).count(word + b'-really')\n"
        "        except OSError: pass\n"
        "print(found)"
    )
    with cells(env={"SECRET": "do-not-tell-4711-really"}) as one:
        assert one.run("import os; print(len(os.environ['SECRET']))") == "23"
        with cells() as other:
            assert other.run(search) == "0"


def test_the_ends_are_told_apart() -> None:
    with cells() as running:
        running.line.send({"do": "execute", "id": 1, "source": "import os; os._exit(3)"})
        assert running.process.wait(_SECONDS) == 3
        assert running.process.usage().verdict is Verdict.EXITED
    with cells() as running:
        source = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
        running.line.send({"do": "execute", "id": 1, "source": source})
        assert running.process.wait(_SECONDS) == -signal.SIGSEGV
    with cells(wall_seconds=1) as running:
        running.line.send({"do": "execute", "id": 1, "source": "while True: pass"})
        running.process.wait(_SECONDS)
        assert running.process.usage().verdict is Verdict.TIMED_OUT
    with cells(memory_bytes=200 << 20) as running:
        source = "held = []\nwhile True: held.append(bytearray(8 << 20))"
        running.line.send({"do": "execute", "id": 1, "source": source})
        running.process.wait(_SECONDS)
        assert running.process.usage().verdict is Verdict.OUT_OF_MEMORY


def test_an_interrupt_ends_a_cell_and_not_the_program() -> None:
    with cells() as running:
        running.line.send({"do": "execute", "id": 1, "source": "import time; time.sleep(600)"})
        time.sleep(0.3)
        running.process.send_signal(signal.SIGINT)
        said = ""
        while True:
            header, _ = running.line.receive(_SECONDS)
            said += str(header.get("content", {}).get("ename", ""))
            if "done" in header:
                break
        assert said == "KeyboardInterrupt"
        assert running.value("1 + 1") == 2


def test_a_program_that_lost_its_zygote_goes_on_and_the_next_gets_another() -> None:
    with cells() as running:
        zygote = _zygote_of(shared_zygote.pid)
        os.kill(zygote.pid, signal.SIGKILL)
        assert zygote.wait_for_end(10)
        assert running.value("1 + 1") == 2
        with cells() as other:
            assert other.value("2 + 2") == 4
        running.line.send({"do": "execute", "id": 99, "source": "import os; os._exit(0)"})
        running.process.wait(_SECONDS)
        assert running.process.usage().verdict is Verdict.ABANDONED


def test_a_killed_nursery_is_replaced() -> None:
    with cells() as running:
        nursery = ProcessName.of(shared_zygote.pid or 0)
        assert nursery is not None
        zygote = _zygote_of(nursery.pid)
        os.kill(nursery.pid, signal.SIGKILL)
        assert running.value("1 + 1") == 2
        assert zygote.wait_for_end(10)
    with cells() as other:
        assert other.value("2 + 2") == 4
    assert shared_zygote.pid != nursery.pid


def test_the_broker_forks_for_others(broker: BrokerProcess) -> None:
    launcher = BrokerLauncher(broker.socket)
    with cells(launcher) as running:
        assert running.value("1 + 1") == 2
        broker.kill()
        assert running.value("2 + 2") == 4
        broker.start()
        with cells(launcher) as other:
            assert other.value("3 + 3") == 6


def test_the_broker_refuses_a_program_somebody_elses_folder(broker: BrokerProcess) -> None:
    launcher = BrokerLauncher(broker.socket)
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        os.chown(folder, 200_001, 200_001)
        request = KernelRequest(program="cells", argv=("c",), connection_dir=folder)
        with pytest.raises(SandboxUnavailableError, match="belongs to uid"):
            launcher.launch(request)


def _zygote_of(nursery: int | None) -> ProcessName:
    children = Path(f"/proc/{nursery}/task/{nursery}/children").read_text().split()
    for pid in map(int, children):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "seodang-zygote":
            name = ProcessName.of(pid)
            assert name is not None
            return name
    raise AssertionError("there is no zygote")
