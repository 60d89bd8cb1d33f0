"""`lms audit`: check the log of grading and its receipts; show and change the signing key."""

import json
import sys
from dataclasses import asdict

import click

from lms.bootstrap import build, receipt_keys
from lms.foundation import clock
from lms.foundation.settings import load_settings
from lms.foundation.signing import read_public_keys
from lms.grading.checking import AuditReport, check_log


@click.group()
def audit() -> None:
    """Check the log of what grading did, and see to the key that signs receipts."""


@audit.command("verify")
@click.option("--head", help="A hash noted down earlier: it must stand in the chain.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify_log(*, head: str | None, as_json: bool) -> None:
    """Check the chain of hashes, and every receipt, result and decision against it.

    Prints the newest hash: note it down elsewhere, and a later check with --head shows whether
    the log's end was cut off. The exit status is 1 when something does not hold.
    """
    settings = load_settings()
    keys = read_public_keys(json.dumps(receipt_keys(settings).published()))
    system = build(settings)
    with system.sessions() as session:
        report = check_log(session, keys, known_head=head)
    system.engine.dispose()
    if as_json:
        click.echo(json.dumps(_document(report), indent=2))
    else:
        _print(report)
    sys.exit(0 if report.ok else 1)


def _document(report: AuditReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "entries": report.entries,
        "receipts": report.receipts,
        "head": report.head.hash,
        "knows_head": report.knows_head,
        "flaws": [asdict(flaw) for flaw in report.flaws],
    }


def _print(report: AuditReport) -> None:
    click.echo(f"{report.entries} entries, {report.receipts} receipts")
    click.echo(f"head: {report.head.hash}")
    for flaw in report.flaws:
        click.echo(f"  entry {flaw.sequence}: {flaw.problem}")
    if report.knows_head is False:
        click.echo("  the hash given does not stand in the chain: its end was cut off or changed")
    click.echo("The log holds." if report.ok else "The log does not hold.")


@audit.command()
def keys() -> None:
    """Print the public keys of receipts as a JWK set, the one in force first."""
    click.echo(json.dumps(receipt_keys(load_settings()).published(), indent=2))


@audit.command("rotate-key")
def rotate_key() -> None:
    """Make a new key sign receipts from now on; old receipts stay good."""
    name = receipt_keys(load_settings()).rotate(clock.now())
    click.echo(f"Receipts are signed with {name} from now on.")
