"""A venue's machine and central: a code is read out and typed, and a stolen machine is revoked."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.person import Person
from tests.stack import ROOT, Stack, free_ports, start, wait_until, wait_until_well

pytestmark = [pytest.mark.stack, pytest.mark.browser]

COURSE, TASK, NAME = "python-for-ai", "letter-detective", "해남 배움터"
#: What is built after its opening time is not sealed at all.
SOON = timedelta(seconds=90)


@pytest.fixture
def venue(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A centre's machine with a sealed course from a stick; it has told central nothing since."""
    course, stick, ticket = tmp_path / COURSE, tmp_path / "stick", tmp_path / "venue.ticket"
    shutil.copytree(ROOT / "courses" / COURSE, course)
    toml = course / "course.toml"
    keyed = f'key = "{TASK}"\n'
    opens = (datetime.now(UTC) + SOON).replace(microsecond=0)
    sealed = f"{keyed}sealed_until = {opens.isoformat()}\n"
    text = toml.read_text("utf-8").replace(keyed, sealed, 1)
    toml.write_text(text, "utf-8")
    stack.lms("bundle", "build", str(course), "--course", COURSE)
    stack.lms("bundle", "export", "--to", str(stick))
    stack.lms("centre", "invite", NAME, "--out", str(ticket))
    box = start(tmp_path / "box" / "data", free_ports(after=stack.hub_port + 3), words=())
    try:
        wait_until_well(box, 300)
        reply = tmp_path / "venue.reply"
        box.lms("centre", "join", str(ticket), "--reply", str(reply))
        stack.lms("centre", "approve", str(reply))
        box.lms("centre", "pull", "--from", str(stick))
        wait_until(lambda: datetime.now(UTC) > opens, SOON.total_seconds(), "the opening time")
        yield box
    finally:
        box.stop()


@pytest.fixture
def lead(venue: Stack, browser: Browser, pictures: Path) -> Iterator[Person]:
    """Who looks after the venue, reading Korean."""
    lead = Person.at(venue, browser, pictures, "centre-lead")
    lead.sign_in("admin")
    yield lead
    lead.leave()


@pytest.fixture
def operator(stack: Stack, browser: Browser, pictures: Path) -> Iterator[Person]:
    """Central's operator, reading English."""
    operator = Person.at(stack, browser, pictures, "central-operator", "en-GB")
    operator.sign_in("admin")
    # The first account reads Korean until it says otherwise.
    operator.page.get_by_role("button", name="English").click()
    expect(operator.page.locator("html")).to_have_attribute("lang", "en")
    yield operator
    operator.leave()


def _in_both_languages(person: Person, what: str) -> None:
    """Keep pictures of the page in both languages, wide and on a phone, light and dark."""
    page = person.page
    for language in ("first", "second"):
        for width, scheme in ((1440, "light"), (390, "dark")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, what
            person.picture(f"{what}-{language}-{width}-{scheme}")
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")
        before = page.locator("html").get_attribute("lang")
        page.locator(".bar-form button").click()
        expect(page.locator("html")).not_to_have_attribute("lang", before or "")


def test_a_code_is_typed_and_a_stolen_machine_is_revoked(lead: Person, operator: Person) -> None:
    # The venue's own page says who this is, and that the hidden tests can be opened.
    page = lead.page
    lead.visit("/centre")
    expect(page.locator(".pipe")).to_contain_text(NAME)
    expect(page.locator(".courses-here")).to_contain_text("테스트를 열 수 있음")
    _in_both_languages(lead, "centre")

    # A code that is none is refused in a sentence, and what was typed stays.
    page.fill("#f-code", "ABCD-EFGH")
    page.get_by_role("button", name="테스트 열기").click()
    expect(page.locator("#e-code")).to_be_visible()
    expect(page.locator("#f-code")).to_have_value("ABCD-EFGH")
    lead.picture("wrong-code")

    # Central's operator finds the venue, and reads the code out.
    desk = operator.page
    operator.visit("/admin/centres")
    _in_both_languages(operator, "centres")
    desk.get_by_role("link", name=NAME).click()
    operator.picture("one-centre")
    desk.get_by_role("button", name="Show the code").click()
    code = desk.locator(".given").inner_text()
    operator.picture("code")

    # Typed at the venue, with small letters too, it opens the tests.
    page.fill("#f-code", code.lower())
    page.get_by_role("button", name="테스트 열기").click()
    expect(page.locator(".flash")).to_contain_text("숨은 테스트가 열렸어요")
    expect(page.locator(".courses-here")).to_contain_text("준비됨")
    expect(page.locator("#f-code")).to_have_count(0)
    lead.picture("open")

    # A sheet for the wall, and slips for the people.
    page.get_by_role("link", name="벽에 붙일 안내지").click()
    expect(page.locator(".paper svg")).to_be_visible()
    lead.picture("sheet")
    lead.visit("/centre/claims")
    expect(page.locator("h1")).to_have_text("연결 코드")

    # The machine is stolen: central asks before it revokes, and wants a reason.
    desk.get_by_role("link", name="Back to the centre").click()
    desk.get_by_role("link", name="Revoke").click()
    expect(desk.locator("main")).to_contain_text("This cannot be undone")
    desk.fill("#f-reason", "Stolen on Monday")
    operator.picture("asks-before-revoking")
    desk.get_by_role("button", name="Revoke it").click()
    expect(desk.locator(".flash")).to_contain_text("is revoked")
    expect(desk.locator("main")).to_contain_text("Stolen on Monday")
    _in_both_languages(operator, "revoked")
    assert lead.outside == operator.outside == []
