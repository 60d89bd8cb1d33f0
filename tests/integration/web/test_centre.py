"""The box's own page: who it is, what waits, opening hidden tests, slips and sheet to print."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from lms.bootstrap import System, build
from lms.centre.keys import read_keys
from lms.centre.models import CentreSelf
from lms.centre.pages import Space, measure
from lms.centre.tickets import get_self
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.migrations.tables import metadata
from lms.outposts.bundles.pull import How, look
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.trust import Trust
from lms.protocol.sentences import sentence
from lms.web.centre import building
from tests.factories.bundles import Central, pull_from
from tests.factories.centres import Box, make_invitation
from tests.factories.school import School
from tests.fakes.browser import post
from tests.fakes.clock import Clock
from tests.integration.identity.conftest import MakeApp

Browser = Callable[..., FlaskClient]
OPENS = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def joined(system: System, school: School, make_app: MakeApp, tmp_path: Path) -> System:
    """The system as a centre: central's ticket was made elsewhere."""
    del school
    other = build(Settings(data_dir=tmp_path / "central", lms_url="https://central.example"))
    metadata.create_all(other.engine)
    Box(system).join(make_invitation(other, "Haenam"))
    other.engine.dispose()
    return system


@pytest.fixture
def published(joined: System, tmp_path: Path, ticking: Clock) -> Central:
    """A repository with a sealed course, which has been pulled."""
    central = Central(tmp_path / "published")
    files = {"course.txt": b"plain", "hidden/tests.txt": b"secret"}
    central.publish(files, now=clock.now(), sealed={"hidden/tests.txt": OPENS})
    store = Store(joined.settings.bundles_dir)
    root = (central.repository / "metadata" / "1.root.json").read_bytes()
    Trust(store.root, store.disk).begin(root, clock.now() - timedelta(days=1))
    pull_from(store, central.repository, now=clock.now())
    return central


def _code(system: System, central: Central) -> str:
    """Return the code that central would show: made of what the two share."""
    with system.sessions() as session:
        me = get_self(session)
        key = next(iter(read_keys(me.central_keys).values()))
    return central.code(me.centre, Box(system).signer.agree(key))


def test_a_machine_that_is_no_centre_says_so_and_how_to_join(
    browse: Browser, school: School
) -> None:
    page = browse(school.admin).get("/centre").text
    assert "This machine is no centre" in page
    assert "lms centre join TICKET" in page


@pytest.mark.parametrize("path", ["/centre", "/centre/claims", "/centre/sheet"])
def test_only_administrators_see_the_pages(browse: Browser, school: School, path: str) -> None:
    assert browse().get(path).status_code == 302
    assert browse(school.minseo).get(path).status_code == 403
    assert browse(school.teacher).get(path).status_code == 403


def test_the_page_says_who_this_is_and_what_waits(
    browse: Browser, school: School, joined: System, app: Flask
) -> None:
    with transaction(joined.sessions) as session:
        me = session.get_one(CentreSelf, 1)
        me.contact_at = clock.now() - timedelta(days=6)
    client = browse(school.admin)
    post(client, f"/offerings/{school.by_code.key}/enrol", "/courses")
    page = client.get("/centre").text
    assert "Central has no record of this centre yet." in page
    assert "Haenam" in page
    assert "central.example" in page
    assert "6 days ago" in page
    korean = browse(school.admin, "ko").get("/centre").text
    assert "중앙" in korean
    assert "Everything works" not in korean


