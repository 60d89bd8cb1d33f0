"""The image that the charts assume: nothing builds it here, so what it says is compared."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from lms.outposts.hub.pods import HOME
from tests.integration.kubernetes.rendered import CHART, FOLDER

ROOT = Path(__file__).resolve().parents[3]
TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _copied() -> list[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_its_file_is_linted() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), FOLDER / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_it_copies_what_the_wheel_is_built_of() -> None:
    copied = _copied()
    assert not [path for path in copied if not (ROOT / path).exists()]
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    licences = [path.split("/")[0] for path in PROJECT["project"]["license-files"]]
    needed = {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], *licences}
    assert needed <= {*copied}
    assert {"pyproject.toml", "requirements.lock"} <= {*copied}


def test_it_installs_the_locked_versions_of_what_pods_run() -> None:
    assert TEXT.count("--constraints requirements.lock") == 1
    assert TEXT.count("--build-constraints requirements.lock") == 1
    (extras,) = re.findall(r"\.whl\)\[([a-z,]+)\]", TEXT)
    assert set(extras.split(",")) == {"cluster", "kubernetes"}
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for extra in extras.split(","):
        for wanted in PROJECT["project"]["optional-dependencies"][extra]:
            name = re.split(r"[><=\[;]", wanted)[0]
            assert re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE), name
    (uv,) = re.findall(r"uv==([\d.]+)", TEXT)
    assert f"UV_VERSION := {uv}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_its_python_is_one_that_we_support_and_the_same_twice() -> None:
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    (version,) = re.findall(r"^python:(\d+\.\d+)-slim-\w+$", bases[0])
    assert f"Programming Language :: Python :: {version}" in PROJECT["project"]["classifiers"]


def test_it_runs_as_jovyan_where_both_charts_expect_it() -> None:
    assert re.findall(r"^USER (.+)$", TEXT, re.MULTILINE) == ["1000:100"]
    assert f"/home/{re.findall(r'--create-home (.+?) ', TEXT)[0]}" == HOME
    # Zero to JupyterHub keeps the Hub's database in this folder and starts the Hub in it.
    assert re.findall(r"^WORKDIR (.+)$", TEXT, re.MULTILINE)[-1] == "/srv/jupyterhub"


def test_chart_and_image_have_the_programs_version() -> None:
    version = PROJECT["project"]["version"]
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert (about["appVersion"], values["image"]["tag"]) == (version, version)
    assert f"/seodang:{version} ." in TEXT
