"""`lms centre quarantine`: at central, what a revoked centre sent and nobody has decided about."""

import json
import re

import click

from lms.bootstrap import build, sync_place
from lms.centre import quarantine as apart
from lms.centre.applying import apply_all
from lms.centre.tickets import get_centre
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.foundation.settings import load_settings
from lms.protocol.sentences import sentence

_reason = click.option("--reason", required=True, help="Why; kept with the records.")


@click.group()
def quarantine() -> None:
    """At central: look at what is kept apart of a revoked centre, and decide."""


@quarantine.command("list")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def list_(name: str, *, as_json: bool) -> None:
    """List the records of centre NAME that are kept apart."""
    with build(load_settings()).sessions() as session:
        found = apart.list_apart(session, get_centre(session, name))
    rows = [
        {
            "record": f"{one.place[0]}.{one.place[1]}",
            "kind": one.kind,
            "person": one.person,
            "claimed_at": None if one.claimed_at is None else one.claimed_at.isoformat(),
            "received_at": one.received_at.isoformat(),
            "details": one.details,
        }
        for one in found
    ]
    if as_json:
        click.echo(json.dumps({"records": rows}, ensure_ascii=False, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['record']}  {row['kind']}  {row['person'] or '–'}  "
            f"says {row['claimed_at'] or 'no time'}, came {row['received_at']}"
        )
    click.echo(f"{len(rows)} kept apart")


@quarantine.command()
@click.argument("name")
@click.argument("records", nargs=-1)
@_reason
def release(name: str, records: tuple[str, ...], *, reason: str) -> None:
    """Let RECORDS of centre NAME in (as listed; all if none): marked, and all graded again."""
    system = build(load_settings())
    with transaction(system.sessions) as session:
        found = get_centre(session, name)
        count = apart.release(session, found, reason, _places(records), now=clock.now())
    states = apply_all(sync_place(system), found.id, now=clock.now())
    became = ", ".join(f"{number} {state.value}" for state, number in states.items())
    click.echo(f"{count} records are let in: {became or 'nothing'}.")


@quarantine.command()
@click.argument("name")
@click.argument("records", nargs=-1)
@_reason
def refuse(name: str, records: tuple[str, ...], *, reason: str) -> None:
    """Refuse RECORDS of centre NAME for good (as listed; all if none); they are kept."""
    with transaction(build(load_settings()).sessions) as session:
        found = get_centre(session, name)
        count = apart.refuse(session, found, reason, _places(records), now=clock.now())
    click.echo(f"{count} records are refused; they are kept, with the reason.")


def _places(records: tuple[str, ...]) -> list[apart.Place]:
    places = []
    for text in records:
        found = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})", text)
        if found is None:
            raise InvalidError(
                sentence("Name records as the list does, such as 1.12, and not “%(text)s”.",
                         text=text[:40])
            )  # fmt: skip
        places.append((int(found[1]), int(found[2])))
    return places
