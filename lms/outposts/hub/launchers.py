"""Who starts a notebook server for the Hub: the compute broker, or this process itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lms.outposts.broker.client import (
    BrokerClient,
    BrokerRefusedError,
    BrokerUnavailableError,
)
from lms.protocol.broker import ServerLimits, ServerRequest
from lms.protocol.disk import HomeUse

#: How long a start waits for a broker that does not answer, and how often it asks, in seconds.
PATIENCE_SECONDS, _ASK_AGAIN_SECONDS = 20.0, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStart:
    """What a notebook server is started with."""

    username: str
    server_name: str
    #: OS user of the person; used where servers run each as their own user.
    uid: int
    argv: tuple[str, ...]
    env: Mapping[str, str]
    home: Path
    #: Where its output goes; the broker keeps logs of its own.
    log: Path
    memory_bytes: int
    processes: int
    #: Of 100 for one processor; 0 for no limit.
    cpu_percent: int = 0
    #: What the home may hold; 0 for no limit.
    disk_bytes: int = 0


class ServerLauncher(Protocol):
    """Starts, watches and stops notebook servers; they outlive the process that asked."""

    def start(self, start: ServerStart) -> int:
        """Start the server and return its process id."""

    def poll(self, username: str, server_name: str, pid: int) -> int | None:
        """Return None while the server runs, else its exit status."""

    def stop(self, username: str, server_name: str, pid: int) -> None:
        """End the server and everything it started; returns when it is gone."""

    def home_use(self, username: str) -> HomeUse | None:
        """Return how full the person's home is, None where nobody knows."""


class LocalLauncher:
    """Starts servers as children of this process, all as its own OS user.

    For one person's machine and for tests; people are not kept apart from one another.
    """

    def __init__(self, environments_dir: Path | None = None) -> None:
        #: Where servers find the kernels of courses' environments.
        self._environments_dir = environments_dir
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, start: ServerStart) -> int:
        """Start the server and return its process id."""
        start.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        start.log.parent.mkdir(parents=True, exist_ok=True)
        argv = [*start.argv, *(["--allow-root"] if os.geteuid() == 0 else [])]
        with start.log.open("ab") as log:
            child = subprocess.Popen(
                argv,
                env=self._env(start.env),
                cwd=start.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children[child.pid] = child
        return child.pid

    def _env(self, given: Mapping[str, str]) -> dict[str, str]:
        folders = [given.get("JUPYTER_PATH", ""), str(self._environments_dir or "")]
        path = ":".join(filter(None, folders))
        return {**given, "JUPYTER_PATH": path} if path else dict(given)

    def poll(self, username: str, server_name: str, pid: int) -> int | None:
        """Return None while the server runs, else its exit status (0 when it is not known)."""
        del username, server_name
        child = self._children.get(pid)
        if child is not None:
            return child.poll()
        if not pid:
            return 0
        # A server of an earlier Hub process: not our child.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def stop(self, username: str, server_name: str, pid: int) -> None:
        """End the server's process group: first asked, then killed."""
        del username, server_name
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(pid, how)
            except ProcessLookupError:
                return
            child = self._children.get(pid)
            if child is None:
                continue
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue
            del self._children[pid]
            return

    def home_use(self, username: str) -> None:
        """Return None: the machine is the person's own."""
        del username


class BrokerLauncher:
    """Has the compute broker start servers: each person's as an own OS user, in a sandbox."""

    def __init__(self, client: BrokerClient, *, patience: float = PATIENCE_SECONDS) -> None:
        self._client = client
        self._patience = patience

    def start(self, start: ServerStart) -> int:
        """Start the server and return its keeper's process id.

        A broker that has just ended is started again: whoever starts meanwhile waits for it.
        """
        end = time.monotonic() + self._patience
        while True:
            try:
                return self._start(start)
            except BrokerUnavailableError:
                if time.monotonic() > end:
                    raise
            time.sleep(_ASK_AGAIN_SECONDS)

    def _start(self, start: ServerStart) -> int:
        if self._client.poll_server(start.username, start.server_name).running:
            # A server that the Hub has forgotten knows no valid token: nobody can use it.
            self._client.stop_server(start.username, start.server_name, now=True)
        return self._client.start_server(
            ServerRequest(
                username=start.username,
                server_name=start.server_name,
                uid=start.uid,
                argv=start.argv,
                env=dict(start.env),
                home=str(start.home),
                limits=ServerLimits(
                    memory_bytes=start.memory_bytes,
                    processes=start.processes,
                    cpu_percent=start.cpu_percent,
                    disk_bytes=start.disk_bytes,
                ),
            )
        )

    def poll(self, username: str, server_name: str, pid: int) -> int | None:
        """Return None while the server runs, or while the broker does not answer."""
        del pid
        try:
            state = self._client.poll_server(username, server_name)
        except BrokerUnavailableError:
            # Servers outlive the broker. To say "ended" would make the Hub drop a running one.
            return None
        return None if state.running else state.exit_code or 0

    def stop(self, username: str, server_name: str, pid: int) -> None:
        """End the server; returns when it is gone."""
        del pid
        self._client.stop_server(username, server_name)

    def home_use(self, username: str) -> HomeUse | None:
        """Return how full the person's home is, None where the broker does not know."""
        try:
            uses = self._client.list_homes()
        except (BrokerUnavailableError, BrokerRefusedError):
            return None
        return next((use for use in uses if use.username == username), None)


def server_command() -> tuple[str, ...]:
    """Return the command of a notebook server, run by this very interpreter."""
    # -P: a learner's own random.py in the home must not stand in for Python's. Kernels do not
    # inherit it: there a file beside the notebook can be imported as usual.
    return (sys.executable, "-P", "-m", "jupyterhub.singleuser")
