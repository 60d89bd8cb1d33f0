"""What helm makes of our chart, as values to look at; skips where there is no helm."""

import functools
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from lms.foundation.resources import resource_dir

FOLDER = resource_dir("hub_config") / "kubernetes"
CHART = FOLDER / "chart"
NAMESPACE = "seodang"

DATABASE = '[{"ipBlock": {"cidr": "10.1.2.3/32"}}]'
#: Names of the ways to set it up, and what is given to helm for each.
WAYS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "all": (
        *("--set", "image.pullSecrets={login}", "--set", "secrets.metrics=seodang-metrics"),
        *("--set", "storage.className=fast", "--set-json", f"networkPolicy.database.to={DATABASE}"),
    ),
    "no-ingress": ("--set", "ingress.enabled=false"),
    "pages-alone": (
        *("--set", "grading.enabled=false", "--set", "web.replicas=1"),
        *("--set", "storage.existingClaim=mine", "--set", "ingress.tls.lms="),
    ),
}


@dataclass(frozen=True, slots=True)
class Said:
    """How helm ended, and all that it said."""

    code: int
    text: str


def helm(*words: str | Path) -> Said:
    """Run helm; without it the test is skipped, but only where `make tools` cannot bring it."""
    beside = Path(sys.executable).with_name("helm")
    program = str(beside) if beside.exists() else shutil.which("helm")
    if program is None:
        assert platform.machine() != "x86_64", "no helm: run make tools"
        pytest.skip("no helm for this processor")
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, check=False, env={"HOME": "/nonexistent"}
    )
    return Said(done.returncode, done.stdout + done.stderr)


@functools.cache
def rendered(way: str) -> tuple[dict[str, Any], ...]:
    """Return the documents that helm makes of the chart in this way."""
    said = helm("template", "seodang", CHART, "--namespace", NAMESPACE, *WAYS[way])
    assert said.code == 0, said.text
    return tuple(one for one in yaml.safe_load_all(said.text) if one)


def pods(documents: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Return every pod template by the name of what starts it."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in documents
        if one["kind"] in {"Deployment", "StatefulSet", "Job", "DaemonSet"}
    }


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all containers of a pod template."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def of_kind(documents: tuple[dict[str, Any], ...], kind: str) -> dict[str, dict[str, Any]]:
    """Return the documents of one kind by their names."""
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}
