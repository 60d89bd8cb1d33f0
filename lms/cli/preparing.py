"""`lms prepare`: what `lms up` does before it starts anything, where others start the parts."""

import click

from lms.cli.prepare import make_keys, prepare
from lms.foundation.db import make_engine
from lms.foundation.settings import load_settings
from lms.migrations.run import upgrade


@click.command("prepare")
@click.option("--keys-only", is_flag=True, help="Make the keys that are missing, and nothing else.")
@click.option("--tables-only", is_flag=True, help="Migrate the database, and nothing else.")
def prepare_command(*, keys_only: bool, tables_only: bool) -> None:
    """Make folders, keys and tables, and migrate the database; doing it again keeps everything.

    No account is made: `lms person add NAME --admin` makes the first.
    """
    settings = load_settings()
    if tables_only:
        # What lms centre update of the version before calls: keep it as it is.
        engine = make_engine(settings.database)
        upgrade(engine)
        engine.dispose()
        click.echo("the tables are up to date")
        return
    if keys_only:
        settings.keys_dir.mkdir(parents=True, exist_ok=True)
        make_keys(settings)
        click.echo(f"{settings.keys_dir}: all keys are there")
        return
    prepare(settings, None, accounts=False)
    click.echo(f"{settings.data_dir} is ready")
