"""A whole machine for leases: broker, lease keeper, Hub and proxy as processes that can be killed.

The LMS's rows are in the test's database; the GPUs are simulated, everything else is real.
"""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests

from lms.cli.bench.spawn import run_cell
from lms.cli.bench.spawn_hubs import _CONFIG, _OURS, Hub, _free_ports
from lms.foundation.resources import resource_dir
from lms.outposts.broker.client import BrokerUnavailableError
from lms.outposts.broker.lease_client import LeaseClient
from lms.outposts.broker.servers import end_servers
from tests.integration.broker.test_devices import START

#: Not the first learners, nor those of other tests or benches that run here as well.
FIRST_UID = 281_000 + os.getpid() % 20 * 350
_KEEPER = """
import logging, sys
from lms.bootstrap import make_bus
from lms.foundation.db import make_engine, make_sessions
from lms.outposts.broker.lease_client import LeaseClient
from lms.worker.leases import LeaseKeeper
logging.basicConfig(level=logging.INFO)
sessions = make_sessions(make_engine(sys.argv[1]), make_bus())
LeaseKeeper(sessions=sessions, broker=LeaseClient(sys.argv[2])).run()
"""

#: Runs in a kernel of the person's server, and prints what goes wrong as well.
_OPEN = """
try:
    exec({0}); process, place_ = leased({1}); print(told(place_, {2}))
except BaseException as error:
    print(repr(error))
"""


@dataclass
class Part:
    """One process, started again after each death."""

    command: list[str]
    env: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, env=self.env, cwd=self.log.parent, stdout=out, stderr=out
            )

    def kill(self) -> None:
        """End it as `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it politely, or not."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Machine:
    """What runs, and how a person's notebook server uses it."""

    folder: Path
    hub: Hub
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def client(self) -> LeaseClient:
        """Who asks the broker."""
        return LeaseClient(self.folder / "run" / "broker.sock")

    def kill(self, part: str) -> None:
        """Kill a part and start it again."""
        self.parts[part].kill()
        self.parts[part].start()

    def serve(self, name: str) -> None:
        """Make sure that a person has a notebook server."""
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.RequestException):
                about = self._ask("GET", f"/hub/api/users/{name}").json()
                if about.get("servers", {}).get("", {}).get("ready"):
                    return
                if "name" not in about:
                    self._ask("POST", f"/hub/api/users/{name}")
                self._ask("POST", f"/hub/api/users/{name}/server")
            assert time.monotonic() < end, f"{name} has no server"
            time.sleep(0.3)

    def stop_server(self, name: str) -> None:
        """End a person's notebook server."""
        with contextlib.suppress(requests.RequestException):
            self._ask("DELETE", f"/hub/api/users/{name}/server")

    def start_kernel(self, name: str) -> str:
        """Start a kernel without a GPU in the person's server; return where its channels are."""
        url = f"{self.hub.url}/user/{name}/api/kernels"
        kernel = requests.post(url, json={}, headers=self.hub.headers, timeout=60).json()["id"]
        return f"{url}/{kernel}/channels".replace("http:", "ws:", 1)

    def open_device(self, channels: str, lease: str, device: str) -> str:
        """Start a kernel under the lease from within another one; return what it reads there."""
        node = f"/dev/seodang-gpu-{device.rpartition('-')[2]}"
        source = _OPEN.format(*map(repr, (START, lease, f"print(open({node!r}).read())")))
        return asyncio.run(run_cell(self.hub, channels, source))

    def _ask(self, verb: str, path: str) -> requests.Response:
        return requests.request(verb, self.hub.url + path, headers=self.hub.headers, timeout=60)

    def kill_kernel(self) -> bool:
        """Kill a kernel that has a GPU; False when there is none."""
        with contextlib.suppress(BrokerUnavailableError):
            for lease in self.client.leases():
                for kernel in lease.kernels:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(kernel.pid, signal.SIGKILL)
                        return True
        return False

    def kill_server(self) -> bool:
        """Kill a notebook server whose kernel has a GPU."""
        with contextlib.suppress(BrokerUnavailableError):
            uids = {lease.uid for lease in self.client.leases() if lease.kernels}
            for path in (self.folder / "run" / "servers").glob("*.json"):
                with contextlib.suppress(OSError, ValueError):
                    state = json.loads(path.read_text())
                    if state["uid"] in uids:
                        os.kill(state["first"], signal.SIGKILL)
                        return True
        return False

    def wait_for_broker(self) -> None:
        """Wait until the broker answers."""
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(BrokerUnavailableError):
                self.client.probe()
                return
            assert time.monotonic() < end, self.parts["broker"].log.read_text()
            time.sleep(0.1)


