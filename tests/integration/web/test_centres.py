"""Central's pages: the table of centres, codes from their time on, audits, refusals, revoking."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from lms.bootstrap import System
from lms.centre.keys import seals_dir
from lms.centre.models import CentreRecord, CentreResult
from lms.centre.rules import CentreState, RecordState
from lms.foundation.db import transaction
from lms.grading.audit import Act
from lms.grading.models import AuditEntry, Run
from lms.outposts.bundles.sealing import Seals
from lms.protocol.sentences import sentence
from tests.factories.centres import (
    AppLine,
    Box,
    enter,
    find_centre,
    grade_run,
    make_box,
    make_content,
    make_invitation,
    set_rate,
)
from tests.factories.grading import finding
from tests.factories.school import School
from tests.fakes.browser import post
from tests.fakes.clock import Clock

Browser = Callable[..., FlaskClient]
OPENS = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def box(system: System, school: School, tmp_path: Path) -> Iterator[Box]:
    """The centre “Jeju”, which has joined."""
    del school
    make_content(system)
    box = make_box(tmp_path / "box")
    enter(system, box)
    yield box
    box.system.engine.dispose()


@pytest.fixture
def seals(system: System) -> Seals:
    """Sealed tests of a course, made at central."""
    folder = seals_dir(system.settings)
    folder.mkdir(parents=True)
    seals = Seals(folder)
    seals.make("ml", OPENS)
    return seals


def _href(system: System) -> str:
    with system.sessions() as session:
        return f"/admin/centres/{find_centre(session).id}"


def _acts(system: System, act: Act) -> int:
    with system.sessions() as session:
        return len(session.scalars(select(AuditEntry).where(AuditEntry.kind == act)).all())


def test_without_a_centre_the_page_explains_how_to_invite_one(
    browse: Browser, school: School
) -> None:
    page = browse(school.admin).get("/admin/centres").text
    assert "No centre has been invited yet" in page
    assert "lms centre invite" in page


def test_only_administrators_see_centres(
    browse: Browser, school: School, box: Box, system: System
) -> None:
    href = _href(system)
    for path in ("/admin/centres", href, f"{href}/revoke", f"{href}/runs/1"):
        assert browse().get(path).status_code == 302
        assert browse(school.teacher).get(path).status_code == 403
    for path in ("/code", "/audit-rate", "/apply", "/revoke"):
        done = post(browse(school.teacher), href + path, "/account", reason="x")
        assert done.status_code == 403, path
    assert browse(school.admin).get("/admin/centres/nowhere").status_code == 404


def test_the_table_says_what_came_and_when(
    browse: Browser, school: School, box: Box, system: System, app: Flask, ticking: Clock
) -> None:
    box.work(box.student("hana"))
    box.push(AppLine(app))
    make_invitation(system, "Ulleung")
    page = browse(school.admin).get("/admin/centres").text
    assert "Jeju" in page
    assert "In touch" in page
    assert "Invited" in page
    assert "Records came on 1 of the last 14 days, the newest on 24 Nov" in page
    ticking.forward(days=9)
    assert "Quiet" in browse(school.admin).get("/admin/centres").text
    assert "조용함" in browse(school.admin, "ko").get("/admin/centres").text


def test_a_code_is_shown_from_its_time_on_and_written_down_but_never_before(
    browse: Browser, school: School, box: Box, system: System, seals: Seals, ticking: Clock
) -> None:
    href, client = _href(system), browse(school.admin)
    assert "Not before" in client.get(href).text
    early = post(client, f"{href}/code", href, course="ml")
    assert early.status_code == 409
    assert _acts(system, Act.SEAL_CODE_GIVEN) == 0

    ticking.at = OPENS + timedelta(minutes=1)
    client = browse(school.admin)
    assert "Show the code" in client.get(href).text
    given = post(client, f"{href}/code", href, course="ml")
    assert given.status_code == 200
    assert given.headers["Cache-Control"] == "no-store"
    assert 'class="given"' in given.text
    assert _acts(system, Act.SEAL_CODE_GIVEN) == 1
    assert post(client, f"{href}/code", href, course="../x").status_code == 404


def test_a_disagreement_shows_both_runs(
    browse: Browser, school: School, box: Box, system: System, app: Flask
) -> None:
    set_rate(system, 1.0)
    box.work(box.student("hana"))
    box.push(AppLine(app))
    with system.sessions() as session:
        result = session.scalars(select(CentreResult)).one()
        run_id, again = result.run_id, result.audit_run_id
    assert again is not None
    grade_run(system, again, (finding(score=1.0),))
    client, href = browse(school.admin), _href(system)
    assert "1 differs" in client.get("/admin/centres").text
    page = client.get(href).text
    assert f"{href}/runs/{run_id}" in page
    both = client.get(f"{href}/runs/{run_id}").text
    assert "The centre came to 2 of 5 points, central to 1" in both
    with system.sessions() as session:
        submission = session.get_one(Run, run_id).submission_id
    assert f"/submissions/{submission}" in both
    assert client.get(f"{href}/runs/{run_id + 99}").status_code == 404


def test_the_audit_rate_is_set_within_bounds(
    browse: Browser, school: School, box: Box, system: System
) -> None:
    client, href = browse(school.admin), _href(system)
    for wrong in ("", "much", "101", "-1", "nan"):
        answer = post(client, f"{href}/audit-rate", href, percent=wrong)
        assert answer.status_code == 400, wrong
        assert "Give a number from 0 to 100." in answer.text
    assert post(client, f"{href}/audit-rate", href, percent="25").status_code == 302
    with system.sessions() as session:
        assert find_centre(session).audit_rate == 0.25


def test_refused_records_are_named_and_looked_at_again(
    browse: Browser, school: School, box: Box, system: System, app: Flask
) -> None:
    box.work(box.student("hana"))
    box.push(AppLine(app))
    with transaction(system.sessions) as session:
        record = session.scalars(select(CentreRecord).order_by(CentreRecord.seq)).all()[0]
        record.state = RecordState.REFUSED
        why = sentence("Central has no such course offering; offer it, then apply again.")
        record.reason = why.to_json()
    client, href = browse(school.admin), _href(system)
    assert why.template in client.get(href).text
    assert post(client, f"{href}/apply", href).status_code == 302
    assert "1 record was looked at again. 0 are still refused." in client.get(href).text


def test_revoking_asks_first_wants_a_reason_and_keeps_it(
    browse: Browser, school: School, box: Box, system: System, app: Flask
) -> None:
    box.work(box.student("hana"))
    box.push(AppLine(app))
    client, href = browse(school.admin), _href(system)
    asked = client.get(f"{href}/revoke").text
    assert "This cannot be undone" in asked
    bare = post(client, f"{href}/revoke", f"{href}/revoke", reason=" ")
    assert bare.status_code == 400
    assert post(client, f"{href}/revoke", f"{href}/revoke", reason="stolen").status_code == 302
    page = client.get(href).text
    assert "1 submission is marked." in page
    assert "stolen" in page
    assert f"{href}/revoke" not in page
    with system.sessions() as session:
        assert find_centre(session).state == CentreState.REVOKED


def test_at_a_centre_the_table_leads_to_its_own_page(
    browse: Browser, school: School, system: System
) -> None:
    ticket = make_invitation(system, "Here")
    Box(system).join(ticket)
    answer = browse(school.admin).get("/admin/centres")
    assert answer.status_code == 302
    assert answer.location == "/centre"
