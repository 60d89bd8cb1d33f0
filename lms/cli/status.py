"""`lms status`: how every part is, for a person or a script."""

import json
import sys

import click

from lms.bootstrap import build
from lms.bootstrap.health import is_well, report
from lms.foundation.settings import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the shape of /healthz.")
def status(*, as_json: bool) -> None:
    """Ask every part whether it works; exit status 0 when all do, 7 otherwise."""
    settings = load_settings()
    parts = report(build(settings))
    if as_json:
        document = {"ok": is_well(parts), "parts": [part.to_json() for part in parts]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"data     {settings.data_dir}")
        for part in parts:
            state = "ok" if part.ok else "DOWN"
            click.echo(f"{part.name:8} {state}{'' if part.reason is None else f'  {part.reason}'}")
    if not is_well(parts):
        sys.exit(7)
