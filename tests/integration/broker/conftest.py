"""Real sandboxes: a launcher, and one call that runs Python inside and says what happened."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lms.outposts.broker.client import BrokerClient, BrokerUnavailableError
from lms.outposts.broker.launcher import DirectLauncher, KernelLauncher, KernelRequest, Usage
from lms.outposts.broker.servers import end_servers
from lms.outposts.broker.view import View, start_in_view
from lms.protocol.grading import Limits

WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a sandboxed program ended."""

    code: int
    usage: Usage

    @property
    def said(self) -> str:
        return self.usage.output_tail


RunInside = Callable[..., Outcome]


@pytest.fixture
def connection_dir() -> Iterator[Path]:
    """A short path: sockets will lie in it."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        yield Path(folder)


@pytest.fixture
def launcher() -> KernelLauncher:
    return DirectLauncher()


@pytest.fixture
def run_inside(launcher: KernelLauncher, connection_dir: Path) -> RunInside:
    """Run Python source in a sandbox and wait for its end."""

    def run(
        source: str, *, files: Path | None = None, env: dict[str, str] | None = None, **limits: int
    ) -> Outcome:
        process = launcher.launch(
            KernelRequest(
                argv=(sys.executable, "-c", source),
                env=env or {},
                connection_dir=str(connection_dir),
                files_dir=None if files is None else str(files),
                limits=Limits(**limits),
            )
        )
        code = process.wait(WAIT_SECONDS)
        return Outcome(code, process.usage())

    return run


WORKER_UID, HUB_UID, PROXY_UID, SERVICE_GID = 190_003, 190_002, 190_004, 190_000
# Not the first learners': a system that runs on this machine as well has those.
LEARNER_A = 240_000 + os.getpid() % 20_000 * 2
LEARNER_B = LEARNER_A + 1

#: What a test's notebook server may be: any Python source.
TEST_PROGRAM = (sys.executable, "-c")


class BrokerProcess:
    """A real broker in a process of its own, which tests may kill and start again."""

    def __init__(
        self, folder: Path, *, zygote_at_start: bool = False, server_zygote: str = ""
    ) -> None:
        """`server_zygote`: "" for the real one, "none" for none, "broken" for one that fails."""
        self._arguments = [server_zygote, *(["zygote"] if zygote_at_start else [])]
        self.data = folder / "data"
        self.socket = self.data / "run" / "broker.sock"
        self.log = folder / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        source = (
            "import logging, sys; from pathlib import Path\n"
            "from lms.outposts.broker.server import BrokerConfig, serve\n"
            "from lms.outposts.broker.servers import ServerPlaces\n"
            "logging.basicConfig(level=logging.INFO)\n"
            "import lms.outposts.broker.server as server\n"
            "if sys.argv[2] == 'broken': server.SERVERS = 'broken'\n"
            "data = Path(sys.argv[1])\n"
            "serve(BrokerConfig(socket_path=data / 'run' / 'broker.sock', places=ServerPlaces("
            "homes_dir=data / 'homes', state_dir=data / 'run' / 'servers', "
            "logs_dir=data / 'logs', learner_first=200000, learner_end=290000, "
            "programs=((sys.executable, '-c'), (sys.executable, '-P', '-m', "
            "'jupyterhub.singleuser')), forks=sys.argv[2] != 'none', "
            "asking_dir=data / 'run' / 'kernels', environments_dir=data / 'environments'), "
            "worker_uid=190003, hub_uid=190002, simulated_gpus='2', "
            "zygote_at_start=len(sys.argv) > 3))"
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", source, str(self.data), *self._arguments],
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 30
        while not _answers(self.socket):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it politely, and what it left running as well."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(10) == 0, self.log.read_text()
        end_servers(self.data / "run" / "servers")


def _answers(path: Path) -> bool:
    try:
        BrokerClient(path).probe()
    except BrokerUnavailableError:
        return False
    return True


@pytest.fixture
def broker() -> Iterator[BrokerProcess]:
    """A broker on an empty data folder with a short path."""
    with tempfile.TemporaryDirectory(prefix="b-") as folder:
        Path(folder).chmod(0o711)
        process = BrokerProcess(Path(folder))
        yield process
        process.stop()


@dataclass(frozen=True)
class Answer:
    """What a program in a view printed, and its exit code."""

    code: int
    said: str


def run_as(uid: int, source: str, *arguments: str, folders: tuple[Path, ...] = ()) -> Answer:
    """Run Python source as `uid` in a view, as the supervisor runs a part of the service."""
    view = View(uid=uid, gid=SERVICE_GID, read_only=folders)
    with tempfile.TemporaryFile() as log:
        process = start_in_view(
            [sys.executable, "-c", source, *arguments], {}, view, log=log.fileno()
        )
        code = process.wait(WAIT_SECONDS)
        log.seek(0)
        return Answer(code, log.read().decode())
