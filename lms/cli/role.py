"""`lms person role`: what a person is in an offering."""

import json

import click

from lms.bootstrap import build
from lms.catalogue.service import get_offering
from lms.enrolment.service import assign_role
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import load_settings
from lms.identity.scopes import SYSTEM, Role
from lms.identity.service import get_person


@click.command()
@click.argument("username")
@click.argument("offering")
@click.argument("name", metavar="ROLE", type=click.Choice([one.value for one in Role]))
@click.option("--json", "as_json", is_flag=True, help="Print the enrolment as JSON.")
def role(username: str, offering: str, name: str, *, as_json: bool) -> None:
    """Give USERNAME a ROLE in OFFERING (its key), whatever its way of enrolment."""
    with transaction(build(load_settings()).sessions) as session:
        person, found = get_person(session, username), get_offering(session, offering)
        assign_role(session, person.id, found.id, Role(name), actor=SYSTEM, now=clock.now())
    if as_json:
        click.echo(json.dumps({"username": username, "offering": offering, "role": name}))
    else:
        click.echo(f"{username} is {name} in {offering}.")
