"""`lms slurm`: what a Slurm cluster must know of the LMS's GPU profiles and quotas."""

import json
import shlex
from pathlib import Path

import click

from lms.compute.profiles import server_sizes, terms
from lms.compute.rules import Need
from lms.compute.slurm import PREFIX, kernel_of, qos_of
from lms.foundation.errors import InvalidError, UnavailableError
from lms.outposts.kernels.slurm_jobs import SlurmError, run_slurm
from lms.protocol.sentences import sentence

#: What `sacctmgr` ends with when nothing had to be changed.
_SAME = ("Nothing new added", "already exists", "Nothing modified")


@click.group()
def slurm() -> None:
    """Bring quotas to a Slurm cluster."""


@slurm.command()
@click.option("--apply", is_flag=True, help="Run the commands instead of printing them.")
def limits(*, apply: bool) -> None:
    """Print the commands that make each GPU profile's quota a QOS, or run them."""
    for qos in qos_of(terms()):
        for command in qos.commands():
            if apply:
                _run(command)
            else:
                click.echo(shlex.join(command))
        if apply:
            shown = ", ".join(f"{name}={value}" for name, value in qos.settings.items())
            click.echo(f"{qos.name}: {shown}")


@slurm.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--whole", default="gpu", show_default=True, help="What a whole GPU is in --gres.")
@click.option("--slice", "part", default="", help="What a slice is in --gres, such as shard.")
def kernels(folder: Path, *, whole: str, part: str) -> None:
    """Write a kernel for each GPU profile into FOLDER, a "kernels" folder of Jupyter's."""
    for size in server_sizes():
        if size.gpu is None:
            continue
        gres = whole if size.gpu.need is Need.WHOLE else part
        if not gres:
            click.echo(f"{size.key}: left out; name what its GPU is in --gres with --slice.")
            continue
        path = folder / f"{PREFIX}{size.key}" / "kernel.json"
        spec = json.dumps(kernel_of(size, size.gpu, gres), ensure_ascii=False, indent=2)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(spec + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidError(
                sentence(
                    "%(path)s cannot be written: %(why)s.", path=str(path), why=str(error.strerror)
                )
            ) from error
        click.echo(f"{size.key}: {path}")


def _run(command: list[str]) -> None:
    try:
        run_slurm(command)
    except SlurmError as error:
        if not any(word in str(error) for word in _SAME):
            raise UnavailableError(
                sentence("Slurm did not take the limits: %(why)s.", why=str(error).rstrip("."))
            ) from error
