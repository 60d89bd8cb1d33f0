"""From a course folder at central to a course on the box, on a stick: the same releases."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from lms.bootstrap import build
from lms.catalogue.models import Course, Release
from lms.centre import installing
from lms.centre.models import CentreSelf
from lms.cli.main import cli
from lms.foundation.errors import InvalidError
from lms.foundation.settings import Settings
from lms.migrations.run import upgrade
from lms.outposts.bundles.store import Store

COURSE = "python-for-ai"
COURSES = Path(__file__).parents[3] / "courses"

Lms = Callable[..., Result]


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Central with a course, its repository, a stick, and two boxes: one trusts it, one cannot."""
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        run = _runner(patch, folder)
        for name in ("central", "box", "lost-box"):
            system = build(Settings(data_dir=folder / name))
            upgrade(system.engine)
            system.engine.dispose()
        shutil.copytree(COURSES / COURSE, folder / COURSE)
        _publish(run, folder)
        bundles = ("--bundles", str(folder / "repository"))
        for box, more in (("box", bundles), ("lost-box", ())):
            ticket = str(folder / f"{box}.ticket")
            invited = run("central", "centre", "invite", box, *more, "--out", ticket)
            assert invited.exit_code == 0, invited.exception
            assert run(box, "centre", "join", ticket).exit_code == 0
    return folder


@pytest.fixture
def lms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: Path) -> Lms:
    """Run `lms …` on one of the machines of a stage of one's own, in `tmp_path`."""
    shutil.copytree(stage, tmp_path, dirs_exist_ok=True)
    return _runner(monkeypatch, tmp_path)


def _runner(patch: pytest.MonkeyPatch, folder: Path) -> Lms:
    def run(machine: str, *words: str) -> Result:
        patch.setenv("LMS_DATA", str(folder / machine))
        patch.setenv("LMS_URL", "http://127.0.0.1:9")
        return CliRunner().invoke(cli, list(words))

    return run


def _said(done: Result) -> str:
    assert done.exit_code != 0
    return f"{done.output} {done.exception}"


def _publish(lms: Lms, tmp_path: Path) -> None:
    repository, stick = tmp_path / "repository", tmp_path / "stick"
    folder = tmp_path / COURSE
    for words in (
        ("course", "import", str(folder)),
        ("bundle", "build", str(folder), "--course", COURSE, "--to", str(repository)),
        ("bundle", "export", "--from", str(repository), "--to", str(stick)),
    ):
        done = lms("central", *words)
        assert done.exit_code == 0, done.output


def _releases(data_dir: Path) -> dict[str, str]:
    system = build(Settings(data_dir=data_dir))
    with system.sessions() as session:
        found = {
            f"{one.assignment.key} {one.number}": one.digest
            for one in session.scalars(select(Release))
        }
    system.engine.dispose()
    return found


def _pull(lms: Lms, tmp_path: Path, *more: str) -> Result:
    return lms("box", "centre", "pull", "--from", str(tmp_path / "stick"), *more)


def test_a_box_teaches_the_very_releases_of_central(lms: Lms, tmp_path: Path) -> None:
    done = _pull(lms, tmp_path)
    assert done.exit_code == 0, done.output
    assert f"{COURSE}: version 1, " in done.output
    assert "2 assignments" in done.output
    releases = _releases(tmp_path / "box")
    assert len(releases) == 2
    assert releases == _releases(tmp_path / "central")
    assert "is here already" in _pull(lms, tmp_path).output
    assert not any((tmp_path / "box/bundles/laid").iterdir()), "hidden tests lie about nowhere"


def test_an_update_comes_as_a_second_version(lms: Lms, tmp_path: Path) -> None:
    assert _pull(lms, tmp_path).exit_code == 0
    text = (tmp_path / COURSE / "course.toml").read_text("utf-8")
    (tmp_path / COURSE / "course.toml").write_text(text + "\n# corrected\n", "utf-8")
    notebook = next((tmp_path / COURSE / "source/letter-detective").glob("*.ipynb"))
    notebook.write_text(notebook.read_text("utf-8").replace("assert ", "assert  ", 1), "utf-8")
    _publish(lms, tmp_path)
    done = _pull(lms, tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert [(one["version"], one["loaded"]) for one in json.loads(done.output)] == [(2, True)]
    assert _releases(tmp_path / "box") == _releases(tmp_path / "central")


def test_a_pull_cut_off_before_the_course_was_loaded_is_made_good(
    lms: Lms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as power:
        power.setattr(installing, "import_tree", _cut)
        assert isinstance(_pull(lms, tmp_path).exception, KeyboardInterrupt | SystemExit)
    assert _releases(tmp_path / "box") == {}
    done = _pull(lms, tmp_path, "--json")
    assert [(one["changed"], one["loaded"]) for one in json.loads(done.output)] == [(False, True)]
    assert _releases(tmp_path / "box") == _releases(tmp_path / "central")


def _cut(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_course_that_this_software_cannot_read_leaves_the_one_before(
    lms: Lms, tmp_path: Path
) -> None:
    assert _pull(lms, tmp_path).exit_code == 0
    before = _releases(tmp_path / "box")
    for path in (tmp_path / COURSE / "source").rglob("*.ipynb"):
        path.write_text("{}", "utf-8")
    repository, stick = str(tmp_path / "repository"), str(tmp_path / "stick")
    build_ = ("bundle", "build", str(tmp_path / COURSE), "--course", COURSE, "--to", repository)
    assert lms("central", *build_).exit_code == 0
    assert lms("central", "bundle", "export", "--from", repository, "--to", stick).exit_code == 0
    assert "not a Jupyter notebook" in _said(_pull(lms, tmp_path))
    assert _releases(tmp_path / "box") == before


def test_a_box_without_a_root_trusts_no_stick(lms: Lms, tmp_path: Path) -> None:
    done = lms("lost-box", "centre", "pull", "--from", str(tmp_path / "stick"))
    assert "names no signed repository" in _said(done)
    done = lms("central", "centre", "pull", "--from", str(tmp_path / "stick"))
    assert "has not joined as a centre" in _said(done)
    store = Store(tmp_path / "lost-box/bundles")
    assert store.courses() == []
    with pytest.raises(InvalidError, match="damaged"):
        installing.begin_trust(store, CentreSelf(root="%%%"))


def test_a_strangers_stick_installs_nothing(lms: Lms, tmp_path: Path) -> None:
    other = tmp_path / "other"
    words = ("bundle", "build", str(tmp_path / COURSE), "--course", COURSE, "--to", str(other))
    made = lms("central", *words, "--keys", str(tmp_path / "other-keys"))
    assert made.exit_code == 0, made.output
    done = lms("box", "centre", "pull", "--from", str(other))
    assert done.exit_code != 0
    system = build(Settings(data_dir=tmp_path / "box"))
    with system.sessions() as session:
        assert session.scalars(select(Course)).all() == []
    system.engine.dispose()


def test_what_cannot_be_is_said_in_a_sentence(lms: Lms, tmp_path: Path) -> None:
    assert "plugged in" in _said(_pull(lms, tmp_path, "--from", "/no/such/stick"))
    assert "two hours of the day" in _said(_pull(lms, tmp_path, "--hours", "25-6"))
    assert "has no course" in _said(_pull(lms, tmp_path, "--course", "nothing-like-it"))
    done = lms("central", "centre", "invite", "Sejong", "--bundles", str(tmp_path))
    assert "lms bundle build" in _said(done)
