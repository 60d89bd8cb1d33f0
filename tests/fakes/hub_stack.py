"""Starts a real JupyterHub and its proxy on loopback, for tests."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from lms.foundation.resources import resource_dir
from lms.foundation.settings import Settings
from lms.identity.keys import ensure_keys
from lms.outposts.hub.place import HubPlace, hub_command, proxy_command
from tests.fakes.identity_provider import COOKIE, IdentityProvider, Person


@dataclass
class Stack:
    place: HubPlace
    provider: IdentityProvider

    def browser(self, person: Person) -> requests.Session:
        """Return a browser that is signed in at the LMS as `person`."""
        browser = requests.Session()
        browser.trust_env = False
        browser.cookies.set(COOKIE, self.provider.sign_in(person), domain="127.0.0.1")
        return browser

    def start_server(self, browser: requests.Session, name: str) -> None:
        """Follow a launch link and wait until the server answers its owner."""
        browser.get(f"{self.place.hub_url}/hub/user-redirect/lab")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            answer = browser.get(f"{self.place.hub_url}/user/{name}/lab")
            if answer.status_code == 200 and "jupyter-config-data" in answer.text:
                return
            time.sleep(0.3)
        raise AssertionError((self.place.data_dir / "hub.log").read_text()[-4000:])

    def api(self, browser: requests.Session, name: str) -> int:
        url = f"{self.place.hub_url}/user/{name}/api/contents"
        return browser.get(url, allow_redirects=False).status_code

    def server_pid(self, name: str) -> int:
        query = (
            "select spawners.state from spawners join users on users.id = user_id "
            "where users.name = ?"
        )
        ((state,),) = self.hub_rows(query, name)
        return int(json.loads(state)["pid"])

    def hub_rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        """Return rows of the Hub's own database."""
        return hub_rows(self.place, query, *values)


def hub_rows(place: HubPlace, query: str, *values: str) -> list[tuple[str, ...]]:
    """Return rows of the Hub's own database."""
    database = sqlite3.connect(place.hub_dir / "jupyterhub.sqlite")
    rows = database.execute(query, values).fetchall()
    database.close()
    return rows


def end_servers(place: HubPlace) -> None:
    """End the servers that a Hub which has ended itself left running."""
    for (state,) in hub_rows(place, "select state from spawners"):
        pid = json.loads(state or "{}").get("pid")
        if pid:
            os.killpg(pid, signal.SIGKILL)


def run_in_kernel(stack: Stack, browser: requests.Session, name: str, source: str) -> str:
    """Run `source` in a new kernel of the server, as a page does; return what it prints."""
    return asyncio.run(_run_in_kernel(stack, browser, name, source))


async def connect_kernel(
    stack: Stack, browser: requests.Session, name: str, *protocols: str
) -> WebSocketClientConnection:
    """Start a kernel and open its channels with the browser's cookies."""
    base = f"{stack.place.hub_url}/user/{name}"
    headers = {
        "X-XSRFToken": browser.cookies.get("_xsrf", path=f"/user/{name}/") or "",
        "Referer": f"{base}/lab",
    }
    kernel = browser.post(f"{base}/api/kernels", json={"name": "python3"}, headers=headers).json()
    channels = f"{base}/api/kernels/{kernel['id']}/channels"
    cookie = browser.prepare_request(requests.Request("GET", channels)).headers["Cookie"]
    request = HTTPRequest(channels.replace("http:", "ws:", 1), headers={"Cookie": cookie})
    return await websocket_connect(request, subprotocols=list(protocols) or None)


async def _run_in_kernel(stack: Stack, browser: requests.Session, name: str, source: str) -> str:
    socket_ = await connect_kernel(stack, browser, name)
    content = {"code": source, "silent": False, "store_history": False, "allow_stdin": False}
    message = {
        "header": {"msg_id": "1", "msg_type": "execute_request", "session": "s", "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "content": content,
    }
    await socket_.write_message(json.dumps(message))
    printed = ""
    async with asyncio.timeout(60):
        while True:
            reply = json.loads(await socket_.read_message() or "{}")
            if reply.get("msg_type") == "stream":
                printed += reply["content"]["text"]
            # Output and this come on one channel in order; the reply comes on another.
            is_ours = reply.get("parent_header", {}).get("msg_id") == "1"
            if is_ours and reply["content"].get("execution_state") == "idle":
                break
    socket_.close()
    while await socket_.read_message() is not None:
        pass
    return printed


def free_ports(count: int) -> int:
    """Return the first of `count` free ports in a row."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = int(probe.getsockname()[1])
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, sock in enumerate(sockets):
                sock.bind(("127.0.0.1", first + offset))
        except (OSError, OverflowError):
            continue
        finally:
            for sock in sockets:
                sock.close()
        return first
    raise RuntimeError("no free ports in a row")


def make_place(data_dir: Path, lms_url: str, *, local_servers: bool = True) -> HubPlace:
    """Return a place with keys, folders and free ports."""
    port = free_ports(3)
    ensure_keys(Settings(data_dir=data_dir, hub_port=port, lms_url=lms_url))
    (data_dir / "hub").mkdir(parents=True)
    return HubPlace(
        data_dir=data_dir,
        hub_port=port,
        bind="127.0.0.1",
        lms_url=lms_url,
        hub_url=f"http://localhost:{port}",
        local_servers=local_servers,
    )


def hub_environment(place: HubPlace) -> dict[str, str]:
    """Return the environment that `lms up` gives the Hub."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place.hub_dir),
        "LANG": "C.UTF-8",
        "LMS_DATA": str(place.data_dir),
        "HUB_PORT": str(place.hub_port),
        "LMS_URL": place.lms_url,
        "HUB_URL": place.hub_url,
        # Short, lest a test wait a minute until the Hub asks the LMS again.
        "HUB_REFRESH_SECONDS": "5",
        "LMS_SERVERS": "local" if place.local_servers else "broker",
    }


@contextmanager
def running_proxy(place: HubPlace) -> Iterator[subprocess.Popen[bytes]]:
    """Run the proxy while the block runs."""
    env = {"PATH": os.environ["PATH"], "CONFIGPROXY_AUTH_TOKEN": place.key("proxy_token")}
    log = place.data_dir / "proxy.log"
    with _running(proxy_command(sys.executable, place), env, place.data_dir, log) as process:
        wait_for(f"{place.proxy_api_url}/api/routes", process, log)
        yield process


@contextmanager
def running_hub(
    place: HubPlace, more: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the Hub while the block runs; servers that it started are the caller's to end."""
    command = hub_command(sys.executable, resource_dir("hub_config") / "jupyterhub_config.py")
    log = place.data_dir / "hub.log"
    env = hub_environment(place) | dict(more or {})
    with _running(command, env, place.hub_dir, log) as process:
        wait_for(f"{place.inner_hub_url}/hub/health", process, log)
        yield process


@contextmanager
def _running(
    command: tuple[str, ...], env: dict[str, str], folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=env, cwd=folder, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    """Wait until `url` answers, or raise with the end of the log."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            requests.get(url, timeout=2)
        except requests.RequestException:
            time.sleep(0.2)
            continue
        return
    raise RuntimeError(f"{url} did not come up:\n{log.read_text()[-4000:]}")
