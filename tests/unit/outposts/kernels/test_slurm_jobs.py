import os

import pytest

from lms.outposts.kernels import slurm_jobs
from lms.outposts.kernels.slurm_jobs import is_orphan, own_mark
from lms.outposts.kernels.srun import SrunProvisioner


def test_only_a_process_that_was_here_and_ended_leaves_an_orphan() -> None:
    boot, namespace, pid, started = own_mark().split(":")
    assert not is_orphan(own_mark())
    assert is_orphan(f"{boot}:{namespace}:{pid}:{int(started) - 1}")
    assert not is_orphan(f"another-boot:{namespace}:{pid}:1")
    assert not is_orphan(f"{boot}:1:{pid}:1")
    assert not is_orphan("(null)")
    assert not is_orphan("")


def test_the_command_asks_for_what_the_profile_says_and_names_the_lease() -> None:
    provisioner = SrunProvisioner(
        gpus=2, gres="gpu:a100", minutes=90, memory="16G", qos="seodang-gpu", munge_socket="/m"
    )
    words = provisioner.command("lease7")
    assert words[0] == "srun"
    assert {
        "--gres=gpu:a100:2",
        "--time=90",
        "--mem=16G",
        "--qos=seodang-gpu",
        f"--job-name={slurm_jobs.PREFIX}lease7",
        f"--comment={own_mark()}",
    } <= set(words)
    assert not any(word.startswith(("--partition", "--account")) for word in words)
    assert words[-1] == "--munge-socket=/m"


def test_slurms_commands_see_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    assert "secret" not in slurm_jobs.command_environment().values()
    assert os.environ["JUPYTERHUB_API_TOKEN"] == "secret"


def test_a_missing_slurm_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slurm_jobs.SlurmError, match="squeue is not installed here"):
        slurm_jobs.list_kernel_jobs()
