"""`lms fetch`: an assignment's files from a shell, and corrections into a copy that is there."""

from pathlib import Path

import click

from lms.cli.submit import saying, signed_in
from lms.outposts.notebook.corrections import Corrections
from lms.outposts.notebook.folders import fill_folder
from lms.outposts.notebook.place import find_place


@click.command()
@click.argument("offering")
@click.argument("assignment")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where courses lie, as OFFERING/ASSIGNMENT; by default ~/courses.",
)
@click.option("--server", help="Address of the LMS; by default LMS_URL, or the one on this host.")
@click.option("--username", help="Who fetches, outside a notebook server; asked for if missing.")
def fetch(
    offering: str, assignment: str, *, into: Path | None, server: str | None, username: str | None
) -> None:
    """Fetch ASSIGNMENT of OFFERING, or bring a copy that is there up to date.

    Missing files are added and corrected cells exchanged; answers and own cells stay, and the file
    from before is kept beside the corrected one.
    """
    place = find_place()
    folder = (into or place.courses_dir).absolute() / offering / assignment
    with saying(), signed_in(server, username) as api:
        release = api.fetch_release(offering, assignment)
        corrections = Corrections(place.home, lambda: api)
        corrected: list[str] = []
        if folder.is_dir():
            corrected = corrections.bring_up_to_date(folder, release.digest)
        else:
            corrections.remember(folder, release.digest)
        written = fill_folder(folder, release.files)
    for path in written:
        click.echo(f"fetched {folder / path}")
    for path in corrected:
        if path not in written:
            click.echo(f"corrected {folder / path}")
    if not written and not corrected:
        click.echo(f"{folder} is up to date")
