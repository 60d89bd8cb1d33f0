"""One real Slurm for all tests here: four nodes, sixteen simulated GPUs, accounting."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import slurm as recipe


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[recipe.Slurm]:
    if why := recipe.missing(accounting=True):
        pytest.skip(why)
    # Not pytest's folder: every run of pytest closes it anew to the database's user.
    with tempfile.TemporaryDirectory(prefix="lms-slurm-", ignore_cleanup_errors=True) as folder:
        slurm = recipe.Slurm(Path(folder), gpus=True, accounting=True)
        yield slurm
        slurm.end()


@pytest.fixture
def slurm(slurm_daemons: recipe.Slurm, monkeypatch: pytest.MonkeyPatch) -> recipe.Slurm:
    """Slurm without a job, which this process's commands find."""
    monkeypatch.setenv("SLURM_CONF", slurm_daemons.env["SLURM_CONF"])
    slurm_daemons.wait_for_no_jobs()
    return slurm_daemons
