"""Contract: the extension in a real Jupyter server, with a kernel that a browser listens to."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from tornado.websocket import websocket_connect
from traitlets.config import Config

from lms.outposts.notebook import student
from lms.outposts.notebook.place import find_place
from tests.contract.test_corrections import FIRST, path_of, publish, second, sources
from tests.contract.test_exchange_classes import run
from tests.fakes.exchange_lms import Lms

pytestmark = [pytest.mark.slow, pytest.mark.kernel]
ROOT = Path(__file__).resolve().parents[2]
TOKEN = {"Authorization": "token t"}
NOTEBOOK = "courses/py-2026/ps1/ps1.ipynb"


@pytest.fixture
def server(lms: Lms, as_person: Callable[[str], Config], tmp_path: Path) -> Iterator[str]:
    """minsu's own notebook server, with the first release fetched."""
    config = as_person("minsu")
    publish(lms, FIRST)
    run(student.ExchangeFetchAssignment, config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = find_place().home
    settings = {
        "ServerApp": {
            "root_dir": str(home),
            "port": port,
            "open_browser": False,
            "allow_root": True,
        },
        "IdentityProvider": {"token": "t"},
    }
    written = tmp_path / "server.json"
    written.write_text(json.dumps(settings))
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", f"--config={written}"],
        env={**os.environ, "HOME": str(home), "JUPYTER_CONFIG_PATH": str(ROOT / "hub_config")},
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _wait_for(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if requests.get(f"{url}/api/status", headers=TOKEN, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


def _in_browser(url: str) -> dict[str, object]:
    answer = requests.get(f"{url}/api/contents/{NOTEBOOK}", headers=TOKEN, timeout=10)
    content: dict[str, object] = answer.json()["content"]
    return content


def _save(url: str, content: dict[str, object]) -> None:
    body = {"type": "notebook", "format": "json", "content": content}
    requests.put(
        f"{url}/api/contents/{NOTEBOOK}", headers=TOKEN, json=body, timeout=10
    ).raise_for_status()


def _look(url: str) -> None:
    """Ask for what Assignment List lists; the server looks for corrections first."""
    answer = requests.get(f"{url}/assignments?course_id=py-2026", headers=TOKEN, timeout=30).json()
    assert answer["success"], answer


def test_a_real_server_corrects_an_open_notebook_when_it_is_saved(lms: Lms, server: str) -> None:
    content = _in_browser(server)
    session = requests.post(
        f"{server}/api/sessions",
        headers=TOKEN,
        json={"path": NOTEBOOK, "type": "notebook", "name": "", "kernel": {"name": "python3"}},
        timeout=30,
    ).json()
    kernel = session["kernel"]["id"]
    publish(lms, second())

    async def work() -> None:
        address = server.replace("http", "ws", 1)
        browser = await websocket_connect(f"{address}/api/kernels/{kernel}/channels?token=t")
        before = path_of().read_bytes()
        await asyncio.to_thread(_look, server)
        assert path_of().read_bytes() == before
        await asyncio.to_thread(_save, server, content)
        assert sources()["cell-2"] == "assert mean([1]) == 1"
        browser.close()

    asyncio.run(work())
    # What the browser loads then is the correction, and saving that ends it.
    loaded = _in_browser(server)
    assert sources()["seodang-correction-3"].startswith("**과제가 고쳐졌어요")
    _save(server, loaded)
    _look(server)
    assert sources()["cell-2"] == "assert mean([1]) == 1"
    records = list((find_place().home / ".seodang/releases").iterdir())
    assert [path.suffix for path in records] == [".json"]


def test_a_real_server_corrects_a_notebook_on_disk_when_nobody_has_it_open(
    lms: Lms, server: str
) -> None:
    publish(lms, second())
    _look(server)
    assert sources()["cell-2"] == "assert mean([1]) == 1"
    assert path_of("ps1.ipynb.before-correction").exists()
