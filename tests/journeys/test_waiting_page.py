"""The page that waits for a notebook server: a real Hub, proxy and server, seen in Chromium."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from lms.outposts.hub.spawner import STEPS
from tests.fakes.hub_stack import (
    Stack,
    end_servers,
    free_ports,
    make_place,
    running_hub,
    running_proxy,
)
from tests.fakes.identity_provider import COOKIE, IdentityProvider, Person, serving

pytestmark = pytest.mark.browser

START_SECONDS = 90_000
LAB = re.compile(r"/user/[^/]+/lab")
KOREAN = STEPS[1][1]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return a Hub whose servers start the slow way, so that there is something to wait for."""
    port = free_ports(1)
    place = make_place(tmp_path_factory.mktemp("waiting") / "data", f"http://127.0.0.1:{port}")
    provider = IdentityProvider(place.key("client_secret"), f"{place.hub_url}/hub/oauth_callback")
    with serving(provider, port), running_proxy(place):
        with running_hub(place):
            yield Stack(place, provider)
        end_servers(place)


@contextmanager
def _waiting(
    hub: Stack, browser: Browser, person: Person, *, script: bool = True
) -> Iterator[Page]:
    """Ask for the person's server in a fresh browser."""
    with browser.new_context(java_script_enabled=script) as context:
        cookie = hub.provider.sign_in(person)
        context.add_cookies([{"name": COOKIE, "value": cookie, "url": hub.place.lms_url}])
        yield context.new_page()


def _open(hub: Stack, page: Page) -> None:
    page.goto(f"{hub.place.hub_url}/hub/user-redirect/lab", wait_until="commit")


def test_the_page_shows_the_spawners_own_steps(
    hub: Stack, browser: Browser, pictures: Path
) -> None:
    with _waiting(hub, browser, Person("minsu", 200001, locale="ko")) as page:
        asked: list[Request] = []
        page.on("request", lambda request: asked.append(request))  # noqa: PLW0108 - Playwright marks it
        _open(hub, page)
        expect(page.locator("#step")).to_have_text(KOREAN, timeout=START_SECONDS)
        expect(page.locator("#progress")).to_have_attribute("aria-valuenow", "40")
        assert page.locator("#progress .done").count() == 8
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 700})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=pictures / f"waiting-ko-{width}-{scheme}.png")
        page.wait_for_url(LAB, timeout=START_SECONDS)
        polls = [one for one in asked if one.resource_type == "fetch" and "pending" in one.url]
        assert len(polls) < 6, "the stream says when, and polling only stands by"


def test_where_the_stream_breaks_the_page_asks(hub: Stack, browser: Browser) -> None:
    with _waiting(hub, browser, Person("jiwoo", 200002, locale="en")) as page:
        page.route("**/progress*", lambda route: route.abort())
        _open(hub, page)
        expect(page.get_by_role("heading", name="Your notebook is opening")).to_be_visible()
        expect(page.locator("#step")).to_be_empty()
        page.wait_for_url(LAB, timeout=START_SECONDS)


def test_without_script_the_page_asks_by_itself(
    hub: Stack, browser: Browser, pictures: Path
) -> None:
    with _waiting(hub, browser, Person("haneul", 200003, locale="en"), script=False) as page:
        _open(hub, page)
        expect(page.get_by_role("heading", name="Your notebook is opening")).to_be_visible()
        page.screenshot(path=pictures / "waiting-en-noscript.png")
        page.wait_for_url(LAB, timeout=START_SECONDS, wait_until="commit")
