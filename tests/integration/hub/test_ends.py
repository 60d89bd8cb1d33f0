"""Servers that ended without their owner's wish, second tabs, and a machine that is full."""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from lms.protocol.broker import ServerState
from tests.fakes.hub_stack import (
    Stack,
    end_servers,
    free_ports,
    make_place,
    running_hub,
    running_proxy,
)
from tests.fakes.identity_provider import IdentityProvider, Person, serving

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
IDLE_SECONDS = "6"


@contextmanager
def _hub(folder: Path, *, local: bool = True, **more: str) -> Iterator[Stack]:
    port = free_ports(1)
    place = make_place(folder / "data", f"http://127.0.0.1:{port}", local_servers=local)
    provider = IdentityProvider(place.key("client_secret"), f"{place.hub_url}/hub/oauth_callback")
    with serving(provider, port), running_proxy(place):
        with running_hub(place, more):
            yield Stack(place, provider)
        end_servers(place)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with _hub(tmp_path_factory.mktemp("hub")) as stack:
        yield stack


def _text(browser: requests.Session, url: str) -> str:
    return browser.get(url).content.decode()


def _api(
    stack: Stack, browser: requests.Session, owner: str, verb: str, path: str, **body: object
) -> requests.Response:
    base = f"{stack.place.hub_url}/user/{owner}"
    headers = {
        "X-XSRFToken": browser.cookies.get("_xsrf", path=f"/user/{owner}/") or "",
        "Referer": f"{base}/lab",
    }
    return browser.request(verb, f"{base}/api/{path}", json=body or None, headers=headers)


def _save(stack: Stack, browser: requests.Session, name: str) -> Path:
    answer = _api(
        stack, browser, name, "PUT", "contents/work.ipynb", type="notebook", content=NOTEBOOK
    )
    assert answer.ok, answer.text
    return stack.place.homes_dir / name / "work.ipynb"


def _wait_for_page(stack: Stack, browser: requests.Session, name: str, words: str) -> str:
    """Load the person's page again until it says something; return it."""
    end = time.monotonic() + 30
    text = ""
    while time.monotonic() < end:
        text = _text(browser, f"{stack.place.hub_url}/user/{name}/lab")
        if words in text:
            return text
        time.sleep(0.5)
    raise AssertionError(text[-2000:])


def _press_start(stack: Stack, browser: requests.Session, name: str, page: str) -> None:
    """Press the one button of the page, and land where one was."""
    buttons = re.findall(r'<a id="start" class="btn go" href="([^"]+)"', page)
    assert len(buttons) == 1
    browser.get(f"{stack.place.hub_url}{buttons[0].replace('&amp;', '&')}")
    end = time.monotonic() + 60
    while "jupyter-config-data" not in _text(browser, f"{stack.place.hub_url}/user/{name}/lab"):
        assert time.monotonic() < end
        time.sleep(0.3)


@pytest.mark.slow
def test_an_idle_server_is_closed_and_the_page_says_so_and_starts_it_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with _hub(tmp_path_factory.mktemp("i"), HUB_IDLE_SECONDS=IDLE_SECONDS) as stack:
        browser = stack.browser(Person("minsu", locale="ko"))
        stack.start_server(browser, "minsu")
        work, pid = _save(stack, browser, "minsu"), stack.server_pid("minsu")
        end = time.monotonic() + 60
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end, "nobody used it"
            time.sleep(0.5)
        page = _wait_for_page(stack, browser, "minsu", "쓰지 않아서 노트북 서버를 닫았어요")
        assert "nobody used it" not in page, "one language, the person's"
        assert json.loads(work.read_text())["nbformat"] == 4
        _press_start(stack, browser, "minsu", page)


def test_a_killed_server_is_noticed_and_the_page_offers_a_start(stack: Stack) -> None:
    browser = stack.browser(Person("jiwoo", locale="en"))
    stack.start_server(browser, "jiwoo")
    work = _save(stack, browser, "jiwoo")
    os.killpg(stack.server_pid("jiwoo"), signal.SIGKILL)
    # Until the Hub has noticed, the page says so and loads itself again.
    page = _text(browser, f"{stack.place.hub_url}/user/jiwoo/lab")
    assert ("does not answer" in page and 'http-equiv="refresh"' in page) or "unexpectedly" in page
    page = _wait_for_page(stack, browser, "jiwoo", "ended unexpectedly")
    assert json.loads(work.read_text())["nbformat"] == 4
    _press_start(stack, browser, "jiwoo", page)


def test_a_second_tab_shows_the_same_server_and_kernel(stack: Stack) -> None:
    browser = stack.browser(Person("hana"))
    stack.start_server(browser, "hana")
    kernel = _api(stack, browser, "hana", "POST", "kernels", name="python3").json()["id"]
    pid = stack.server_pid("hana")
    second = requests.Session()
    second.trust_env = False
    second.cookies.update(browser.cookies)
    page = second.get(f"{stack.place.hub_url}/hub/user-redirect/lab")
    assert page.url.startswith(f"{stack.place.hub_url}/user/hana/lab")
    seen = _api(stack, second, "hana", "GET", "kernels").json()
    assert [one["id"] for one in seen] == [kernel]
    assert stack.server_pid("hana") == pid


@contextmanager
def _full_broker(path: Path) -> Iterator[None]:
    """Answer as the broker of a machine without room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sentence = "this machine has only 90 MB of memory left, too little for another server"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                with line:
                    question = json.loads(line.recv(65536) or b"{}")
                    answer: dict[str, object] = {"server": ServerState(running=False).to_json()}
                    if "start_server" in question:
                        answer = {"error": sentence, "full": True}
                    line.send(json.dumps(answer).encode())

        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def test_a_full_machine_is_one_sentence_and_what_to_do(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("f")
    with (
        _full_broker(folder / "data" / "run" / "broker.sock"),
        _hub(folder, local=False) as stack,
    ):
        for name, locale, words, other in (
            ("minsu", "ko", "지금은 이 컴퓨터에 자리가 없어요", "There is no room"),
            ("suji", "en", "There is no room for your server now", "자리가 없어요"),
        ):
            browser = stack.browser(Person(name, locale=locale))
            browser.get(f"{stack.place.hub_url}/hub/spawn/{name}")
            pending = f"{stack.place.hub_url}/hub/spawn-pending/{name}"
            end = time.monotonic() + 30
            while words not in (page := _text(browser, pending)):
                assert time.monotonic() < end, page[-2000:]
                time.sleep(0.3)
            assert other not in page
            assert page.count('<a id="start"') == 1
