"""The spawner for Slurm over a Slurm that is a table of answers: ports, endings, silence."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from lms.outposts.hub.place import HubPlace
from lms.outposts.hub.slurm import CommandError, SlurmServerSpawner
from lms.outposts.hub.slurm_place import SlurmPlace, Terms
from lms.outposts.hub.slurm_port import PortError


class Spawner(SlurmServerSpawner):
    """Asks no Slurm: `says` is what squeue would print, None that nobody answers."""

    says: str | None = "RUNNING|None|n1"
    asked: Sequence[str] = ()
    cluster = SlurmPlace(hub_url="http://10.0.0.1:8011", terms=(Terms(minutes=480),))

    def get_env(self) -> dict[str, str]:
        return {}

    def _run(
        self, words: Sequence[str], *, env: Mapping[str, str] | None = None, text: str = ""
    ) -> str:
        del env, text
        self.asked = list(words)
        if words[0] == "sbatch":
            return "7"
        if self.says is None:
            raise CommandError("Unable to contact slurm controller")
        return (
            self.says if words[0] == "squeue" else "NodeName=n1 Arch=x86_64 NodeAddr=10.0.0.7 X=1"
        )


@pytest.fixture
def spawner() -> Spawner:
    spawner = Spawner()
    spawner.job_id = "7"
    spawner.port = 0
    spawner._awaits_port = True
    return spawner


def _take(spawner: Spawner, port: int = 4711, peer: str = "10.0.0.7") -> None:
    asyncio.run(spawner.take_port(port, peer))


def test_a_port_comes_once_from_the_jobs_node(spawner: Spawner) -> None:
    with pytest.raises(PortError, match="not the node"):
        _take(spawner, peer="10.0.0.8")
    assert spawner.port == 0
    _take(spawner)
    assert (spawner.ip, spawner.port) == ("10.0.0.7", 4711)
    with pytest.raises(PortError, match="No server"):
        _take(spawner, 8888)
    assert spawner.port == 4711


@pytest.mark.parametrize("says", ["PENDING|Priority|", "TIMEOUT|TimeLimit|n1", "", None])
def test_a_job_that_does_not_run_says_no_port(spawner: Spawner, says: str | None) -> None:
    spawner.says = says
    with pytest.raises(PortError, match="does not run"):
        _take(spawner)


@pytest.mark.parametrize(
    ("says", "status", "ended"),
    [
        ("RUNNING|None|n1", None, ""),
        ("PENDING|Priority|", None, ""),
        (None, None, ""),
        ("TIMEOUT|TimeLimit|n1", 1, "timeout"),
        ("NODE_FAIL|None|n1", 1, "node"),
        ("OUT_OF_MEMORY|OutOfMemory|n1", 1, "memory"),
        ("CANCELLED|None|n1", 1, "killed"),
        ("", 1, "killed"),
        ("COMPLETED|None|n1", 0, ""),
    ],
)
def test_how_a_job_ended_is_kept_for_the_page(
    spawner: Spawner, says: str | None, status: int | None, ended: str
) -> None:
    spawner.says = says
    assert asyncio.run(spawner.poll()) == status
    assert (spawner.ended, spawner.job_id) == (ended, "7" if status is None else "")


@pytest.mark.parametrize(("cap", "minutes"), [(0, 480), (90, 90), (900, 480)])
def test_a_profiles_cap_is_the_jobs_time_limit(
    spawner: Spawner, tmp_path: Path, cap: int, minutes: int
) -> None:
    spawner.user = SimpleNamespace(name="kim", groups=[])
    spawner.homes_dir = str(tmp_path)
    spawner.cap_minutes = cap
    asyncio.run(spawner.submit_batch_script())
    assert f"--time={minutes}" in spawner.asked
    assert spawner.job_id == "7"


def test_a_new_hub_process_takes_the_job_up() -> None:
    spawner = Spawner()
    spawner.load_state({"job_id": "9"})
    assert spawner.get_state()["job_id"] == "9"
    assert asyncio.run(spawner.poll()) is None


def test_which_hub_starts_jobs_is_one_setting() -> None:
    place = HubPlace.from_env({"LMS_SERVERS": "slurm", "LMS_SLURM_SERVERS": "/etc/servers.toml"})
    assert (place.slurm_servers, place.slurm_file) == (True, Path("/etc/servers.toml"))
    assert place.usual_seconds == 10
