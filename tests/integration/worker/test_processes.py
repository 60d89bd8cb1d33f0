import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from lms.outposts.executors.base import ChildLostError
from lms.outposts.executors.processes import ProcessesExecutor
from lms.protocol.grading import RunStatus

ROOT = Path(__file__).resolve().parents[3]


def own_pid() -> int:
    return os.getpid()


def own_parent() -> int:
    return os.getppid()


def add(left: int, right: int) -> int:
    return left + right


def sleep_in(folder: str, seconds: float) -> int:
    Path(folder, str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def refuse() -> None:
    raise LookupError("not here")


def refuse_oddly() -> None:
    raise type("LocalError", (Exception,), {})("made up")


@pytest.fixture
def pool() -> Iterator[ProcessesExecutor]:
    pool = ProcessesExecutor(2, modules=["lms.protocol.grading"])
    yield pool
    pool.shutdown(wait=False, cancel_futures=True)


def _wait_until_gone(*pids: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while any(_is_there(pid) for pid in pids):
        assert time.monotonic() < end, f"still there: {pids}"
        time.sleep(0.02)


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _pids_in(folder: Path, count: int) -> list[int]:
    end = time.monotonic() + 20
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < end
        time.sleep(0.02)
    return [int(path.name) for path in folder.iterdir()]


def test_jobs_run_in_other_processes_that_are_used_again(pool: ProcessesExecutor) -> None:
    pids = {pool.submit(own_pid).result(30) for _ in range(6)}
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert pool.submit(add, 2, 3).result(30) == 5
    assert pool.submit(own_parent).result(30) != os.getpid()


def test_as_many_run_at_once_as_there_are_slots(pool: ProcessesExecutor, tmp_path: Path) -> None:
    futures = [pool.submit(sleep_in, str(tmp_path), 0.3) for _ in range(4)]
    assert len({future.result(30) for future in futures}) == 2


def test_an_error_comes_back_and_the_process_goes_on(pool: ProcessesExecutor) -> None:
    before = pool.submit(own_pid).result(30)
    with pytest.raises(LookupError, match="not here"):
        pool.submit(refuse).result(30)
    with pytest.raises(RuntimeError, match="LocalError: made up"):
        pool.submit(refuse_oddly).result(30)
    assert pool.submit(own_pid).result(30) == before


def test_a_killed_process_fails_its_own_job_alone(pool: ProcessesExecutor, tmp_path: Path) -> None:
    futures = [pool.submit(sleep_in, str(tmp_path), 0.5) for _ in range(2)]
    killed, other = _pids_in(tmp_path, 2)
    os.kill(killed, signal.SIGKILL)
    done = {future: future.exception(30) for future in futures}
    assert [type(error) for error in done.values() if error] == [ChildLostError]
    assert [future.result() for future, error in done.items() if error is None] == [other]
    assert pool.submit(add, 1, 1).result(30) == 2


def test_a_killed_nursery_is_started_again(pool: ProcessesExecutor) -> None:
    nursery = pool.submit(own_parent).result(30)
    child = pool.submit(own_pid).result(30)
    os.kill(nursery, signal.SIGKILL)
    _wait_until_gone(nursery, child)
    # What waits for a job is lost with it; the next one gets a process of a new nursery.
    futures = [pool.submit(add, 1, 1) for _ in range(3)]
    assert [future.exception(30) for future in futures].count(None) >= 2
    assert pool.submit(own_parent).result(30) != nursery


def test_closing_ends_jobs_at_once_and_leaves_no_process(
    pool: ProcessesExecutor, tmp_path: Path
) -> None:
    nursery = pool.submit(own_parent).result(30)
    futures = [pool.submit(sleep_in, str(tmp_path), 60) for _ in range(3)]
    pids = _pids_in(tmp_path, 2)
    start = time.monotonic()
    pool.shutdown(wait=False, cancel_futures=True)
    _wait_until_gone(nursery, *pids)
    for future in futures:
        with pytest.raises((ChildLostError, CancelledError)):
            future.result(10)
    assert time.monotonic() - start < 10


def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from lms.outposts.executors.processes import ProcessesExecutor\n"
        "from tests.integration.worker.test_processes import own_parent, sleep_in\n"
        "pool = ProcessesExecutor(2, modules=[])\n"
        "print(pool.submit(own_parent).result(), flush=True)\n"
        "[pool.submit(sleep_in, sys.argv[1], 60) for _ in range(2)]\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        nursery = int(worker.stdout.readline())
        pids = _pids_in(tmp_path, 2)
        worker.kill()
    _wait_until_gone(nursery, *pids)


def test_results_of_grading_survive_the_way(pool: ProcessesExecutor) -> None:
    assert pool.submit(RunStatus, "graded").result(30) is RunStatus.GRADED
    assert threading.active_count() < 20
