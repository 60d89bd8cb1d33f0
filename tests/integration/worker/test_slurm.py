"""Submissions graded in jobs of a real Slurm, in the sandbox: up from none, and down to none."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed.scheduler import KilledWorker

from lms.foundation import clock
from lms.outposts.executors.certificates import make_certificates
from lms.outposts.executors.dask import DaskExecutor
from lms.outposts.executors.job import Graded, GradingJob, run_job
from lms.outposts.executors.slurm import start_cluster
from lms.outposts.runner.source import AssignmentSource
from lms.protocol.grading import Limits, RunStatus
from tests.factories.notebooks import checked, notebook, solution
from tests.fakes import jobs
from tests.fakes import slurm as recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(recipe.missing()), reason=recipe.missing() or "-"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[recipe.Slurm]:
    slurm = recipe.Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.end()


@pytest.fixture
def executor(
    slurm: recipe.Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DaskExecutor]:
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    make_certificates(tmp_path / "keys", now=clock.now())
    file = tmp_path / "grading.toml"
    root = Path(__file__).resolve().parents[3]
    file.write_text(
        f'queue = "cpu"\nwalltime = "00:05:00"\nmemory = "900MB"\ninterface = "lo"\n'
        f'maximum_jobs = 2\nidle_looks = 2\nlog_folder = "{tmp_path}"\n'
        f'prologue = ["cd {root}", "export PYTHONPATH={root}"]\n'
    )
    executor = start_cluster(file, tmp_path / "keys")
    yield executor
    executor.shutdown(wait=False)


def _job(answer: str) -> GradingJob:
    source = notebook(solution("a", "x = 1"), checked("q1", 2.0, "assert x == 1"))
    answered = notebook(solution("a", f"x = {answer}"), checked("q1", 2.0, "assert x == 1"))
    return GradingJob(
        source=AssignmentSource(name="ps1", files={"ps1.ipynb": json.dumps(source).encode()}),
        submission={"ps1.ipynb": json.dumps(answered).encode()},
        limits=Limits(),
    )


def _until(done: Callable[[], object], seconds: float, slurm: recipe.Slurm) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, slurm.log()
        time.sleep(0.2)


def test_submissions_are_graded_in_slurm_jobs_and_none_is_left_without_work(
    slurm: recipe.Slurm, executor: DaskExecutor
) -> None:
    assert slurm.jobs() == []
    futures = [executor.submit(run_job, _job(str(number % 2))) for number in range(4)]
    graded: list[Graded] = [future.result(240) for future in futures]
    assert [one.outcomes[0].result.score for one in graded] == [0.0, 2.0, 0.0, 2.0]
    assert {one.outcomes[0].result.status for one in graded} == {RunStatus.GRADED}
    assert all(one.sandboxed for one in graded)
    assert 1 <= len(slurm.jobs()) <= 2
    # A result that somebody may still fetch keeps its worker.
    del futures
    _until(lambda: slurm.jobs() == [], 60, slurm)
    # And up again.
    assert executor.submit(jobs.add, 1, 1).result(120) == 2


@pytest.mark.parametrize("whole_job", [True, False])
def test_a_killed_jobs_run_fails_at_once_and_can_be_tried_again(
    slurm: recipe.Slurm, executor: DaskExecutor, tmp_path: Path, *, whole_job: bool
) -> None:
    folder = tmp_path / "started"
    folder.mkdir()
    future = executor.submit(jobs.wait_in, str(folder), 300)
    _until(lambda: list(folder.iterdir()), 120, slurm)
    (running,) = slurm.jobs()
    process = int(next(folder.iterdir()).name)
    if whole_job:
        slurm.run("scancel", "--signal=KILL", "--full", running)
    else:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(KilledWorker):
        future.result(90)
    # Not even where Slurm ends the job's script alone, as here.
    _until(lambda: not Path(f"/proc/{process}").exists(), 30, slurm)
    assert executor.submit(jobs.add, 2, 2).result(120) == 4
