"""`lms centre`: offline venues, from both sides: join, sync, trust, erase."""

import json
import sys
from pathlib import Path

import click

from lms.bootstrap import System, build, receipt_keys, sync_place, sync_signer
from lms.catalogue.service import get_offering
from lms.centre import erasure, people, trust
from lms.centre.applying import apply_all, retry_refused
from lms.centre.collecting import collect as collect_folder
from lms.centre.installing import read_root
from lms.centre.joining import claim_codes, hand_in
from lms.centre.keys import central_keys, centre_keys, make_folders
from lms.centre.line import HttpLine
from lms.centre.pushing import Push
from lms.centre.status import central_status, own_status
from lms.centre.stick import StickPush, centres_on
from lms.centre.tickets import Central, approve, find_self, get_centre, get_self
from lms.centre.tickets import invite as make_ticket
from lms.centre.tickets import join as become
from lms.cli.centre_pull import pull
from lms.cli.centre_quarantine import quarantine
from lms.cli.centre_sync import sync
from lms.cli.centre_update import update
from lms.cli.certificate import certificate
from lms.cli.prepare import prepare
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError, UnavailableError
from lms.foundation.settings import load_settings
from lms.identity.service import get_person
from lms.protocol.sentences import Sentence, sentence

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_folder = click.Path(file_okay=False, path_type=Path)


@click.group()
def centre() -> None:
    """Join an offline venue, bring it courses, sync its work with central, check what came."""


centre.add_command(pull)
centre.add_command(quarantine)
centre.add_command(sync)
centre.add_command(update)
centre.add_command(certificate)


