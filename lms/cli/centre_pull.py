"""`lms centre pull`: bring courses to this box, from central, a stick, or half from each."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from lms.bootstrap import System, build
from lms.centre.installing import begin_trust, install, told
from lms.centre.keys import centre_keys
from lms.centre.line import CentralBundles, HttpLine
from lms.centre.models import CentreSelf
from lms.centre.opening import OpeningPlace, open_by_line
from lms.centre.packages import build_packages
from lms.centre.tickets import get_self, this_version
from lms.foundation import clock
from lms.foundation.errors import ConflictError, InvalidError, UnavailableError
from lms.foundation.settings import Settings, load_settings
from lms.outposts.bundles.http import HttpSource
from lms.outposts.bundles.pull import How, Progress, Pulled
from lms.outposts.bundles.pull import pull as pull_bundles
from lms.outposts.bundles.source import FolderSource, Source
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.wire import Pace
from lms.outposts.environments.folder import Environments
from lms.outposts.software.contents import SOFTWARE
from lms.protocol.sentences import sentence

_HOURS = 24
#: The place that needs no address: the ticket has it.
CENTRAL = "central"


@click.command()
@click.option(
    "--from",
    "places",
    multiple=True,
    default=(CENTRAL,),
    show_default=True,
    help="central, or a folder (a stick) or http(s) address of signed bundles; can be given again.",
)
@click.option("--course", "courses", multiple=True, help="Only this course; can be given again.")
@click.option("--kilobytes", type=click.IntRange(1), help="Use at most so many kilobytes a second.")
@click.option("--hours", metavar="FROM-TO", help="Fetch only in these hours, such as 22-6.")
@click.option("--json", "as_json", is_flag=True, help="Print what was pulled as JSON.")
def pull(
    places: tuple[str, ...],
    courses: tuple[str, ...],
    kilobytes: int | None,
    hours: str | None,
    *,
    as_json: bool,
) -> None:
    """On the box: bring courses to their newest version.

    Everything is verified before it is used. Whatever cuts it off, the next pull goes on where it
    stopped; until it is done the version before stays.
    """
    system = build(load_settings())
    pace = make_pace(kilobytes, hours)
    pulled, loaded = bring(system, places, courses, pace, quiet=as_json)
    if as_json:
        click.echo(json.dumps([_facts(one, loaded) for one in pulled], ensure_ascii=False))
    else:
        for one in pulled:
            show(one, loaded)
    sys.exit(1 if any(one.problem is not None for one in pulled) else 0)


def make_pace(kilobytes: int | None, hours: str | None) -> Pace:
    """Return how much of the line may be used, and when; raises InvalidError."""
    return Pace(bytes_per_second=(kilobytes or 0) * 1000, hours=_window(hours))


def bring(
    system: System, places: Sequence[str], courses: Sequence[str], pace: Pace, *, quiet: bool
) -> tuple[list[Pulled], dict[str, int | None]]:
    """Pull courses, load them, and open what may be opened; also returns what was loaded."""
    store = Store(system.settings.data_dir / "bundles")
    with system.sessions() as session:
        me = get_self(session)
        begin_trust(store, me)
    with told(), _bar(hidden=quiet) as progress:
        how = How(
            sources=[_source(place, me, system.settings) for place in places],
            machine_time=clock.now(),
            software=this_version(),
            pace=pace,
            on_progress=progress,
        )
        pulled = pull_bundles(store, how, courses or None)
    loaded = {
        one.course: _load(system, store, one)
        for one in pulled
        if one.course != SOFTWARE and not one.damaged
    }
    for course in loaded:
        _build_packages(system, store, course)
    if CENTRAL in places:
        _open(system, store, me.central_url)
    return pulled, loaded


def _load(system: System, store: Store, one: Pulled) -> int | None:
    """Return how many assignments came with the course, None when it was loaded before."""
    loaded = install(system.sessions, system.blobs, store, one.course, now=clock.now())
    return None if loaded is None else len(loaded.releases)


def _build_packages(system: System, store: Store, course: str) -> None:
    """Build a course's environment; where that fails, its work waits and the next pull tries."""
    environments = Environments(system.settings.environments_dir)
    try:
        built = build_packages(system.sessions, system.blobs, store, environments, course)
    except InvalidError as error:
        click.echo(f"{course}: its packages cannot be used yet. {error}", err=True)
        return
    if built is not None:
        click.echo(f"{course}: its packages are ready ({len(built.packages)}).", err=True)


