"""The `lms` command: gathers the groups and maps our errors to exit codes."""

import sys
from pathlib import Path

import click

from lms.cli.lazy import LazyGroup
from lms.foundation.errors import LmsError

#: Command name -> "module:attribute"; a module is imported only when its command is asked for,
#: so that `lms --help` stays fast.
COMMANDS: dict[str, str] = {
    "audit": "lms.cli.audit:audit",
    "backup": "lms.cli.backup:backup",
    "bench": "lms.cli.bench:bench",
    "broker": "lms.cli.broker:broker",
    "centre": "lms.cli.centre:centre",
    "bundle": "lms.cli.bundle:bundle",
    "cluster": "lms.cli.cluster:cluster",
    "course": "lms.cli.course:course",
    "environment": "lms.cli.environment:environment",
    "fetch": "lms.cli.fetch:fetch",
    "gpu": "lms.cli.gpu:gpu",
    "grade": "lms.cli.grade:grade",
    "person": "lms.cli.person:person",
    "prepare": "lms.cli.preparing:prepare_command",
    "restore": "lms.cli.backup:restore",
    "slurm": "lms.cli.slurm:slurm",
    "status": "lms.cli.status:status",
    "submit": "lms.cli.submit:submit",
    "up": "lms.cli.up:up",
    "worker": "lms.cli.worker:worker",
}

#: What an update of a box leaves beside its programs until it is done: see lms.outposts.software.
UNFINISHED = "update.json"


@click.command(
    cls=LazyGroup,
    targets=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="seodang")
def cli() -> None:
    """Seodang (서당): courses, notebooks and grading from one command."""


def main() -> None:
    """Run `lms`; an error of ours is one sentence on stderr and its kind's exit code."""
    try:
        # Looked at without importing anything: every command passes here.
        if (Path(sys.prefix).parent / UNFINISHED).exists():
            from lms.cli.centre_update import settle_update

            settle_update()
        cli()
    except LmsError as error:
        click.echo(f"lms: {error.sentence}", err=True)
        sys.exit(error.exit_code)
