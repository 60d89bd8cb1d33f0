"""`lms prepare`: what `lms up` does before it starts anything, where others start the parts."""

import click

from lms.cli.prepare import make_keys, prepare
from lms.foundation.settings import load_settings


@click.command("prepare")
@click.option("--keys-only", is_flag=True, help="Make the keys that are missing, and nothing else.")
def prepare_command(*, keys_only: bool) -> None:
    """Make folders, keys and tables, and migrate the database; doing it again keeps everything.

    No account is made: `lms person add NAME --admin` makes the first.
    """
    settings = load_settings()
    if keys_only:
        settings.keys_dir.mkdir(parents=True, exist_ok=True)
        make_keys(settings)
        click.echo(f"{settings.keys_dir}: all keys are there")
        return
    prepare(settings, None, accounts=False)
    click.echo(f"{settings.data_dir} is ready")
