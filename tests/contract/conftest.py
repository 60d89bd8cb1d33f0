"""Fixtures of the exchange's contract: an LMS over HTTP, and this process as someone's server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from traitlets.config import Config

from tests.fakes.exchange_lms import FakeHub, Lms, running_hub_api, running_lms


@pytest.fixture
def hub_api() -> Iterator[FakeHub]:
    with running_hub_api() as hub:
        yield hub


@pytest.fixture
def lms(tmp_path: Path, hub_api: FakeHub) -> Iterator[Lms]:
    with running_lms(tmp_path / "lms", hub_api) as lms:
        yield lms


@pytest.fixture
def as_person(lms: Lms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Config]:
    """Return a function that makes this process the notebook server of a person."""

    def be(name: str) -> Config:
        home = tmp_path / "homes" / name
        home.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("LMS_URL", lms.url)
        monkeypatch.setenv("JUPYTERHUB_API_TOKEN", f"t-{name}")
        monkeypatch.setenv("JUPYTERHUB_USER", "somebody-else")
        monkeypatch.setenv("HOME", str(home))
        config = Config()
        config.Exchange.assignment_dir = str(home / "courses")
        config.CourseDirectory.course_id = "py-2026"
        config.CourseDirectory.assignment_id = "ps1"
        config.CourseDirectory.root = str(home / "teaching")
        return config

    return be
