"""The whole system as an operator starts it: `lms up`, in a folder and on ports of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]


def free_ports(after: int = 0) -> tuple[int, int]:
    """Return a port for the web pages and the first of three consecutive ones for the Hub."""
    for start in range(max(after, 20000 + os.getpid() % 9000), 60000, 7):
        if all(_is_free(port) for port in range(start, start + 4)):
            return start, start + 1
    raise RuntimeError("no four free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(claim: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for `claim` to hold; fails with `what` was waited for."""
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.1)


@dataclass(slots=True)
class Stack:
    """A running system."""

    data: Path
    lms_port: int
    hub_port: int
    process: "subprocess.Popen[str]"
    output: Path

    @property
    def lms_url(self) -> str:
        """Where the pages are."""
        return f"http://127.0.0.1:{self.lms_port}"

    @property
    def hub_url(self) -> str:
        """Where the Hub is: another host name on purpose."""
        return f"http://localhost:{self.hub_port}"

    def env(self) -> dict[str, str]:
        """Return the environment for more commands on the same system."""
        return environment(self.data, self.lms_port, self.hub_port)

    def lms(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run one more `lms` command on the same system."""
        return subprocess.run(
            [sys.executable, "-m", "lms.cli", *words],
            env=self.env(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=check,
        )

    def passwords(self) -> dict[str, str]:
        """Return the first accounts' passwords by username."""
        lines = (self.data / "credentials.txt").read_text("utf-8").splitlines()
        return dict(line.split() for line in lines)

    def health(self) -> tuple[int, dict[str, bool]]:
        """Return the status of /healthz and each part's state; 0 when nothing answers."""
        try:
            answer = requests.get(f"{self.lms_url}/healthz", timeout=10)
        except requests.RequestException:
            return 0, {}
        return answer.status_code, {part["name"]: part["ok"] for part in answer.json()["parts"]}

    def pid_of(self, part: str) -> int:
        """Return the process id that the supervisor knows a part by."""
        import json

        state = json.loads((self.data / "run" / "supervisor.json").read_text())
        return int(state["parts"][part]["pid"])

    def stop(self, number: int = signal.SIGINT, seconds: float = 60) -> str:
        """End the system and return what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(seconds)
        return self.output.read_text()


def environment(data: Path, lms_port: int, hub_port: int) -> dict[str, str]:
    """Return the environment of a system with its own folder and ports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LMS_")}
    return kept | {"LMS_DATA": str(data), "LMS_PORT": str(lms_port), "HUB_PORT": str(hub_port)}


def start(
    data: Path,
    ports: tuple[int, int] | None = None,
    extra: Mapping[str, str] | None = None,
    *,
    words: Sequence[str] = ("--demo", "--courses", str(ROOT / "courses")),
    cwd: Path = ROOT,
) -> Stack:
    """Start a system; it may take a while until it is well (`wait_until_well`)."""
    lms_port, hub_port = ports or free_ports()
    data.parent.mkdir(parents=True, exist_ok=True)
    output = data.parent / f"up-{time.monotonic_ns()}.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "lms.cli", "up", *words],
            env=environment(data, lms_port, hub_port) | dict(extra or {}),
            cwd=cwd,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return Stack(data, lms_port, hub_port, process, output)


def wait_until_well(stack: Stack, seconds: float = 120) -> None:
    """Wait until every part works; fails with what the system printed."""
    end = time.monotonic() + seconds
    while "Seodang is up" not in stack.output.read_text() or stack.health()[0] != 200:
        if stack.process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"{stack.health()}\n{stack.output.read_text()}")
        time.sleep(0.2)


@contextmanager
def running(data: Path) -> Iterator[Stack]:
    """Run a system for as long as the block lasts."""
    stack = start(data)
    try:
        wait_until_well(stack)
        yield stack
    finally:
        stack.stop()