@centre.command()
@click.argument("name")
@click.option("--again", is_flag=True, help="A new ticket for the known centre NAME.")
@click.option("--days", default=30, type=click.IntRange(1, 365), help="How long it is good.")
@click.option("--bundles", type=_folder, help="Signed repository to trust, if not ours.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
def invite(name: str, *, again: bool, days: int, bundles: Path | None, out: Path | None) -> None:
    """At central: make the ticket with which the machine of centre NAME joins, once."""
    system = build(load_settings())
    target = out or Path(f"{'-'.join(name.split()) or 'centre'}.ticket")
    if target.exists():
        raise InvalidError(sentence("%(file)s exists already.", file=str(target)))
    signer = sync_signer(system.settings)
    about = Central(
        url=system.settings.lms_url,
        keys=central_keys(system.settings).published(),
        signer=signer,
        root=_root(bundles, system.settings.repository_dir),
    )
    with transaction(system.sessions) as session:
        text = make_ticket(session, name, about, days=days, again=again, now=clock.now())
        _write_private(target, text)
    click.echo(f"{target}: carry it to the machine and run there: lms centre join {target.name}")


def _root(bundles: Path | None, ours: Path) -> str:
    """Return the root that a centre is to trust; empty as long as nothing was ever signed here."""
    if bundles is None and not (ours / "metadata").is_dir():
        return ""
    return read_root(bundles or ours)


@centre.command()
@click.argument("ticket", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--reply", type=click.Path(dir_okay=False, path_type=Path), help="Write the reply, ask nobody."
)
def join(ticket: Path, *, reply: Path | None) -> None:
    """On the box: become the centre of TICKET and tell central, by line or by a reply file."""
    settings = load_settings()
    # The first command of a new box: folders, keys and tables may all be missing.
    prepare(settings, None, accounts=False)
    system = build(settings)
    keys = centre_keys(system.settings)
    make_folders(keys)
    signer = keys.signer(clock.now())
    receipt_keys(system.settings).signer(clock.now())
    with transaction(system.sessions) as session:
        text = become(
            session,
            ticket.read_text("utf-8", errors="replace"),
            signer,
            keys=keys.published(),
            receipt_keys=receipt_keys(system.settings).published(),
            now=clock.now(),
        )
        me = get_self(session)
        name, url = me.name, me.central_url
    click.echo(f"This machine is the centre “{name}”.")
    if reply is None:
        try:
            hand_in(system.sessions, HttpLine(url), text, now=clock.now())
        except UnavailableError as error:
            click.echo(str(error), err=True)
            reply = ticket.with_suffix(".reply")
        else:
            click.echo("Central knows it.")
            return
    _write_private(reply, text)
    click.echo(f"{reply}: carry it to central and run there: lms centre approve {reply.name}")


@centre.command("approve")
@click.argument("reply", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def approve_(reply: Path) -> None:
    """At central: let the centre in whose REPLY was carried here."""
    with transaction(build(load_settings()).sessions) as session:
        found = approve(session, reply.read_text("utf-8", errors="replace"), now=clock.now())
        click.echo(f"The centre “{found.name}” has joined (epoch {found.epoch}).")


@centre.command()
@click.option("--to", "folder", type=_folder, help="Write to this folder, such as a stick.")
def push(*, folder: Path | None) -> None:
    """On the box: send what central lacks, by line or to a folder, and read its receipts."""
    system = build(load_settings())
    signer = centre_keys(system.settings).signer(clock.now())
    common = {
        "sessions": system.sessions,
        "blobs": system.blobs,
        "signer": signer,
        "receipt_keys": receipt_keys(system.settings),
        "tell": _progress,
    }
    if folder is not None:
        written = StickPush(**common).run(folder)  # type: ignore[arg-type]
        click.echo(
            f"{written.records} records and {written.blobs} files are on the stick; "
            f"central has the first {written.complete} records."
        )
        _show_refusal(system)
        return
    with system.sessions() as session:
        line = HttpLine(get_self(session).central_url)
    pushed = Push(**common, line=line).run()  # type: ignore[arg-type]
    click.echo(
        f"Sent {pushed.records} records and {pushed.blobs} files; "
        f"central has {pushed.complete} of {pushed.newest}."
    )


@centre.command()
@click.argument("folder", type=_folder)
def collect(folder: Path) -> None:
    """At central: take in what centres have put into FOLDER, and leave signed answers there."""
    system = build(load_settings())
    place, signer = sync_place(system), sync_signer(system.settings)
    ok = True
    for root in centres_on(folder):
        found = collect_folder(place, root, signer, now=clock.now())
        states = ", ".join(f"{count} {state.value}" for state, count in found.states.items())
        click.echo(f"{found.name}: {found.records} new records, {found.blobs} files; {states}")
        for problem in found.problems:
            ok = False
            click.echo(f"  {problem}", err=True)
    sys.exit(0 if ok else 1)


@centre.command("apply")
@click.argument("name")
@click.option("--refused", is_flag=True, help="Look again at what was refused.")
def apply_(name: str, *, refused: bool) -> None:
    """At central: do what the kept records of centre NAME say, as far as it can be done now."""
    system = build(load_settings())
    with transaction(system.sessions) as session:
        found = get_centre(session, name)
        if refused:
            retry_refused(session, found.id)
    states = apply_all(sync_place(system), found.id, now=clock.now())
    click.echo(", ".join(f"{count} {state.value}" for state, count in states.items()) or "nothing")


@centre.command()
@_as_json
def status(*, as_json: bool) -> None:
    """Say how syncing stands: last contact, what waits, what was refused, what audits found."""
    with build(load_settings()).sessions() as session:
        me = find_self(session)
        found = central_status(session) if me is None else own_status(session, me, now=clock.now())
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif me is None:
        for row in found["centres"]:
            _print_centre(row)
        click.echo(f"{len(found['centres'])} centres")
    else:
        click.echo(f"centre “{found['name']}”, epoch {found['epoch']}, of {found['central']}")
        click.echo(f"last contact: {found['last_contact'] or 'never'}")
        click.echo(f"{found['waiting']} of {found['records']} records wait for central")
        if not found["clock_ok"]:
            click.echo("The clock of this machine is behind; set it.")
        if found["refusal"]:
            click.echo(found["refusal"])


@centre.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; kept with the centre.")
def revoke(name: str, *, reason: str) -> None:
    """At central: trust centre NAME no longer, mark its work, keep apart what comes later."""
    with transaction(build(load_settings()).sessions) as session:
        found = get_centre(session, name)
        marked = trust.revoke(session, found, reason, now=clock.now())
    click.echo(f"“{found.name}” is revoked; {marked} submissions are marked.")


@centre.command("audit-rate")
@click.argument("name")
@click.argument("percent", type=click.FloatRange(0, 100))
def audit_rate(name: str, percent: float) -> None:
    """At central: set which share of the results of centre NAME is graded again."""
    with transaction(build(load_settings()).sessions) as session:
        found = get_centre(session, name)
        found.audit_rate = percent / 100
    click.echo(f"{percent:g} % of the results of “{found.name}” are graded again.")


@centre.command()
@click.argument("name")
@click.argument("offering")
def audit(name: str, offering: str) -> None:
    """At central: grade again all results of centre NAME in OFFERING (its key), not a sample."""
    with transaction(build(load_settings()).sessions) as session:
        offered = get_offering(session, offering)
        count = trust.check_all(session, get_centre(session, name), offered.id, now=clock.now())
    click.echo(f"{count} results are queued; lms centre status shows what comes of them.")


@centre.command()
@_as_json
def claims(*, as_json: bool) -> None:
    """On the box: list the codes by which people claim their work at central."""
    with build(load_settings()).sessions() as session:
        rows = claim_codes(session)
    if as_json:
        click.echo(json.dumps({"claims": rows}, ensure_ascii=False, indent=2))
        return
    for row in rows:
        click.echo(f"{row['code']}  {row['username']}  {row['name']}")


@centre.command()
@click.argument("code")
@click.argument("username")
def claim(code: str, username: str) -> None:
    """At central: give the work behind CODE to the account USERNAME."""
    with transaction(build(load_settings()).sessions) as session:
        person = get_person(session, username)
        people.claim(session, code, person, now=clock.now())
    click.echo(f"The work behind that code is {username}'s.")


@centre.command()
@click.argument("username")
def erase(username: str) -> None:
    """At central: erase what centres sent about USERNAME, and order the centres to do so too."""
    system = build(load_settings())
    signer = sync_signer(system.settings)
    with transaction(system.sessions) as session:
        person = get_person(session, username)
        count, gone = erasure.order(session, person, signer, now=clock.now())
    for digest in gone:
        system.blobs.remove(digest)
    click.echo(f"Erased here; {count} centres are told when they next sync.")


def _print_centre(row: dict[str, object]) -> None:
    click.echo(
        f"{row['name']}: {row['state']}, last contact {row['last_contact'] or 'never'}, "
        f"{row['waiting']} records wait, results {row['results']}"
    )
    if row["forked"]:
        click.echo("  ALARM: it was put back from a backup; give it a new ticket (--again).")
    for kind in ("refused", "conflicts", "disputes"):
        entries = row[kind]
        for entry in entries if isinstance(entries, list) else []:
            click.echo(f"  {kind}: {', '.join(f'{k} {v}' for k, v in entry.items())}")


def _show_refusal(system: System) -> None:
    with system.sessions() as session:
        refusal = get_self(session).refusal
    if refusal is not None:
        click.echo(str(Sentence.from_json(refusal)), err=True)


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{what}   ", nl=False, err=True)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
