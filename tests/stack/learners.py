"""People at a running system: they sign in, open a notebook, and their kernels compute."""

import asyncio
import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from lms.bootstrap import build
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.identity.scopes import SYSTEM
from lms.identity.service import add_person
from tests.stack import Stack

PASSWORD = "four plain words here"
#: Counts in a thread, so that the kernel goes on answering, and writes each number to a file.
COUNT = """
import os, secrets, threading, time
mark = secrets.token_hex(8)
def count():
    number = 0
    while True:
        number += 1
        with open(".count", "w") as file:
            file.write(f"{mark} {number}")
        os.replace(".count", "count.txt")
        time.sleep(0.1)
threading.Thread(target=count, daemon=True).start()
print(mark)
"""
_SECONDS = 60


def add_learners(stack: Stack, names: list[str]) -> None:
    """Make accounts, all with the same password."""
    settings = Settings.from_env(stack.env())
    system = build(settings)
    with transaction(system.sessions) as session:
        for name in names:
            add_person(
                session,
                name,
                name,
                actor=SYSTEM,
                now=clock.now(),
                uids=settings.uids,
                password=PASSWORD,
            )
    system.engine.dispose()


def notebook_of(text: str) -> dict[str, object]:
    """Return a notebook with one cell of text."""
    cell = {"cell_type": "markdown", "id": "one", "metadata": {}, "source": text}
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@dataclass
class Learner:
    """One person with a browser."""

    stack: Stack
    name: str
    http: requests.Session = field(default_factory=requests.Session)
    kernel: str = ""
    #: What the kernel's memory holds: no other kernel knows it.
    mark: str = ""

    def __post_init__(self) -> None:
        self.http.trust_env = False

    @property
    def base(self) -> str:
        """Where the person's server is."""
        return f"{self.stack.hub_url}/user/{self.name}"

    @property
    def home(self) -> Path:
        """The person's folder of notebooks."""
        return self.stack.data / "homes" / self.name

    def sign_in(self) -> None:
        """Type name and password."""
        url = f"{self.stack.lms_url}/login"
        token = re.search(
            r'name="csrf_token"[^>]*value="([^"]+)"', self.http.get(url, timeout=_SECONDS).text
        )
        assert token is not None
        form = {"username": self.name, "password": PASSWORD, "csrf_token": token[1]}
        answer = self.http.post(url, data=form, timeout=_SECONDS)
        assert answer.ok, answer.text[:500]

    def open_lab(self, seconds: float = 90) -> float:
        """Ask for JupyterLab and wait as the waiting page does; return the seconds that took.

        A person whose start failed presses the button again, and a page that did not come is
        asked for again.
        """
        begin = time.monotonic()
        said = ""
        while time.monotonic() - begin < seconds:
            try:
                page = self.http.get(
                    f"{self.stack.hub_url}/hub/spawn/{self.name}", timeout=_SECONDS
                )
            except requests.RequestException as error:
                said = str(error)
            else:
                if page.status_code == 200 and "jupyter-config-data" in page.text:
                    return time.monotonic() - begin
                said = f"{page.status_code} {page.url} {page.text[-1500:]}"
            time.sleep(0.2)
        raise AssertionError(f"{self.name} has no server after {seconds} s: {said}")

    def count(self) -> None:
        """Start a kernel that counts."""
        answer = self._ask("POST", "/api/kernels", {"name": "python3"})
        assert answer.status_code == 201, answer.text[:500]
        self.kernel = answer.json()["id"]
        self.mark = self.run(COUNT)
        assert re.fullmatch("[0-9a-f]{16}", self.mark), self.mark

    def counted(self) -> int:
        """Return how far the very kernel that was started has counted."""
        mark, number = (self.home / "count.txt").read_text().split()
        assert mark == self.mark, "another kernel counts"
        return int(number)

    def save(self, text: str) -> None:
        """Save a notebook as JupyterLab does."""
        body = {"type": "notebook", "format": "json", "content": notebook_of(text)}
        answer = self._ask("PUT", "/api/contents/work.ipynb", body)
        assert answer.ok, answer.text[:500]

    def saved(self) -> str:
        """Return the text of the notebook on disk."""
        document = json.loads((self.home / "work.ipynb").read_text())
        return "".join(document["cells"][0]["source"])

    def run(self, source: str, seconds: float = _SECONDS) -> str:
        """Run a cell over a new websocket and return what it prints."""
        return asyncio.run(self._run(source, seconds)).strip()

    def reaches_kernel(self) -> bool:
        """Say whether a websocket leads to the kernel that was started."""
        try:
            return self.run("print(mark)", 5) == self.mark
        except Exception:  # noqa: BLE001 - refused, closed, or an answer that is no upgrade
            return False

    def reaches_files(self) -> bool:
        """Say whether the server answers its owner."""
        try:
            answer = self.http.get(f"{self.base}/api/contents", timeout=5, allow_redirects=False)
        except requests.RequestException:
            return False
        return answer.status_code == 200

    def _ask(self, verb: str, path: str, body: object) -> requests.Response:
        headers = {
            "X-XSRFToken": self.http.cookies.get("_xsrf", path=f"/user/{self.name}/") or "",
            "Referer": f"{self.base}/lab",
        }
        return self.http.request(
            verb, self.base + path, json=body, headers=headers, timeout=_SECONDS
        )

    async def _run(self, source: str, seconds: float) -> str:
        url = f"{self.base}/api/kernels/{self.kernel}/channels"
        cookie = self.http.prepare_request(requests.Request("GET", url)).headers["Cookie"]
        request = HTTPRequest(
            url.replace("http:", "ws:", 1), headers={"Cookie": cookie}, connect_timeout=seconds
        )
        # Not within the timeout: a connection that is given up half-way would stay open.
        line = await websocket_connect(request)
        try:
            async with asyncio.timeout(seconds):
                return await _run_cell(line, source)
        finally:
            line.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while await line.read_message() is not None:
                        pass


async def _run_cell(line: WebSocketClientConnection, source: str) -> str:
    content = {"code": source, "silent": False, "store_history": False, "allow_stdin": False}
    header = {"msg_id": "1", "msg_type": "execute_request", "session": "s", "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell"}
    await line.write_message(json.dumps(message | {"content": content}))
    printed = ""
    while (text := await line.read_message()) is not None:
        reply = json.loads(text)
        if reply.get("parent_header", {}).get("msg_id") != "1":
            continue
        printed += str(reply["content"].get("text", ""))
        if reply["content"].get("execution_state") == "idle":
            break
    return printed


def processes_of(uid: int, comm: str) -> list[int]:
    """Return a person's processes of that name."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            is_theirs = entry.name.isdigit() and entry.stat().st_uid == uid
            if is_theirs and (entry / "comm").read_text().strip() == comm:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def uid_of(learner: Learner) -> int:
    """Return the person's OS user, whose folder it is."""
    return learner.home.stat().st_uid
