"""Building environments: once, whole or not at all, read-only, from a folder of wheels."""

import json
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lms.cli.main import cli
from lms.outposts.environments.build import BuildError, build
from lms.outposts.environments.folder import Built, Environments
from lms.outposts.environments.identity import environment_id
from lms.outposts.environments.installing import InstallError, install
from lms.outposts.environments.requirements import parse
from lms.protocol.sentences import Sentence, sentence
from tests.factories.wheels import make_course, make_wheel, pin

Trial = Callable[[Path], Sentence | None]


def no_trial(_packages: Path) -> None:
    """Say that every environment is well."""


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    return Environments(tmp_path / "environments")


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


def make(environments: Environments, text: str, wheels: Path, *, trial: Trial = no_trial) -> Built:
    return build(environments, parse(text.encode()), wheels=wheels, trial=trial)


def left(environments: Environments) -> list[str]:
    """Return what a failed build must not leave: everything but its lock."""
    names = [path.name for path in environments.root.iterdir()]
    return sorted(name for name in names if not name.endswith(".lock"))


def test_an_environment_is_read_only_and_says_what_it_is(
    environments: Environments, wheels: Path
) -> None:
    text = pin(make_wheel(wheels, "tiny", "2"), make_wheel(wheels, "other", "1", requires=["tiny"]))
    shares: list[float] = []
    asked = parse(text.encode())
    built = build(environments, asked, wheels=wheels, on_progress=shares.append, trial=no_trial)
    assert built.environment == environment_id(asked.digest)
    assert (built.requirements, built.packages) == (asked.digest, ("other==1", "tiny==2"))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    folder = environments.folder(built.environment)
    assert parse((folder / "requirements.txt").read_bytes()).digest == asked.digest
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        assert not mode & 0o222, path
        # A learner's uid must be able to read it.
        assert mode & 0o004, path
        assert path.is_file() or mode & 0o001, path
    (compiled,) = folder.rglob("tiny.*.pyc")
    assert str(folder / "packages" / "tiny.py").encode() in compiled.read_bytes()
    spec = json.loads((environments.kernelspec(asked.digest) / "kernel.json").read_text())
    assert spec["env"] == {"PYTHONPATH": str(folder / "packages")}
    assert spec["metadata"]["seodang"] == {"environment": built.environment}


def test_the_second_build_takes_the_first_and_another_version_lies_beside_it(
    environments: Environments, wheels: Path
) -> None:
    old = pin(make_wheel(wheels, "tiny", "1"))
    first = make(environments, old, wheels)
    inode = environments.folder(first.environment).stat().st_ino
    again = make(environments, f"# the same\n{old}", wheels / "gone")
    assert again == first
    second = make(environments, pin(make_wheel(wheels, "tiny", "2")), wheels)
    assert environments.folder(first.environment).stat().st_ino == inode
    assert {one.packages for one in environments.list()} == {("tiny==1",), ("tiny==2",)}
    environments.remove(second.environment)
    assert environments.list() == [first]
    assert not environments.kernelspec(second.requirements).exists()
    assert environments.kernelspec(first.requirements).exists()


def _missing(wheels: Path) -> str:
    text = pin(make_wheel(wheels, "tiny", "2"))
    (wheels / "tiny-2-py3-none-any.whl").unlink()
    return text


def _altered(wheels: Path) -> str:
    text = pin(make_wheel(wheels, "tiny", "2"))
    make_wheel(wheels, "tiny", "2", files={"tiny.py": "VERSION = 'forged'\n"})
    return text


def _foreign(wheels: Path) -> str:
    return pin(make_wheel(wheels, "tiny", "2", tag="cp27-cp27m-win32"))


def _needy(wheels: Path) -> str:
    return pin(make_wheel(wheels, "tiny", "2", requires=["nowhere-to-be-had>=3"]))


def _outdated(wheels: Path) -> str:
    return pin(make_wheel(wheels, "tiny", "2", requires=["numpy<1"]))


def _breaks_ours(wheels: Path) -> str:
    return pin(make_wheel(wheels, "numpy", "1.0"))


def _shadows(module: str) -> Callable[[Path], str]:
    def make(wheels: Path) -> str:
        return pin(make_wheel(wheels, "tiny", "2", files={f"{module}.py": "x = 1\n"}))

    return make


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (_missing, "There is no wheel of tiny 2 in "),
        (_altered, "its hash differs"),
        (_foreign, "for another Python or another machine"),
        (_needy, "tiny needs nowhere-to-be-had>=3, which is neither"),
        (_outdated, "tiny needs numpy<1, but there is numpy"),
        (_breaks_ours, "needs numpy"),
        (_shadows("json"), "tiny brings a module json"),
        (_shadows("lms"), "tiny brings a module lms"),
        (_shadows("zmq"), "tiny brings a module zmq"),
        (_shadows("sitecustomize"), "tiny brings a module sitecustomize"),
    ],
)
def test_what_cannot_be_built_gets_one_sentence_and_leaves_nothing(
    environments: Environments, wheels: Path, prepare: Callable[[Path], str], said: str
) -> None:
    text = prepare(wheels)
    with pytest.raises(BuildError) as raised:
        make(environments, text, wheels)
    assert said in str(raised.value.sentence)
    assert left(environments) == []


