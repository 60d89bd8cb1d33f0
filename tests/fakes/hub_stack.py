"""Starts a real JupyterHub and its proxy on loopback, for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from lms.foundation.resources import resource_dir
from lms.foundation.settings import Settings
from lms.identity.keys import ensure_keys
from lms.outposts.hub.place import HubPlace, hub_command, proxy_command


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


def make_place(data_dir: Path, lms_url: str) -> HubPlace:
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
    }


@contextmanager
def running_proxy(place: HubPlace) -> Iterator[subprocess.Popen[bytes]]:
    """Run the proxy while the block runs."""
    env = {"PATH": os.environ["PATH"], "CONFIGPROXY_AUTH_TOKEN": place.key("proxy_token")}
    log = place.data_dir / "proxy.log"
    with _running(proxy_command(sys.executable, place), env, place.data_dir, log) as process:
        _wait_for(f"{place.proxy_api_url}/api/routes", process, log)
        yield process


@contextmanager
def running_hub(place: HubPlace) -> Iterator[subprocess.Popen[bytes]]:
    """Run the Hub while the block runs; servers that it started are the caller's to end."""
    command = hub_command(sys.executable, resource_dir("hub_config") / "jupyterhub_config.py")
    log = place.data_dir / "hub.log"
    with _running(command, hub_environment(place), place.hub_dir, log) as process:
        _wait_for(f"{place.inner_hub_url}/hub/health", process, log)
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


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
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