def _open(system: System, store: Store, url: str) -> None:
    """Open the hidden tests whose time has come; a broken line is said, and costs nothing."""
    place = OpeningPlace(
        sessions=system.sessions,
        blobs=system.blobs,
        store=store,
        signer=centre_keys(system.settings).signer(clock.now()),
    )
    try:
        for one in open_by_line(place, HttpLine(url), now=clock.now()):
            click.echo(f"The hidden tests of {one.course} are open.", err=True)
    except (UnavailableError, ConflictError) as error:
        click.echo(f"The hidden tests could not be opened: {error}", err=True)


def show(one: Pulled, loaded: dict[str, int | None]) -> None:
    """Say what became of a course."""
    if one.problem is not None:
        click.echo(str(one.problem), err=True)
        return
    if one.course == SOFTWARE and one.changed:
        click.echo("A version of the software has come: lms centre update installs it.")
        return
    assignments = loaded.get(one.course)
    if assignments is None:
        click.echo(f"{one.course}: version {one.version} is here already.")
        return
    click.echo(
        f"{one.course}: version {one.version}, {one.files} files from "
        f"{one.received / 1e6:.1f} MB, {assignments} assignments."
    )


def _facts(one: Pulled, loaded: dict[str, int | None]) -> dict[str, object]:
    return {
        "course": one.course,
        "version": one.version,
        "changed": one.changed,
        "loaded": loaded.get(one.course) is not None,
        "received": one.received,
        "damaged": list(one.damaged),
        "problem": None if one.problem is None else str(one.problem),
    }


def _source(place: str, me: CentreSelf, settings: Settings) -> Source:
    if place == CENTRAL:
        signer = centre_keys(settings).signer(clock.now())
        return CentralBundles(me.central_url, me.centre, signer)
    if place.startswith(("http://", "https://")):
        return HttpSource(place)
    folder = Path(place)
    if not folder.is_dir():
        raise InvalidError(
            sentence("%(folder)s is not there. Is the stick plugged in?", folder=place)
        )
    return FolderSource(folder)


def _window(hours: str | None) -> tuple[int, int] | None:
    if hours is None:
        return None
    first, _, last = hours.partition("-")
    if not (first.isdigit() and last.isdigit() and int(first) < _HOURS and int(last) < _HOURS):
        raise InvalidError(
            sentence(
                "--hours takes two hours of the day, such as 22-6, and not “%(given)s”.",
                given=hours,
            )
        )
    return int(first), int(last)


@contextmanager
def _bar(*, hidden: bool) -> Iterator["_Draw"]:
    """Draw how much of each course remains."""
    draw = _Draw(hidden=hidden or not sys.stderr.isatty())
    try:
        yield draw
    finally:
        draw.end()


class _Draw:
    """One line that says how far the course in hand is."""

    def __init__(self, *, hidden: bool) -> None:
        self._hidden = hidden
        self._said = ""

    def __call__(self, progress: Progress) -> None:
        if self._hidden:
            return
        share = progress.bytes_done / max(1, progress.bytes_all)
        said = (
            f"{progress.course}: {share:4.0%}, {progress.bytes_left / 1e6:.1f} MB remain, "
            f"{progress.files_done} of {progress.files_all} files"
        )
        if said != self._said:
            self._said = said
            click.echo(f"\r\033[K{said}", nl=False, err=True)

    def end(self) -> None:
        """Leave the line."""
        if self._said:
            click.echo(err=True)
