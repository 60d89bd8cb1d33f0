"""A course's packages travel with it: a box without an index builds them from its bundle."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lms.bootstrap import build
from lms.catalogue.models import Course
from lms.cli.main import cli
from lms.foundation.settings import Settings
from lms.migrations.run import upgrade
from lms.outposts.bundles.build import folder_content
from lms.outposts.environments.folder import Environments
from tests.factories.wheels import make_course, make_wheel, pin

Lms = Callable[..., Result]


@pytest.fixture
def lms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lms:
    """Run `lms …` on one of the machines; no index is reached from any of them."""
    for name in ("UV_OFFLINE", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "1")

    def run(machine: str, *words: str) -> Result:
        monkeypatch.setenv("LMS_DATA", str(tmp_path / machine))
        monkeypatch.setenv("LMS_URL", "http://127.0.0.1:9")
        return CliRunner().invoke(cli, list(words))

    return run


@pytest.fixture
def course(tmp_path: Path, lms: Lms) -> Path:
    """A course that needs `tiny`, whose wheel lies in `wheels`; central and a box that joined."""
    wheel = make_wheel(tmp_path / "wheels", "tiny", "2")
    make_wheel(tmp_path / "wheels", "stranger", "1")
    make_course(tmp_path / "graphs", pin(wheel))
    for name in ("central", "box"):
        system = build(Settings(data_dir=tmp_path / name))
        upgrade(system.engine)
        system.engine.dispose()
    return tmp_path / "graphs"


def _build(lms: Lms, course: Path, *more: str) -> Result:
    return lms("central", "bundle", "build", str(course), "--course", course.name, *more)


def _join(lms: Lms, tmp_path: Path) -> None:
    ticket, reply = str(tmp_path / "box.ticket"), str(tmp_path / "box.reply")
    for machine, words in (
        ("central", ("invite", "box", "--out", ticket)),
        ("box", ("join", ticket, "--reply", reply)),
        ("central", ("approve", reply)),
    ):
        done = lms(machine, "centre", *words)
        assert done.exit_code == 0, f"{done.output} {done.exception}"


def _built(tmp_path: Path) -> list[tuple[str, ...]]:
    return [one.packages for one in Environments(tmp_path / "box/environments").list()]


def _pull(lms: Lms, tmp_path: Path) -> Result:
    return lms("box", "centre", "pull", "--from", str(tmp_path / "central/repository"))


def test_packages_come_with_the_course(lms: Lms, course: Path, tmp_path: Path) -> None:
    done = _build(lms, course, "--wheels", str(tmp_path / "wheels"))
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    _join(lms, tmp_path)
    done = _pull(lms, tmp_path)
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert "its packages are ready (1)" in done.output
    assert _built(tmp_path) == [("tiny==2",)]
    system = build(Settings(data_dir=tmp_path / "box"))
    with system.sessions() as session:
        known = session.query(Course.environment).scalar()
    system.engine.dispose()
    assert [one.requirements for one in Environments(tmp_path / "box/environments").list()] == [
        known
    ]
    assert "packages" not in _pull(lms, tmp_path).output
    assert not any((tmp_path / "box/bundles/laid").iterdir())


def test_a_build_that_failed_is_made_good_by_the_next_pull(
    lms: Lms, course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _build(lms, course, "--wheels", str(tmp_path / "wheels")).exit_code == 0
    _join(lms, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("lms.outposts.environments.build.lacking", _lacks)
        done = _pull(lms, tmp_path)
    assert done.exit_code == 0, f"{done.output} {done.exception}"
    assert "cannot be used yet" in done.output
    assert _built(tmp_path) == []
    assert _pull(lms, tmp_path).exit_code == 0
    assert _built(tmp_path) == [("tiny==2",)]


def _lacks(*_: object) -> list[object]:
    from lms.protocol.sentences import sentence

    return [sentence("There is no wheel of %(package)s.", package="tiny")]


def test_a_course_does_not_leave_without_its_packages(
    lms: Lms, course: Path, tmp_path: Path
) -> None:
    done = _build(lms, course)
    assert "--wheels" in str(done.exception)
    (tmp_path / "empty").mkdir()
    done = _build(lms, course, "--wheels", str(tmp_path / "empty"))
    assert "no wheel of tiny" in str(done.exception)
    done = _build(lms, course, "--wheels", "/no/such/folder")
    assert "is not there" in str(done.exception)
    assert not (tmp_path / "central/repository/targets").exists()
    assert _build(lms, course, "--wheels", "none").exit_code == 0


def test_what_tools_leave_in_a_folder_stays_at_home(course: Path) -> None:
    shutil.rmtree(course / ".git", ignore_errors=True)
    for left in (".git", "__pycache__", "source/.ipynb_checkpoints"):
        (course / left).mkdir(parents=True)
        (course / left / "file").write_text("secret")
    (course / ".DS_Store").write_text("x")
    found = folder_content(course)
    assert "course.toml" in found
    assert not any("secret" in path.read_text("utf-8", "replace") for path in found.values())
    assert not any(path.endswith(".DS_Store") for path in found)
