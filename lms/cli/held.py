"""`lms course held` and `lms course practice`: scores that wait for a person."""

import json

import click

from lms.bootstrap import build
from lms.catalogue.service import get_offering
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import load_settings
from lms.grading import holds
from lms.grading.holds import HeldRun, list_held
from lms.grading.models import Run
from lms.identity.scopes import SYSTEM


@click.group()
def held() -> None:
    """Look at scores that wait for a person, and decide."""


@held.command("list")
@click.argument("offering")
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def list_runs(offering: str, *, as_json: bool) -> None:
    """List the runs of OFFERING (its key) whose scores wait for a person."""
    with build(load_settings()).sessions() as session:
        found = list_held(session, get_offering(session, offering).id, actor=SYSTEM)
        rows = [_row(one, session.get_one(Run, one.run.id).score) for one in found]
    if as_json:
        click.echo(json.dumps({"held": rows}, ensure_ascii=False, indent=2))
        return
    for row in rows:
        click.echo(
            f"run {row['run']}: {row['student']}, attempt {row['attempt']}, "
            f"{row['score']} / {row['max_score']}, {row['integrity']}: {row['reason']}"
        )
    click.echo(f"{len(rows)} waiting")


def _row(one: HeldRun, score: float | None) -> dict[str, object]:
    return {
        "run": one.run.id,
        "student": one.person.username,
        "submission": one.submission.id,
        "attempt": one.submission.attempt,
        "score": score,
        "max_score": one.run.max_score,
        "integrity": one.run.integrity,
        "reason": str(one.reason or ""),
    }


@held.command()
@click.argument("run", type=int)
@click.option("--reason", default="", help="Why, kept with the result.")
def release(run: int, *, reason: str) -> None:
    """Let the score of RUN stand: the student sees it and it counts."""
    with transaction(build(load_settings()).sessions) as session:
        holds.release(session, run, actor=SYSTEM, now=clock.now(), reason=reason)
    click.echo(f"Run {run} is released.")


@held.command()
@click.argument("run", type=int)
@click.option("--reason", required=True, help="Why; the student reads it.")
@click.option("--set-aside", is_flag=True, help="Do not count the attempt, instead of as zero.")
def reject(run: int, *, reason: str, set_aside: bool) -> None:
    """Refuse the score of RUN: it counts with no points, or not at all."""
    with transaction(build(load_settings()).sessions) as session:
        holds.reject(session, run, reason, counts=not set_aside, actor=SYSTEM, now=clock.now())
    click.echo(f"Run {run} is rejected.")


@held.command()
@click.argument("run", type=int)
def regrade(run: int) -> None:
    """Have the submission of RUN run anew; the new run counts."""
    with transaction(build(load_settings()).sessions) as session:
        queued = holds.ask_regrade(session, run, actor=SYSTEM, now=clock.now())
        number = queued.id
    click.echo(f"Run {number} is queued.")


@click.command()
@click.argument("offering")
@click.argument("state", type=click.Choice(["on", "off"]))
def practice(offering: str, state: str) -> None:
    """Say whether OFFERING shows and counts scores that nobody could verify.

    Scores that were tampered with wait for a person in any case.
    """
    with transaction(build(load_settings()).sessions) as session:
        found = get_offering(session, offering)
        holds.set_practice(session, found, practice=state == "on", actor=SYSTEM)
    click.echo(f"{offering}: practice is {state}.")
