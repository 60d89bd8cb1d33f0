"""Two real Hubs for `lms bench spawn`: a stock one, and one with our spawner and broker."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import requests

from lms.foundation.resources import resource_dir
from lms.foundation.settings import Uids, process_environment
from lms.outposts.broker.client import BrokerClient, BrokerUnavailableError
from lms.outposts.broker.servers import end_servers

_START_SECONDS = 120.0
_CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub_port}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret = bytes.fromhex("{secret}")
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [{{"name": "bench", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"],
    "scopes": ["admin:users", "admin:servers", "access:servers"]}}]
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.auth_token = "{token}"
c.JupyterHub.concurrent_spawn_limit = 100
c.JupyterHub.active_server_limit = 0
"""
_STOCK = """
from jupyterhub.spawner import SimpleLocalProcessSpawner
c.JupyterHub.spawner_class = SimpleLocalProcessSpawner
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/homes/{{username}}"
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
c.Spawner.cmd = ["{python}", "-m", "jupyterhub.singleuser"]
c.Spawner.args = {args}
"""
_OURS = """
from lms.outposts.broker.client import BrokerClient
from lms.outposts.hub.launchers import BrokerLauncher
from lms.outposts.hub.profiles import read_profiles
from lms.outposts.hub.spawner import BrokerSpawner

profile = next(iter(read_profiles(__import__("pathlib").Path("{config}/profiles.toml")).values()))

class Spawner(BrokerSpawner):
    async def find_uid(self):
        return {first_uid} + int(self.user.name.rpartition("-")[2])

Spawner.launcher = BrokerLauncher(BrokerClient("{folder}/run/broker.sock"))
c.JupyterHub.spawner_class = Spawner
c.JupyterHub.template_paths = ["{templates}"]
c.JupyterHub.template_vars = {{"lms_url": "http://127.0.0.1:1", "usual_seconds": 1}}
c.BrokerSpawner.homes_dir = "{folder}/homes"
c.BrokerSpawner.logs_dir = "{folder}/logs/servers"
c.BrokerSpawner.jupyter_config = "{config}"
c.BrokerSpawner.lms_url = "http://127.0.0.1:1"
c.BrokerSpawner.default_url = "/lab"
c.BrokerSpawner.mem_limit = profile.memory_bytes
c.BrokerSpawner.process_limit = profile.processes
c.BrokerSpawner.cpu_limit = profile.cpu_percent / 100
c.BrokerSpawner.start_timeout = c.BrokerSpawner.http_timeout = 120
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """A running Hub and how to ask it."""

    url: str
    token: str
    folder: Path
    #: Where our servers' state lies; None for stock.
    state_dir: Path | None

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"token {self.token}"}

    def add_user(self, name: str) -> None:
        """Make a user, so that a start is a start and nothing else."""
        (self.folder / "homes").mkdir(exist_ok=True, mode=0o711)
        if self.state_dir is None:
            (self.folder / "homes" / name).mkdir(exist_ok=True)
        self._ask("POST", f"/hub/api/users/{name}")

    def start(self, name: str) -> float:
        """Start a server and return the seconds until the Hub says it is ready."""
        begin = time.perf_counter()
        answer = self._ask("POST", f"/hub/api/users/{name}/server")
        while answer.status_code != requests.codes.created:
            if time.perf_counter() - begin > _START_SECONDS:
                raise click.ClickException(f"The server of {name} did not become ready.")
            time.sleep(0.02)
            servers = self._ask("GET", f"/hub/api/users/{name}").json()["servers"]
            if servers.get("", {}).get("ready"):
                break
            if not servers:
                raise click.ClickException(f"The server of {name} did not start.")
        return time.perf_counter() - begin

    def stop(self, name: str) -> None:
        """End a server, and wait for that."""
        self._ask("DELETE", f"/hub/api/users/{name}/server")
        while self._ask("GET", f"/hub/api/users/{name}").json()["servers"]:
            time.sleep(0.1)

    def _ask(self, verb: str, path: str) -> requests.Response:
        answer = requests.request(verb, self.url + path, headers=self.headers, timeout=120)
        if answer.status_code >= requests.codes.bad_request:
            raise click.ClickException(f"{verb} {path}: {answer.text[:200]}{_end_of(self.folder)}")
        return answer


@contextlib.contextmanager
def stock_hub(folder: Path) -> Iterator[Hub]:
    """Run a Hub with SimpleLocalProcessSpawner."""
    args = ["--allow-root"] if os.geteuid() == 0 else []
    more = _STOCK.format(folder=folder, args=args, python=sys.executable)
    with _hub(folder, more, None) as hub:
        yield hub


@contextlib.contextmanager
def our_hub(folder: Path) -> Iterator[Hub]:
    """Run a broker, whose zygotes have warmed up, and a Hub with our spawner."""
    env = _environment(folder) | {"LMS_DATA": str(folder), "LMS_SERVER_START": "zygote"}
    with _running([sys.executable, "-m", "lms.cli", "broker"], env, folder / "broker.log"):
        path = folder / "run" / "broker.sock"
        _wait_for_broker(path)
        first_uid = Uids().learner_end - 1000
        more = _OURS.format(
            folder=folder,
            config=resource_dir("hub_config"),
            templates=resource_dir("templates") / "hub",
            first_uid=first_uid,
        )
        try:
            with _hub(folder, more, folder / "run" / "servers") as hub:
                yield hub
        finally:
            end_servers(folder / "run" / "servers")


@contextlib.contextmanager
def _hub(folder: Path, more: str, state_dir: Path | None) -> Iterator[Hub]:
    port, hub_port, proxy_port = _free_ports()
    token = secrets.token_hex(16)
    words = {"port": port, "hub_port": hub_port, "proxy_port": proxy_port}
    config = folder / "jupyterhub_config.py"
    config.write_text(
        _CONFIG.format(folder=folder, secret=secrets.token_hex(32), token=token, **words) + more
    )
    proxy = [
        *(sys.executable, "-m", "lms.outposts.hub.proxy", "--ip", "127.0.0.1"),
        *("--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(proxy_port)),
        *("--default-target", f"http://127.0.0.1:{hub_port}", "--log-level", "warning"),
    ]
    env = _environment(folder)
    hub = Hub(url=f"http://127.0.0.1:{port}", token=token, folder=folder, state_dir=state_dir)
    with _running(proxy, env | {"CONFIGPROXY_AUTH_TOKEN": token}, folder / "proxy.log"):
        command = [sys.executable, "-m", "jupyterhub", "-f", str(config)]
        with _running(command, env, folder / "hub.log"):
            _wait_for(f"{hub.url}/hub/health", folder / "hub.log")
            yield hub


def _end_of(folder: Path) -> str:
    return (folder / "hub.log").read_text(encoding="utf-8")[-1500:]


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": process_environment().get("PATH", ""), "LANG": "C.UTF-8", "HOME": str(folder)}


@contextlib.contextmanager
def _running(command: list[str], env: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=log.parent, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.1)
    raise click.ClickException(f"{url} does not answer; see {log.read_text()[-1000:]}")


def _wait_for_broker(path: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(BrokerUnavailableError):
            BrokerClient(path).probe()
            return
        time.sleep(0.1)
    raise click.ClickException("The broker does not answer.")


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(socket.socket()) for _ in range(3)]
        for line in lines:
            line.bind(("127.0.0.1", 0))
        return [line.getsockname()[1] for line in lines]
