"""`lms centre sync`: bring work up and courses down, once or again and again."""

import fcntl
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lms.bootstrap import System, build, receipt_keys
from lms.centre.errors import NotACentreError
from lms.centre.keys import centre_keys
from lms.centre.line import HttpLine
from lms.centre.pushing import Push
from lms.centre.rules import wait_seconds
from lms.centre.tickets import get_self
from lms.cli.centre_pull import CENTRAL, bring, make_pace, show
from lms.foundation import clock
from lms.foundation.errors import ConflictError, LmsError, UnavailableError
from lms.foundation.settings import load_settings
from lms.outposts.bundles.wire import ClosedError, Pace
from lms.protocol.sentences import sentence

_MINUTE = 60


@click.command()
@click.option("--watch", is_flag=True, help="Sync again and again until it is ended.")
@click.option(
    "--every",
    "minutes",
    default=15,
    show_default=True,
    type=click.IntRange(1, 1440),
    help="Minutes from one sync to the next, with --watch.",
)
@click.option("--kilobytes", type=click.IntRange(1), help="Fetch at most so many a second.")
@click.option("--hours", metavar="FROM-TO", help="Fetch courses only in these hours, such as 22-6.")
def sync(*, watch: bool, minutes: int, kilobytes: int | None, hours: str | None) -> None:
    """On the box: send what central lacks, then fetch what is new; for a timer, or with --watch.

    Work goes up at any hour; the limits are for courses. Whatever cuts a sync off, the next one
    goes on where it stopped.
    """
    pace = make_pace(kilobytes, hours)
    if not watch:
        sys.exit(0 if _once(pace) else 1)
    failures = 0
    while True:
        failures = 0 if _once(pace) else failures + 1
        wait = wait_seconds(minutes * _MINUTE, failures, random.random())  # noqa: S311 - no secret
        click.echo(f"The next sync begins in {_words(wait)}.")
        time.sleep(wait)


def _once(pace: Pace) -> bool:
    """Sync once; says what went wrong, and returns whether nothing did."""
    system = build(load_settings())
    try:
        with _alone(system.settings.data_dir / "sync.lock"):
            sent = _said(system, pace, _push)
            # Without a line, or a centre, there is nothing to fetch either.
            return sent is not None and _said(system, pace, _pull) is True and sent
    except ConflictError as error:
        click.echo(str(error), err=True)
        return False
    finally:
        system.engine.dispose()


def _said(system: System, pace: Pace, step: Callable[[System, Pace], bool]) -> bool | None:
    """Do a step and say why it failed; None when the next one would fail for the same reason."""
    try:
        return step(system, pace)
    except (UnavailableError, NotACentreError) as error:
        click.echo(str(error), err=True)
        return None
    except LmsError as error:
        click.echo(str(error), err=True)
        return False


def _push(system: System, _pace: Pace) -> bool:
    with system.sessions() as session:
        line = HttpLine(get_self(session).central_url)
    pushed = Push(
        sessions=system.sessions,
        blobs=system.blobs,
        line=line,
        signer=centre_keys(system.settings).signer(clock.now()),
        receipt_keys=receipt_keys(system.settings),
        tell=progress,
    ).run()
    click.echo(
        f"Sent {pushed.records} records and {pushed.blobs} files; "
        f"{pushed.newest - pushed.complete} of {pushed.newest} records wait."
    )
    if pushed.clock is not None:
        click.echo(str(pushed.clock), err=True)
    return pushed.clock is None


def _pull(system: System, pace: Pace) -> bool:
    with system.sessions() as session:
        if not get_self(session).root:
            click.echo("This centre's ticket names no courses to fetch.")
            return True
    try:
        pace.open()
    except ClosedError as error:
        click.echo(str(error.sentence))
        return True
    pulled, loaded = bring(system, (CENTRAL,), (), pace, quiet=False)
    for one in pulled:
        if one.changed or one.problem is not None:
            show(one, loaded)
    if not any(one.changed for one in pulled):
        click.echo("Every course is as central has it.")
    return all(one.problem is None for one in pulled)


def progress(what: str) -> None:
    """Draw how far it is, for somebody who waits."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{what}", nl=False, err=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other syncs out; the lock ends with its process, however that ends."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                sentence("Another sync is under way on this machine; it does what this one would.")
            ) from error
        yield


def _words(seconds: float) -> str:
    return f"{seconds / _MINUTE:.0f} minutes" if seconds > 2 * _MINUTE else f"{seconds:.0f} seconds"
