"""Joining: good tickets once, bad tickets with one sentence, by line and by a carried reply."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lms.bootstrap import System, build
from lms.centre import tickets
from lms.centre.errors import BadTicketError, IsACentreError, NotACentreError, RevokedCentreError
from lms.centre.joining import hand_in
from lms.centre.models import CentreSelf
from lms.centre.rules import CentreState
from lms.centre.tickets import approve, get_self
from lms.centre.trust import revoke
from lms.cli.main import cli
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import LmsError
from lms.foundation.settings import Settings
from lms.migrations.run import upgrade
from tests.factories.centres import (
    OFFERING,
    AppLine,
    Box,
    find_centre,
    make_box,
    make_content,
    make_invitation,
)
from tests.fakes.clock import Clock


@pytest.fixture
def fresh(central: System, empty_database: Path, tmp_path: Path) -> Iterator[Box]:
    """A box that has not joined."""
    box = make_box(tmp_path / "fresh", empty_database)
    yield box
    box.system.engine.dispose()


def test_a_reply_by_line_makes_the_centre_known(central: System, fresh: Box, line: AppLine) -> None:
    reply = fresh.join(make_invitation(central))
    hand_in(fresh.system.sessions, line, reply, now=clock.now())
    with central.sessions() as session:
        centre = find_centre(session)
        assert (centre.state, centre.epoch, centre.secret_hash) == (CentreState.JOINED, 1, None)
    with fresh.system.sessions() as session:
        assert get_self(session).contact_at == clock.now()
    fresh.student("haneul")
    assert fresh.push(line).complete == 1


def test_a_ticket_is_good_once(central: System, fresh: Box, tmp_path: Path) -> None:
    ticket = make_invitation(central)
    reply = fresh.join(ticket)
    thief = make_box(tmp_path / "thief")
    stolen = thief.join(ticket)
    with transaction(central.sessions) as session:
        approve(session, reply, now=clock.now())
        approve(session, reply, now=clock.now())
        with pytest.raises(BadTicketError, match="used already"):
            approve(session, stolen, now=clock.now())


def test_a_newer_ticket_makes_the_older_one_worthless(central: System, fresh: Box) -> None:
    old = fresh.join(make_invitation(central))
    make_invitation(central, again=True)
    with transaction(central.sessions) as session, pytest.raises(BadTicketError, match="newer one"):
        approve(session, old, now=clock.now())


def test_an_expired_ticket_is_refused_also_where_no_clock_can_be_trusted(
    central: System, fresh: Box, ticking: Clock
) -> None:
    ticket = make_invitation(central)
    ticking.at = ticking.at.replace(year=2027)
    with pytest.raises(BadTicketError, match="was good until 2026-12-24"):
        fresh.join(ticket)
    # A machine that has never known the time takes the ticket's.
    ticking.at = ticking.at.replace(year=1970)
    fresh.join(ticket)
    with fresh.system.sessions() as session:
        assert get_self(session).signed_at.year == 2026


def test_an_altered_ticket_is_refused(central: System, fresh: Box) -> None:
    ticket = json.loads(make_invitation(central))
    ticket["record"]["central_url"] = "https://elsewhere.example"
    for text in (json.dumps(ticket), "{}", "", "[]", "\ufffd", '{"record": {"format": 1}}'):
        with pytest.raises(BadTicketError, match="not what central made"):
            fresh.join(text)
    with fresh.system.sessions() as session, pytest.raises(NotACentreError):
        get_self(session)


def test_a_ticket_that_asks_for_newer_software_is_refused(
    central: System, fresh: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tickets, "MINIMUM", "99.1.0")
    with pytest.raises(BadTicketError, match=r"asks for software version 99\.1\.0"):
        fresh.join(make_invitation(central))


def test_a_centre_does_not_become_another_one(central: System, box: Box) -> None:
    with pytest.raises(IsACentreError, match="Jeju"):
        box.join(make_invitation(central, "Busan"))
    with pytest.raises(IsACentreError):
        make_invitation(box.system)


def test_a_revoked_centre_gets_no_ticket(central: System, box: Box) -> None:
    with transaction(central.sessions) as session:
        revoke(session, find_centre(session), "stolen", now=clock.now())
    with pytest.raises(RevokedCentreError):
        make_invitation(central, again=True)


Run = Callable[..., Result]


@pytest.fixture
def run_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `lms centre …` on one of the machines, each with its own data folder."""
    for name in ("central", "box"):
        system = build(Settings(data_dir=tmp_path / name))
        upgrade(system.engine)
        make_content(system)
        system.engine.dispose()

    def run(machine: str, *words: str) -> Result:
        monkeypatch.setenv("LMS_DATA", str(tmp_path / machine))
        # Nothing listens there: this machine has no line.
        monkeypatch.setenv("LMS_URL", "http://127.0.0.1:9")
        return CliRunner().invoke(cli, ["centre", *words])

    return run


def test_the_commands_carry_a_centre_from_ticket_to_grades(run_in: Run, tmp_path: Path) -> None:
    ticket, reply = tmp_path / "jeju.ticket", tmp_path / "jeju.reply"
    stick = tmp_path / "stick"
    assert run_in("central", "invite", "Jeju", "--out", str(ticket)).exit_code == 0
    assert ticket.stat().st_mode & 0o777 == 0o600
    joined = run_in("box", "join", str(ticket))
    assert joined.exit_code == 0, joined.output
    assert "Central cannot be reached" in joined.stderr
    assert run_in("central", "approve", str(reply)).exit_code == 0
    box = Box(build(Settings(data_dir=tmp_path / "box")))
    box.work(box.student("haneul"))
    box.system.engine.dispose()
    written = run_in("box", "push", "--to", str(stick))
    assert "3 records and 2 files are on the stick" in written.output
    collected = run_in("central", "collect", str(stick))
    assert collected.exit_code == 0, collected.output
    assert "Jeju: 3 new records, 2 files; 3 applied" in collected.output
    assert "0 records and 0 files" in run_in("box", "push", "--to", str(stick)).output
    mine = json.loads(run_in("box", "status", "--json").output)
    assert (mine["mode"], mine["records"], mine["waiting"]) == ("centre", 3, 0)
    theirs = json.loads(run_in("central", "status", "--json").output)
    assert theirs["centres"][0]["records"] == {"applied": 3}
    code = json.loads(run_in("box", "claims", "--json").output)["claims"][0]["code"]
    system = build(Settings(data_dir=tmp_path / "central"))
    with transaction(system.sessions) as session:
        from tests.factories import make_person

        make_person(session, "haneul")
    system.engine.dispose()
    assert run_in("central", "claim", code, "haneul").exit_code == 0
    assert run_in("central", "apply", "Jeju", "--refused").output == "nothing\n"
    audited = run_in("central", "audit", "Jeju", OFFERING).output
    assert "results are queued" in audited
    assert run_in("central", "audit-rate", "Jeju", "50").exit_code == 0
    assert "1 centres are told" in run_in("central", "erase", "haneul").output
    assert run_in("box", "push", "--to", str(stick)).exit_code == 0
    assert "1 submissions are marked" in run_in("central", "revoke", "Jeju", "--reason", "x").output
    assert "centre “Jeju”" in run_in("box", "status").output
    assert "Jeju: revoked" in run_in("central", "status").output


def test_push_on_a_machine_that_is_no_centre_says_what_to_do(run_in: Run) -> None:
    result = run_in("central", "push")
    assert isinstance(result.exception, LmsError)
    assert "has not joined as a centre" in str(result.exception)
    assert CentreSelf.__tablename__ == "centre_self"
