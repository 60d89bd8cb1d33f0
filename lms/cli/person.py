"""`lms person`: accounts from the shell, for the operator of the machine."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from lms.bootstrap import System, build
from lms.cli.role import role
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError, UnavailableError
from lms.foundation.settings import load_settings
from lms.identity import service as identity
from lms.identity.models import Person
from lms.identity.scopes import SYSTEM
from lms.protocol.sentences import sentence

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_password_stdin = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input instead of making one.",
)


@click.group()
def person() -> None:
    """Add accounts, give new passwords, disable and enable."""


@person.command()
@click.argument("username")
@click.option("--name", default="", help="Name as people write it; the username if left out.")
@click.option("--email", default=None, help="E-mail address.")
@click.option("--admin", is_flag=True, help="Make the person an administrator.")
@_password_stdin
@_as_json
def add(
    *,
    username: str,
    name: str,
    email: str | None,
    admin: bool,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Make an account and print its password once."""
    given = _read_password(wanted=password_stdin)
    with _database() as (system, session):
        made, password = identity.add_person(
            session,
            username,
            name or username,
            actor=SYSTEM,
            now=clock.now(),
            uids=system.settings.uids,
            password=given,
            is_admin=admin,
            email=email,
        )
    _tell(
        made,
        as_json=as_json,
        words=f"Added {made.username}.",
        password=None if given is not None else password,
    )


@person.command()
@click.argument("username")
@_password_stdin
@_as_json
def reset(*, username: str, password_stdin: bool, as_json: bool) -> None:
    """Give a new password, print it once, and sign the person out everywhere."""
    given = _read_password(wanted=password_stdin)
    with _database() as (_, session):
        found = identity.get_person(session, username)
        password = identity.reset_password(
            session, found, actor=SYSTEM, now=clock.now(), password=given
        )
    _tell(
        found,
        as_json=as_json,
        words=f"{found.username} has a new password and is signed out everywhere.",
        password=None if given is not None else password,
    )


@person.command()
@click.argument("username")
@_as_json
def disable(*, username: str, as_json: bool) -> None:
    """Close an account: signing in stops at once, everything stored is kept."""
    with _database() as (_, session):
        found = identity.get_person(session, username)
        identity.disable(session, found, actor=SYSTEM, now=clock.now())
    _tell(found, as_json=as_json, words=f"{found.username} is disabled.")


@person.command()
@click.argument("username")
@_as_json
def enable(*, username: str, as_json: bool) -> None:
    """Open a disabled account again."""
    with _database() as (_, session):
        found = identity.get_person(session, username)
        identity.enable(found, actor=SYSTEM)
    _tell(found, as_json=as_json, words=f"{found.username} is enabled.")


@person.command("list")
@click.argument("query", default="")
@_as_json
def list_(*, query: str, as_json: bool) -> None:
    """List accounts; QUERY narrows by username, name or e-mail."""
    with _database() as (_, session):
        people, _count = identity.list_people(session, actor=SYSTEM, query=query, limit=1_000_000)
    if as_json:
        click.echo(json.dumps({"people": [_facts(p) for p in people]}, ensure_ascii=False))
        return
    for found in people:
        marks = " ".join(
            mark
            for mark, holds in (("admin", found.is_admin), ("disabled", found.disabled_at))
            if holds
        )
        click.echo(f"{found.username:<32} {found.display_name}  {marks}".rstrip())


@contextmanager
def _database() -> Iterator[tuple[System, Session]]:
    system = build(load_settings())
    if not inspect(system.engine).has_table(Person.__tablename__):
        raise UnavailableError(
            sentence(
                "There is no database at %(place)s yet. Run `lms up` once, "
                "or set LMS_DATA to the folder of the one you mean.",
                place=str(system.engine.url),
            )
        )
    with transaction(system.sessions) as session:
        yield system, session


def _read_password(*, wanted: bool) -> str | None:
    if not wanted:
        return None
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise InvalidError(
            sentence("No password came on standard input; give one line, for example by a pipe.")
        )
    return password


def _facts(found: Person) -> dict[str, object]:
    return {
        "username": found.username,
        "name": found.display_name,
        "email": found.email,
        "admin": found.is_admin,
        "disabled": found.disabled_at is not None,
        "os_uid": found.os_uid,
    }


def _tell(found: Person, *, as_json: bool, words: str, password: str | None = None) -> None:
    if as_json:
        facts = _facts(found)
        if password is not None:
            facts["password"] = password
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(words)
    if password is not None:
        click.echo(f"Password (shown only now): {password}")


person.add_command(role)
