"""The system, the browser, and where the pictures of each step go."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.stack import ROOT, Stack, start, wait_until_well

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One system for all journeys, with one GPU that is simulated."""
    data = tmp_path_factory.mktemp("journeys") / "data"
    stack = start(data, extra={"LMS_SIMULATED_GPUS": "1"})
    try:
        wait_until_well(stack, 300)
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window.

    Playwright keeps an event loop running in this thread until the module ends: longer, and no
    other test could run one.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path is not None, "the journeys need Chromium: make check installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where a journey leaves a picture of every step; kept after the run, to be looked at."""
    folder = Path(os.environ.get("TEST_PICTURES") or ROOT / "test-output" / "journeys")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
