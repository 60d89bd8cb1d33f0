"""Profiles on a real Slurm: quotas as QOS, taken as printed and enforced, and their kernels."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from lms.cli.main import cli
from lms.compute.profiles import Terms, read_terms
from lms.compute.slurm import qos_of
from lms.foundation.errors import InvalidError, UnavailableError
from lms.foundation.resources import resource_dir
from lms.outposts.kernels import slurm_jobs
from tests.fakes.slurm import Slurm


@pytest.fixture
def quotas() -> Terms:
    return read_terms(resource_dir("hub_config") / "profiles.toml")


def _submit(slurm: Slurm, *options: str) -> "subprocess.CompletedProcess[str]":
    words = ["sbatch", "--qos=seodang-gpu", "--output=/dev/null", *options, "--wrap=sleep 60"]
    return subprocess.run(words, env=slurm.env, capture_output=True, text=True, check=False)


def test_limits_are_applied_twice_alike_and_enforced(slurm: Slurm, quotas: Terms) -> None:
    for _ in range(2):
        result = CliRunner().invoke(cli, ["slurm", "limits", "--apply"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert "seodang-gpu: Flags=DenyOnLimit" in result.output
    columns = "MaxWall,MaxJobsPU,MaxTRESPU,MaxTRESRunMinsPU,Flags"
    shown = slurm.run("sacctmgr", "-nP", "show", "qos", "seodang-gpu", f"format={columns}")
    minutes = int(quotas.hours_a_week * 60)
    at_once = quotas.at_once
    assert shown == f"04:00:00|{at_once}|gres/gpu={at_once}|gres/gpu={minutes}|DenyOnLimit"
    slurm.run("sacctmgr", "-i", "modify", "account", "root", "set", "qos+=seodang-gpu")
    slurm.run("sacctmgr", "-i", "modify", "user", "root", "set", "qos+=seodang-gpu")
    assert _submit(slurm, "--gres=gpu:1", "--time=10").returncode == 0
    for too_much in (("--gres=gpu:2", "--time=10"), ("--gres=gpu:1", "--time=500")):
        refused = _submit(slurm, *too_much)
        assert refused.returncode != 0, too_much
        assert "QOS" in refused.stderr


def test_limits_are_printed_as_commands_that_change_nothing(slurm: Slurm, quotas: Terms) -> None:
    printed = CliRunner().invoke(cli, ["slurm", "limits"]).output
    for qos in qos_of(quotas):
        assert f"add qos {qos.name}" in printed
    assert "MaxWall=240" in printed


def test_without_slurm_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = CliRunner().invoke(cli, ["slurm", "limits", "--apply"])
    assert isinstance(result.exception, UnavailableError)
    assert "sacctmgr is not installed here" in str(result.exception.sentence)


def test_a_profiles_kernel_is_a_job_with_its_cap_and_its_limits(
    slurm: Slurm, quotas: Terms, tmp_path: Path
) -> None:
    words = ["slurm", "kernels", str(tmp_path), "--slice", "shard"]
    CliRunner().invoke(cli, words, catch_exceptions=False)
    CliRunner().invoke(cli, ["slurm", "limits", "--apply"], catch_exceptions=False)
    for level in ("account", "user"):
        slurm.run("sacctmgr", "-i", "modify", level, "root", "set", "qos+=seodang-gpu")
    spec = json.loads((tmp_path / "seodang-gpu" / "kernel.json").read_text())
    config = spec["metadata"]["kernel_provisioner"]["config"]
    # One node of this cluster has less memory than the profile.
    config |= {"memory": "200M", "munge_socket": str(slurm.munge_socket)}
    spec["argv"][0] = sys.executable
    (tmp_path / "seodang-gpu" / "kernel.json").write_text(json.dumps(spec))
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path)], ensure_native_kernel=False)
    manager = KernelManager(kernel_name="seodang-gpu", kernel_spec_manager=specs)
    manager.start_kernel()
    try:
        (job,) = slurm_jobs.list_kernel_jobs()
        shown = slurm.run("scontrol", "show", "job", job.id)
    finally:
        manager.shutdown_kernel(now=True)
    assert quotas.profiles["gpu"].cap == timedelta(hours=4)
    for part in ("TimeLimit=04:00:00", "QOS=seodang-gpu", "gres/gpu=1", "NumCPUs=4"):
        assert part in shown


def test_what_is_written_for_slices_is_what_one_says_they_are(tmp_path: Path) -> None:
    shown = CliRunner().invoke(cli, ["slurm", "kernels", str(tmp_path)]).output
    assert "gpu-slice: left out" in shown
    assert not (tmp_path / "seodang-gpu-slice").exists()
    CliRunner().invoke(cli, ["slurm", "kernels", str(tmp_path), "--slice", "shard"])
    spec = json.loads((tmp_path / "seodang-gpu-slice" / "kernel.json").read_text())
    assert spec["metadata"]["kernel_provisioner"]["config"]["gres"] == "shard"
    (tmp_path / "file").write_text("")
    failed = CliRunner().invoke(cli, ["slurm", "kernels", str(tmp_path / "file" / "kernels")])
    assert isinstance(failed.exception, InvalidError)
