"""`lms backup` and `lms restore`: everything that must be kept, in one file."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from sqlalchemy import Engine

from lms.bootstrap import build
from lms.foundation import clock
from lms.foundation.backup import check_backup, read_backup, write_backup
from lms.foundation.errors import ConflictError
from lms.foundation.settings import Settings, load_settings
from lms.migrations.run import current_revision, upgrade
from lms.protocol.sentences import sentence


def kept_folders(settings: Settings, *, homes: bool) -> dict[str, Path]:
    """Return the folders that a backup holds, by their name in it."""
    # The Hub's own database is left out: it remembers who runs a server now, nothing that lasts.
    folders = {"blobs": settings.blobs_dir, "keys": settings.keys_dir}
    return folders | ({"homes": settings.homes_dir} if homes else {})


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--homes", is_flag=True, help="Also keep people's notebook folders.")
def backup(file: Path, *, homes: bool) -> None:
    """Write database, blobs and keys to FILE (.tar.gz), while the system runs.

    FILE holds every secret of the site: keep it where only you can read it.
    """
    settings = load_settings()
    system = build(settings)
    if not settings.data_dir.is_dir() or current_revision(system.engine) is None:
        raise ConflictError(
            sentence(
                "There is nothing to back up in %(folder)s; set LMS_DATA to the data folder.",
                folder=str(settings.data_dir),
            )
        )
    with _progress() as progress:
        contents = write_backup(
            file,
            system.engine,
            kept_folders(settings, homes=homes),
            now=clock.now(),
            progress=progress,
        )
    rows = sum(contents.rows.values())
    click.echo(f"{file}: {rows} rows, {len(contents.members)} members, mode 600")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--check", is_flag=True, help="Only read FILE and compare every digest.")
def restore(file: Path, *, check: bool) -> None:
    """Restore FILE into LMS_DATA, which must be empty or absent, while the system is stopped."""
    settings = load_settings()
    if check:
        contents = check_backup(file)
        click.echo(f"{file}: whole, made {contents.created_at}, revision {contents.revision}")
        return
    folder = settings.data_dir
    if folder.is_dir() and any(folder.iterdir()):
        raise ConflictError(
            sentence(
                "%(folder)s is not empty. Move it away, or set LMS_DATA to a new folder.",
                folder=str(folder),
            )
        )
    check_backup(file)
    system = build(settings)
    with _progress() as progress:
        contents = read_backup(
            file,
            system.engine,
            kept_folders(settings, homes=True),
            migrate=lambda revision: upgrade(system.engine, revision),
            progress=progress,
        )
    _finish(system.engine)
    click.echo(f"{folder}: restored {sum(contents.rows.values())} rows; start it with lms up")


def _finish(engine: Engine) -> None:
    upgrade(engine)
    engine.dispose()


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show the member at work, on one line, where a person is watching."""
    watched = sys.stderr.isatty()

    def show(name: str) -> None:
        if watched:
            click.echo(f"\r\033[K{name[-70:]}", nl=False, err=True)

    yield show
    if watched:
        click.echo("\r\033[K", nl=False, err=True)
