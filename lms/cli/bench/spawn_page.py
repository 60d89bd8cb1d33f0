"""The page's part of a first cell: from the click in a real Chromium to the cell's result."""

import contextlib
import importlib
import importlib.util
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click
import requests

from lms.cli.bench.spawn_hubs import Hub

_NAME = "first.ipynb"
_SECONDS = 120
_SETTLE_SECONDS = 2
_TRY_MILLISECONDS, _TRIES = 500, 240
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
#: What the cell prints is new each time, so that no old result is taken for it.
_SOURCE = "import time; print('ran', time.time_ns())"
_RESULT = """before => {
  const area = document.querySelector(".jp-Notebook .jp-OutputArea-output pre");
  const found = area && /ran \\d+/.exec(area.textContent);
  return found && found[0] !== before ? found[0] : false;
}"""
#: Said where there is none.
MISSING = "There is no Chromium here, so the page's own share was not measured."


@dataclass
class Seen:
    """What the visits of one Hub's pages took: seconds, bytes and requests, of each visit."""

    total: list[float] = field(default_factory=list)
    page: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    again_weight: list[float] = field(default_factory=list)
    again_requests: list[float] = field(default_factory=list)


def find_chromium() -> str | None:
    """Return where a Chromium is that we can steer, None where there is none."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def _opened(chromium: str) -> Iterator[Any]:
    """Give a fresh browser, with a folder of its own: without one it keeps its cache smaller."""
    # Only where it is measured: the product itself does without a browser.
    playwright = importlib.import_module("playwright.sync_api")
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        playwright.sync_playwright() as running,
        running.chromium.launch_persistent_context(
            folder, executable_path=chromium, args=_FLAGS
        ) as context,
    ):
        context.set_default_timeout(_SECONDS * 1000)
        yield context


def put_notebook(hub: Hub, name: str) -> None:
    """Lay the notebook with the cell into a running server's home."""
    cell: dict[str, Any] = {
        "cell_type": "code",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {
        "cells": [cell | {"id": "first", "source": _SOURCE}],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    answer = requests.put(
        f"{hub.url}/user/{name}/api/contents/{_NAME}",
        json={"type": "notebook", "format": "json", "content": notebook},
        headers=hub.headers,
        timeout=_SECONDS,
    )
    if not answer.ok:
        raise click.ClickException(f"{answer.url}: {answer.text[:200]}")


def visit(chromium: str, hub: Hub, name: str, into: Seen, without_page: float) -> None:
    """Click with no server running, run the cell; then come back and run it again.

    `without_page` is what server and kernel took of the same, without a page.
    """
    with _opened(chromium) as context:
        page = context.pages[0]
        page.goto(f"{hub.url}/hub/login?next=/hub/home")
        page.fill("[name=username]", name)
        page.fill("[name=password]", "any")
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/hub/home")
        meter = _Weight(context, page)
        lab = f"/user/{name}/lab/tree/{_NAME}"
        seconds, result = _run_cell(page, f"{hub.url}/hub/spawn/{name}?next={lab}", "")
        into.total.append(seconds)
        into.page.append(seconds - without_page)
        meter.take(into.weight, into.requests)
        page.goto("about:blank")
        meter.forget()
        seconds, _ = _run_cell(page, hub.url + lab, result)
        into.again.append(seconds)
        meter.take(into.again_weight, into.again_requests)


def _run_cell(page: Any, address: str, before: str) -> tuple[float, str]:  # noqa: ANN401 - Playwright's
    """Return the seconds until the notebook's cell has printed, and what it printed."""
    begin = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    for _ in range(_TRIES):
        page.click(".jp-Notebook .jp-CodeCell .cm-content")
        page.keyboard.press("Control+Enter")
        # The editor is there a little before its keys are: a person would press again, too.
        with contextlib.suppress(importlib.import_module("playwright.sync_api").TimeoutError):
            found = page.wait_for_function(_RESULT, arg=before, timeout=_TRY_MILLISECONDS)
            return time.perf_counter() - begin, str(found.json_value())
    raise click.ClickException(f"The cell behind {address} printed nothing.")


class _Weight:
    """What came over the network, as Chromium's own tools count it."""

    def __init__(self, context: Any, page: Any) -> None:  # noqa: ANN401 - Playwright's
        self._page = page
        self._urls: dict[str, str] = {}
        self._loaded: list[tuple[str, float]] = []
        session = context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", lambda event: self._note(event))  # noqa: PLW0108 - Playwright marks it
        session.on("Network.loadingFinished", lambda event: self._add(event))  # noqa: PLW0108
        session.send("Network.enable")

    def take(self, weight: list[float], count: list[float]) -> None:
        """Add what has come since, once the page is quiet."""
        self._page.wait_for_timeout(_SETTLE_SECONDS * 1000)
        weight.append(sum(size for _, size in self._loaded))
        count.append(len(self._loaded))

    def forget(self) -> None:
        """Begin anew."""
        self._loaded.clear()

    def _note(self, event: dict[str, Any]) -> None:
        self._urls[event["requestId"]] = event["request"]["url"]

    def _add(self, event: dict[str, Any]) -> None:
        # What comes from the browser's cache has no length; what stands in the page is no request.
        url, size = self._urls.get(event["requestId"], ""), float(event["encodedDataLength"])
        if size > 0 and url.startswith("http"):
            self._loaded.append((url, size))