def test_a_failed_trial_leaves_nothing(environments: Environments, wheels: Path) -> None:
    text = pin(make_wheel(wheels, "tiny", "2"))

    def refuse(packages: Path) -> Sentence:
        assert (packages / "tiny.py").is_file()
        return sentence("No kernel can use the packages together: %(problem)s", problem="so")

    with pytest.raises(BuildError, match="together: so"):
        make(environments, text, wheels, trial=refuse)
    assert left(environments) == []
    assert make(environments, text, wheels).packages == ("tiny==2",)


def test_an_interrupted_build_leaves_nothing_and_a_killed_one_is_cleared_away(
    environments: Environments, wheels: Path
) -> None:
    text = pin(make_wheel(wheels, "tiny", "2"))

    def interrupt(_packages: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(environments, text, wheels, trial=interrupt)
    assert left(environments) == []
    name = environment_id(parse(text.encode()).digest).removeprefix("sha256:")
    debris = environments.root / f".building-{name}" / "packages"
    debris.mkdir(parents=True)
    (debris / "tiny.py").write_text("half a fi")
    debris.chmod(0o500)
    make(environments, text, wheels)
    assert left(environments) == sorted([name, "kernels"])


def test_two_builders_of_the_same_build_it_once(environments: Environments, wheels: Path) -> None:
    text = pin(make_wheel(wheels, "tiny", "2"))
    both_asked = threading.Barrier(2)
    tried: list[Path] = []

    def ask(_: int) -> Built:
        both_asked.wait()
        return make(environments, text, wheels, trial=tried.append)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second
    assert len(tried) == 1


def test_what_the_installer_says_becomes_a_sentence(tmp_path: Path, wheels: Path) -> None:
    asked = parse(_missing(wheels).encode())
    target = tmp_path / "packages"
    target.mkdir()
    file = tmp_path / "requirements.txt"
    file.write_text(asked.text)
    with pytest.raises(InstallError) as raised:
        install(asked, file, target, wheels, lambda _: None)
    assert str(raised.value.sentence).startswith("tiny 2 cannot be installed: ")
    assert "tiny" in str(raised.value.sentence.facts["problem"])


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["environment", *words])


@pytest.mark.sandbox
@pytest.mark.kernel
def test_the_commands_build_with_a_trial_list_and_remove(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "data"))
    course = make_course(tmp_path / "tiny-course", pin(make_wheel(wheels, "tiny", "2")))
    built = run("build", str(course), "--wheels", str(wheels), "--json")
    assert built.exit_code == 0, built.output
    (one,) = json.loads(built.stdout)["environments"]
    assert one["packages"] == ["tiny==2"]
    assert stat.S_IMODE((tmp_path / "data" / "environments").stat().st_mode) == 0o755

    loaded = CliRunner().invoke(cli, ["course", "import", str(course)])
    assert loaded.exit_code == 0, loaded.output
    name = one["environment"].removeprefix("sha256:")[:12]
    assert "used by tiny-course, tiny-course-2026 (1)" in run("list").stdout
    refused = run("remove", name)
    assert "is in use by tiny-course, tiny-course-2026 (1) and stays" in str(refused.exception)

    unused = tmp_path / "requirements.txt"
    unused.write_text(pin(make_wheel(wheels, "tiny", "1")))
    digest = parse(unused.read_bytes()).digest
    make(Environments(tmp_path / "data" / "environments"), unused.read_text(), wheels)
    assert len(json.loads(run("list", "--json").stdout)["environments"]) == 2
    removed = run("remove", environment_id(digest).removeprefix("sha256:")[:8])
    assert removed.exit_code == 0, removed.output
    assert len(json.loads(run("list", "--json").stdout)["environments"]) == 1
    # A release's environment is found in what this site keeps, wherever its files are now.
    again = run("build", one["requirements"], "--wheels", str(wheels), "--json")
    assert json.loads(again.stdout)["environments"] == [one]


@pytest.mark.sandbox
@pytest.mark.kernel
def test_packages_that_no_kernel_survives_are_found_in_the_trial(
    environments: Environments, wheels: Path
) -> None:
    broken = {"packaging/__init__.py": "raise RuntimeError('too new for this')\n"}
    text = pin(make_wheel(wheels, "packaging", "99", files=broken))
    with pytest.raises(BuildError) as raised:
        build(environments, parse(text.encode()), wheels=wheels)
    assert "No kernel can use the packages together" in str(raised.value)
    assert "too new for this" in str(raised.value)
    assert left(environments) == []
