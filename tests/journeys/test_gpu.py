"""Two people, one GPU: the second works on the CPU, is called, and moves over with one click."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.journeys.person import LAB_SECONDS, Person
from tests.stack import ROOT, Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser]

#: Prints the devices that the kernel finds, after what the broker told it.
CELL = (
    "import os; print('devices:', os.environ.get('LMS_GPU'), "
    "sorted(one for one in os.listdir('/dev') if 'gpu' in one))"
)
ON_CPU, ON_GPU = "devices: None []", "['seodang-gpu-0']"
CHIP, OUTPUT = ".seodang-gpu-chip", ".jp-Notebook .jp-OutputArea-output"
PASSWORD = "a long enough pass phrase"


@pytest.fixture
def people(stack: Stack, browser: Browser, pictures: Path) -> Iterator[tuple[Person, Person]]:
    """Two students at their browsers, signed in."""
    subprocess.run(
        [sys.executable, "-m", "lms.cli", "person", "add", "minji", "--password-stdin"],
        env=stack.env(),
        cwd=ROOT,
        input=PASSWORD,
        text=True,
        check=True,
    )
    first = Person.at(stack, browser, pictures, "gpu-first")
    second = Person.at(stack, browser, pictures, "gpu-second")
    first.sign_in("student")
    second.sign_in("minji", PASSWORD)
    yield first, second
    first.leave()
    second.leave()


def _open_gpu_notebook(person: Person) -> Page:
    """Choose the kernel with a whole GPU in JupyterLab's launcher."""
    page = person.page
    page.goto(f"{person.stack.hub_url}/hub/user-redirect/lab?reset")
    card = page.locator(".jp-LauncherCard", has_text="GPU 전체").first
    card.wait_for(timeout=LAB_SECONDS)
    card.click()
    return page


def _run_cell(page: Page) -> None:
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.insert_text(CELL)
    page.keyboard.press("Shift+Enter")


def test_a_gpu_goes_from_one_notebook_to_the_next(people: tuple[Person, Person]) -> None:
    first, second = people

    # The first gets it, and the page says that it is simulated.
    page = _open_gpu_notebook(first)
    expect(page.locator(CHIP)).to_contain_text("GPU 0 (모의)", timeout=LAB_SECONDS)
    _run_cell(page)
    expect(page.locator(OUTPUT).first).to_contain_text(ON_GPU)
    page.locator(CHIP).click()
    expect(page.get_by_role("dialog", name="GPU 0 (모의)")).to_contain_text("흉내 낸 장치")
    first.picture("has-it", whole=False)
    page.keyboard.press("Escape")

    # The second works on the CPU at once, and sees the place in the queue and why.
    other = _open_gpu_notebook(second)
    expect(other.locator(CHIP)).to_contain_text("1번째", timeout=LAB_SECONDS)
    _run_cell(other)
    expect(other.locator(OUTPUT).first).to_contain_text(ON_CPU)
    other.locator(CHIP).click()
    waiting = other.get_by_role("dialog", name="GPU를 기다리고 있어요")
    expect(waiting).to_contain_text("모두 쓰이고 있어요")
    second.picture("waits", whole=False)
    other.keyboard.press("Escape")

    # The first shuts the kernel down; the second is called, and moves over with one click.
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Shut Down Kernel").first.click()
    button = other.get_by_role("button", name="GPU에서 다시 시작하고 모두 실행")
    button.wait_for()
    other.wait_for_timeout(700)  # it slides in
    second.picture("is-called", whole=False)
    button.click()
    expect(other.locator(OUTPUT).first).to_contain_text(ON_GPU)
    expect(other.locator(CHIP)).to_contain_text("GPU 0 (모의)")
    expect(other.locator(".jp-OutputArea-output[data-mime-type*=stderr]")).to_have_count(0)
    second.picture("has-it", whole=False)
    assert first.outside == second.outside == []