def test_what_is_wrong_is_said_with_what_to_do(
    browse: Browser, school: School, joined: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(joined.sessions) as session:
        me = session.get_one(CentreSelf, 1)
        me.signed_at = clock.now() + timedelta(days=3)
        me.refusal = sentence("This answer of central is for another centre.").to_json()
    full = Space(total=100 << 30, free=1 << 30, parts={"bundles": 1 << 30})
    monkeypatch.setattr(building, "_space", lambda _: full)
    page = browse(school.admin).get("/centre").text
    assert "The clock of this machine is behind" in page
    assert "This answer of central is for another centre." in page
    assert "The disk is nearly full: 1 GB are free" in page
    assert "There is no course here yet" in page


def test_a_course_shows_its_version_and_when_its_tests_open(
    browse: Browser, school: School, published: Central, joined: System, ticking: Clock
) -> None:
    page = browse(school.admin).get("/centre").text
    assert "Ready, tests still closed" in page
    assert "Tests open at 25 November 2026, 09:00" in page
    ticking.at = OPENS + timedelta(hours=1)
    page = browse(school.admin).get("/centre").text
    assert "The hidden tests of ml can be opened" in page


def test_a_newer_version_that_is_known_is_named(
    browse: Browser, school: School, published: Central, joined: System
) -> None:
    published.publish({"course.txt": b"second"}, now=clock.now())
    store = Store(joined.settings.bundles_dir)
    sources = [FolderSource(published.repository)]
    look(store, How(sources=sources, machine_time=clock.now()))
    page = browse(school.admin).get("/centre").text
    assert "Ready, version 2 on the way" in page
    assert "2 is known" in page


def test_the_software_is_named_as_such(
    browse: Browser, school: School, published: Central, joined: System
) -> None:
    published.publish({"install.txt": b"wheels"}, course="seodang-software", now=clock.now())
    pull_from(Store(joined.settings.bundles_dir), published.repository, now=clock.now())
    assert "The software of this machine" in browse(school.admin).get("/centre").text
    assert "이 컴퓨터의 소프트웨어" in browse(school.admin, "ko").get("/centre").text


def test_a_typed_code_opens_the_tests_and_a_wrong_one_says_why(
    browse: Browser,
    school: School,
    published: Central,
    joined: System,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lms.centre.opening.install", lambda *_, **__: None)
    client = browse(school.admin)
    wrong = post(client, "/centre/open", "/centre", course="ml", code="not a code")
    assert wrong.status_code == 400
    assert "not a code" in wrong.text
    assert 'id="e-code"' in wrong.text
    strange = post(client, "/centre/open", "/centre", course="../x", code="1")
    assert "Choose the course that the code is for." in strange.text

    right = post(client, "/centre/open", "/centre", course="ml", code=_code(joined, published))
    assert right.status_code == 302, right.text
    page = client.get("/centre").text
    assert "The hidden tests of ml are open." in page
    assert "graded now" not in page
    assert "Tests of 25 November 2026, 09:00: open" in page


def test_the_pages_may_read_what_a_pull_leaves(published: Central, joined: System) -> None:
    # `lms centre pull` runs as root, the pages as a user of their own.
    assert published.versions == 1
    root = joined.settings.bundles_dir
    files = [path for path in root.rglob("*") if path.is_file()]
    assert any("trusted" in path.parts for path in files)
    shut = [path for path in files if not path.stat().st_mode & 0o044]
    assert shut == []


def test_a_student_cannot_open_tests(
    browse: Browser, school: School, published: Central, joined: System
) -> None:
    client = browse(school.minseo)
    done = post(client, "/centre/open", "/account", course="ml", code=_code(joined, published))
    assert done.status_code == 403
    assert not Store(joined.settings.bundles_dir).key_of(published.seals.of("ml")[0].seal.name)


def test_a_damaged_course_is_named_and_the_page_stands(
    browse: Browser, school: School, published: Central, joined: System
) -> None:
    for path in (joined.settings.bundles_dir / "manifests").iterdir():
        path.write_bytes(b"rot")
    page = browse(school.admin).get("/centre").text
    assert "ml is damaged" in page


def test_the_disk_is_the_one_that_work_lies_on(
    joined: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In its own view of the files the web part has the data folder itself in memory.
    disk, memory = SimpleNamespace(total=900, free=400), SimpleNamespace(total=9, free=4)
    sizes = {joined.settings.blobs_dir: disk, joined.settings.data_dir: memory}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: sizes[path])
    space = measure(joined.settings.data_dir, ())
    assert (space.total, space.free) == (900, 400)


def test_claim_codes_are_slips_and_stay_out_of_the_cache(
    browse: Browser, school: School, joined: System
) -> None:
    answer = browse(school.admin).get("/centre/claims")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Nobody is in this centre" in answer.text


def test_the_sheet_draws_its_own_address(browse: Browser, school: School, joined: System) -> None:
    page = browse(school.admin).get("/centre/sheet").text
    assert "<svg" in page
    assert "http://127.0.0.1:8123" in page
    assert "No other machine can reach this address" in page
    assert "이 방의 네트워크" in browse(school.admin, "ko").get("/centre/sheet").text
