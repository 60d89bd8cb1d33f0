"""A person at a browser: signs in, reads, clicks, types, works in JupyterLab."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect
from playwright.sync_api import Error as PlaywrightError

from tests.stack import Stack

LAB_SECONDS = 120_000
ACTIVE_CELL = ".jp-Notebook .jp-Cell.jp-mod-active"


@dataclass(slots=True)
class Person:
    """One browser profile and its only tab."""

    stack: Stack
    context: BrowserContext
    page: Page
    pictures: Path
    name: str
    #: Names of LMS cookies that went to the Hub's host; a test wants none.
    leaked: list[str] = field(default_factory=list)
    #: Addresses outside this machine that a page asked for; a test wants none.
    outside: list[str] = field(default_factory=list)
    _step: int = 0

    @classmethod
    def at(
        cls, stack: Stack, browser: Browser, pictures: Path, name: str, locale: str = "ko-KR"
    ) -> "Person":
        """Sit down at a fresh browser."""
        context = browser.new_context(locale=locale, viewport={"width": 1440, "height": 900})
        context.set_default_timeout(30_000)
        person = cls(stack, context, context.new_page(), pictures, name)
        # Playwright leaves a mark on the handler's owner, which a slotted class cannot carry.
        context.on("request", lambda request: person._watch(request))  # noqa: PLW0108
        return person

    def picture(self, what: str, *, whole: bool = True) -> None:
        """Keep a picture of the page as it is now."""
        self._step += 1
        for frame in self.page.locator("iframe[sandbox]").all():
            # A frame that was never in sight is left blank in a picture of the whole page.
            frame.scroll_into_view_if_needed()
            self.page.wait_for_timeout(300)
        path = self.pictures / f"{self.name}-{self._step:02}-{what}.png"
        # After scrolling, the skip link above the window would stand in the middle of the picture.
        self.page.locator(".skip").evaluate_all(
            "links => links.forEach(link => link.hidden = true)"
        )
        self.page.screenshot(path=path, full_page=whole)

    def visit(self, path: str) -> None:
        """Go to a page of the LMS."""
        self.page.goto(self.stack.lms_url + path)

    def sign_in(self, username: str, password: str = "") -> None:
        """Sign in on the form; the first accounts' passwords are known."""
        self.visit("/login")
        self.page.fill("input[name=username]", username)
        self.page.fill("input[name=password]", password or self.stack.passwords()[username])
        self.page.press("input[name=password]", "Enter")
        expect(self.page).not_to_have_url(re.compile("/login"))

    def in_lab(self) -> None:
        """Wait until JupyterLab shows the notebook."""
        self.page.wait_for_url("**/lab/tree/**", timeout=LAB_SECONDS)
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=LAB_SECONDS)

    def answer(self, answers: Mapping[str, str]) -> None:
        """Type into the notebook: each cell that holds a key gets that text instead."""
        page = self.page
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.keyboard.press("Escape")
        left = dict(answers)
        before = ""
        for _ in range(200):
            cell = page.locator(ACTIVE_CELL).first
            text = cell.inner_text()
            if text == before and not left:
                break
            found = next((key for key in left if key in text), None)
            if found is not None:
                page.keyboard.press("Enter")
                page.keyboard.press("ControlOrMeta+a")
                page.keyboard.insert_text(left.pop(found))
                page.keyboard.press("Escape")
            before = text
            if not left:
                break
            page.keyboard.press("ArrowDown")
        assert not left, f"no cell holds {sorted(left)}"
        page.keyboard.press("ControlOrMeta+s")
        page.locator(".lm-TabBar-tab.jp-mod-dirty").wait_for(state="hidden")

    def open_assignment_list(self) -> None:
        """Open nbgrader's own Assignment List from JupyterLab's menu."""
        self.page.get_by_role("menuitem", name="Nbgrader").click()
        self.page.locator(".lm-Menu-item", has_text="Assignment List").click()
        try:
            self.page.locator("#fetched_assignments_list .list_item").first.wait_for()
        except PlaywrightError:
            self.picture("assignment-list-missing", whole=False)
            raise

    def submit_in_lab(self, assignment: str) -> None:
        """Press Submit beside the assignment in the Assignment List."""
        item = self.page.locator("#fetched_assignments_list .list_item", has_text=assignment)
        with self.page.expect_response(lambda answer: "assignments/submit" in answer.url) as sent:
            item.get_by_role("button", name="Submit").first.click()
        assert sent.value.json()["success"], sent.value.text()

    def leave(self) -> None:
        """Close the browser."""
        self.context.close()

    def _watch(self, request: Request) -> None:
        address = request.url
        if not address.startswith((self.stack.lms_url, self.stack.hub_url, "data:", "blob:")):
            self.outside.append(address)
        if address.startswith(self.stack.hub_url):
            self.leaked += re.findall(r"\bseodang[a-z_]*=", request.headers.get("cookie", ""))


def reading(page: Page, ask: Callable[[Page], str]) -> str:
    """Return what `ask` reads from the page, without line breaks."""
    return " ".join(ask(page).split())
