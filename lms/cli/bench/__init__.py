"""`lms bench`: figures about this machine, measured against the tools they are compared with."""

import click

from lms.cli.lazy import LazyGroup

#: Subcommand -> "module:attribute", imported when it is named.
TARGETS: dict[str, str] = {
    "grade": "lms.cli.bench.grade:grade",
    "kernel": "lms.cli.bench.kernel:kernel",
    "spawn": "lms.cli.bench.spawn:spawn",
    "sync": "lms.cli.bench.sync:sync",
}


@click.group(cls=LazyGroup, targets=TARGETS)
def bench() -> None:
    """Measure this system against stock tools, both in one run on the same cores."""
