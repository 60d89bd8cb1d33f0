"""Environments through a real broker: in a student's server, and in a sandbox of grading."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from lms.outposts.broker.launcher import (
    BrokerLauncher,
    EnvironmentLauncher,
    SandboxUnavailableError,
)
from lms.outposts.environments.build import build
from lms.outposts.environments.folder import Built, Environments
from lms.outposts.environments.identity import kernel_name
from lms.outposts.environments.requirements import parse
from lms.outposts.runner.grade import grade_submission
from lms.outposts.runner.source import load_source
from lms.protocol.grading import Limits
from tests.factories.wheels import make_course, make_wheel, pin
from tests.integration.broker.conftest import LEARNER_A
from tests.integration.broker.test_server_kernels import _TOKEN, Kernel, _url, kernels
from tests.integration.broker.test_server_zygote import Place, place

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.kernel,
    pytest.mark.skipif(os.geteuid() != 0, reason="own uids need root"),
]

TELL = "import tiny; print(tiny.VERSION)"


@dataclass(frozen=True)
class School:
    """A broker with an environment whose tiny is version 2."""

    place: Place
    built: Built


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[School]:
    wheels = tmp_path_factory.mktemp("wheels")
    with place() as one:
        environments = Environments(one.broker.data / "environments")
        asked = parse(pin(make_wheel(wheels, "tiny", "2")).encode())
        built = build(environments, asked, wheels=wheels, trial=lambda _: None)
        yield School(one, built)


def test_a_students_kernel_has_the_courses_packages_and_the_default_one_has_not(
    school: School,
) -> None:
    server = school.place.start("a", LEARNER_A)
    name = kernel_name(school.built.requirements)
    listed = requests.get(_url(server, "kernelspecs"), headers=_TOKEN, timeout=60).json()
    assert {name, "python3"} <= set(listed["kernelspecs"])
    answer = requests.post(
        _url(server, "kernels"), json={"name": name}, headers=_TOKEN, timeout=120
    )
    kernel = Kernel(server, answer.json()["id"])
    assert kernel.run(TELL) == "2"
    # It is a fork that joined, not a fresh interpreter.
    assert len(kernels()) == 1
    command = "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c',"
    assert kernel.run(f"{command} {TELL!r}], text=True))").split() == ["2"]
    assert kernel.run("import tiny; open(tiny.__file__, 'a')") == "PermissionError"
    plain = Kernel.start(server)
    assert plain.run(TELL) == "ModuleNotFoundError"
    school.place.client.stop_server("a", now=True)


def test_the_broker_grades_in_the_environment_that_is_named(school: School, tmp_path: Path) -> None:
    source = load_source(make_course(tmp_path / "c", "") / "source" / "ps1")
    plain = BrokerLauncher(school.place.broker.socket)
    scores = []
    for launcher in (EnvironmentLauncher(plain, school.built.environment), plain):
        (outcome,) = grade_submission(source, source.files, limits=Limits(), launcher=launcher)
        scores.append((outcome.result.score, outcome.result.integrity))
    assert scores == [(2.0, "verified"), (0.0, "verified")]
    missing = EnvironmentLauncher(plain, "sha256:" + "0" * 64)
    with pytest.raises(SandboxUnavailableError, match="is not built on this machine"):
        grade_submission(source, source.files, limits=Limits(), launcher=missing)