@contextlib.contextmanager
def machine(folder: Path, database: str, gpus: int) -> Iterator[Machine]:
    """Run a machine with so many simulated GPUs."""
    port, hub_port, proxy_port = _free_ports()
    token = secrets.token_hex(16)
    hub = Hub(
        url=f"http://127.0.0.1:{port}",
        token=token,
        folder=folder,
        state_dir=folder / "run" / "servers",
    )
    words = {"port": port, "hub_port": hub_port, "proxy_port": proxy_port}
    config = folder / "jupyterhub_config.py"
    config.write_text(
        _CONFIG.format(folder=folder, secret=secrets.token_hex(32), token=token, **words)
        + _OURS.format(
            folder=folder,
            config=resource_dir("hub_config"),
            templates=resource_dir("templates") / "hub",
            first_uid=FIRST_UID,
        )
    )
    one = Machine(folder, hub)
    env = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8", "HOME": str(folder)}
    lms = {"LMS_DATA": str(folder), "LMS_SERVER_START": "zygote", "LMS_SIMULATED_GPUS": str(gpus)}
    python = sys.executable
    proxy = [python, "-m", "lms.outposts.hub.proxy", "--ip", "127.0.0.1", "--port", str(port)]
    proxy += ["--api-ip", "127.0.0.1", "--api-port", str(proxy_port), "--log-level", "warning"]
    proxy += ["--default-target", f"http://127.0.0.1:{hub_port}"]
    keeper = [python, "-c", _KEEPER, database, str(folder / "run" / "broker.sock")]
    for name, command, more in (
        ("broker", [python, "-m", "lms.cli", "broker"], lms),
        ("keeper", keeper, {}),
        ("proxy", proxy, {"CONFIGPROXY_AUTH_TOKEN": token}),
        ("Hub", [python, "-m", "jupyterhub", "-f", str(config)], {}),
    ):
        one.parts[name] = Part(command, env | more, folder / f"{name}.log")
    try:
        for part in one.parts.values():
            part.start()
        one.wait_for_broker()
        yield one
    finally:
        for part in reversed(one.parts.values()):
            part.stop()
        end_servers(folder / "run" / "servers")


def holders() -> dict[str, set[tuple[int, int]]]:
    """Return who has each device before them: uid and pid, by what the mounts of processes say."""
    found: dict[str, set[tuple[int, int]]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            uid = entry.stat().st_uid
            if not FIRST_UID <= uid < FIRST_UID + 350:
                continue
            for line in (entry / "mountinfo").read_text().splitlines():
                place = line.split()[4]
                if place.startswith("/dev/seodang-gpu-"):
                    found.setdefault(place, set()).add((uid, int(entry.name)))
    return found


def shared_devices() -> list[str]:
    """Return the devices that two people had at the same time."""
    shared = []
    for place, those in holders().items():
        if len({uid for uid, _ in those}) > 1:
            # A look takes a while; who is still there had it all that while.
            there = {uid for uid, pid in those if (uid, pid) in holders().get(place, set())}
            shared += [place] if len(there) > 1 else []
    return shared
