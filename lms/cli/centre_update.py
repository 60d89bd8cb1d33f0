"""`lms centre update`: the box's software, forwards to what was pulled and back again."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lms.centre.installing import told
from lms.centre.updating import Box, go_back, look_back, settle
from lms.centre.updating import update as update_box
from lms.foundation.errors import ConflictError, InvalidError
from lms.foundation.settings import Settings, load_settings
from lms.outposts.bundles.store import Store
from lms.outposts.software.place import Place, run_current, this_place
from lms.outposts.software.shelf import SoftwareError
from lms.protocol.sentences import sentence


@click.command()
@click.option("--back", is_flag=True, help="Go back to the version before the last update.")
@click.option("--yes", is_flag=True, help="With --back: also where what came since is lost.")
@click.option(
    "--place",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder of install.sh, if it is not the one that this program is in.",
)
def update(*, back: bool, yes: bool, place: Path | None) -> None:
    """On the box, while it is stopped: install the software that lms centre pull brought.

    The data is kept first. Whatever fails or cuts it off, the version before stands with its data.
    """
    settings = load_settings()
    with _told(), told(), _box(Place(place) if place else this_place(), settings) as box:
        if back:
            _go_back(box, yes=yes)
            return
        name = update_box(box, Store(settings.data_dir / "bundles"))
        if name is None:
            click.echo(f"{box.place.current()} is the newest that has come; nothing to do.")
            return
    click.echo(f"{name} is installed. Start it with lms up; lms centre update --back goes back.")


def settle_update() -> None:
    """Before any command: finish an update that was cut off, and go on as what then stands."""
    place = this_place()
    with place.locked() as lock:
        # Whoever holds it is the update itself, which runs us.
        if lock is None:
            return
        settle(place)
    run_current(place)


def _go_back(box: Box, *, yes: bool) -> None:
    back = look_back(box)
    if back.lost and not yes:
        lost = ", ".join(f"{table} {count}" for table, count in sorted(back.lost.items()))
        raise ConflictError(
            sentence(
                "Going back to %(name)s loses what came since: %(lost)s. Say --yes if it shall be "
                "so; a copy of the data stays in the folder updates.",
                name=back.name,
                lost=lost,
            )
        )
    go_back(box)
    kept = "the data stays" if back.keeps_data else "the data is as it was before the update"
    click.echo(f"{back.name} stands again; {kept}.")


def _say(what: str) -> None:
    click.echo(what, err=True)


@contextmanager
def _box(place: Place, settings: Settings) -> Iterator[Box]:
    """Return the box, stopped and kept so; raises ConflictError when it runs."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with (settings.run_dir / "supervisor.lock").open("a+") as file, place.locked() as lock:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                sentence("The system is running: stop lms up first, then update.")
            ) from error
        if lock is None:
            raise ConflictError(sentence("Another update is under way: wait until it has ended."))
        settle(place)
        yield Box(place=place, settings=settings, say=_say, locks=(lock, file.fileno()))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except SoftwareError as error:
        raise InvalidError(error.sentence) from error
