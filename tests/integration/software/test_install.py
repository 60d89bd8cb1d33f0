"""A machine with Python alone becomes a centre from a stick, whatever befell the stick."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lms.cli.main import cli
from lms.foundation.errors import InvalidError
from tests.factories.software import make_software
from tests.factories.wheels import make_wheel

#: What a bare machine has: system tools, this Python, no index and no settings of ours.
BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": sys.executable, "LANG": "C.UTF-8"}


def _lms(*words: object) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Central with small software, and a stick as `lms bundle export` writes it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMS_DATA", str(folder / "central"))
        make_software(folder / "wheels")
        _export(folder)
    return folder


@pytest.fixture
def stick(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of central and its stick to do anything to."""
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "central"))
    for name in ("central", "wheels", "stick"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "stick"


def _export(tmp_path: Path) -> None:
    _lms("bundle", "build", "--software", "--wheels", tmp_path / "wheels")
    done = _lms("bundle", "export", "--to", tmp_path / "stick")
    assert "sh " in done.stdout, done.output


def _install(stick: Path, root: Path, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(stick / "install.sh"), "--to", str(root), *more],
        env=BARE | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def _says(root: Path) -> str:
    program = [str(root / "current/bin/lms"), "--version"]
    return subprocess.run(program, env=BARE, capture_output=True, text=True, check=True).stdout


def test_stick_installs_without_an_index(stick: Path, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    done = _install(stick, root)
    assert done.returncode == 0, done.stderr
    assert "lms centre join TICKET" in done.stdout
    assert "lms up" in done.stdout
    assert _says(root) == "lms, version 0.1.0\n"
    assert (root / "current").readlink().name.startswith("0.1.0-")
    again = _install(stick, root)
    assert again.returncode == 0, again.stderr
    assert _install(stick, root, LANG="ko_KR.UTF-8").stdout.startswith("Seodang 0.1.0-")


def test_installer_is_clean_shell(stick: Path) -> None:
    installer = str(stick / "install.sh")
    subprocess.run(["/bin/sh", "-n", installer], check=True)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", installer], capture_output=True, text=True, check=False)
    assert done.stdout == ""


def test_stick_fits_fat32(stick: Path) -> None:
    paths = list(stick.rglob("*"))
    assert not any(path.is_symlink() for path in paths)
    folded = [str(path).lower() for path in paths]
    assert len(folded) == len(set(folded))
    assert all(path.stat().st_size < 4 << 30 for path in paths)


def test_same_wheels_make_no_version(stick: Path, tmp_path: Path) -> None:
    del stick
    done = _lms("bundle", "build", "--software", "--wheels", tmp_path / "wheels", "--json")
    assert json.loads(done.stdout)["changed"] is False


@pytest.mark.parametrize("name", ["greeting-1.2-py3-none-any.whl", "requirements.txt"])
def test_damaged_stick_installs_nothing(stick: Path, tmp_path: Path, name: str) -> None:
    path = stick / "software" / name
    path.write_bytes(path.read_bytes()[:-3] + b"rot")
    done = _install(stick, tmp_path / "opt")
    assert done.returncode == 1
    assert f"the stick is damaged: {name}" in done.stderr
    assert not (tmp_path / "opt/current").exists()


@pytest.mark.parametrize("name", ["SHA256SUMS", "about"])
def test_stick_pulled_out_too_early_says_so(stick: Path, tmp_path: Path, name: str) -> None:
    (stick / "software" / name).unlink()
    done = _install(stick, tmp_path / "opt")
    assert done.returncode == 1
    assert "is not whole" in done.stderr


def test_wheel_that_is_missing_is_named(stick: Path, tmp_path: Path) -> None:
    (stick / "software/greeting-1.2-py3-none-any.whl").unlink()
    done = _install(stick, tmp_path / "opt")
    assert "the stick is damaged: greeting-1.2" in done.stderr


def test_other_machine_is_told_which_it_is_for(stick: Path, tmp_path: Path) -> None:
    _rewrite(stick, python="python 3.11 riscv64 glibc")
    done = _install(stick, tmp_path / "opt")
    assert done.returncode == 1
    assert "the stick is for Python 3.11 riscv64, and this machine has Python 3." in done.stderr
    korean = _install(stick, tmp_path / "opt", LC_ALL="ko_KR.UTF-8")
    assert "이 USB는 Python 3.11 riscv64 용인데" in korean.stderr


def test_machine_without_python_is_told(stick: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sed", "dirname", "tr", "grep"):
        (tools / name).symlink_to(shutil.which(name) or "")
    done = _install(stick, tmp_path / "opt", PATH=str(tools), PYTHON="")
    assert done.returncode == 1
    assert "there is no Python 3 on this machine" in done.stderr


def test_too_little_room_is_said_before_anything_is_written(stick: Path, tmp_path: Path) -> None:
    _rewrite(stick, kilobytes="kilobytes 999999999999")
    done = _install(stick, tmp_path / "opt")
    assert done.returncode == 1
    assert "MB of room and needs" in done.stderr
    assert [path.name for path in (tmp_path / "opt").iterdir()] == []


def test_other_version_is_not_installed_over_one_that_stands(stick: Path, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    _install(stick, root)
    stands = (root / "current").readlink()
    shutil.rmtree(tmp_path / "wheels")
    make_software(tmp_path / "wheels", "0.2.0")
    _export(tmp_path)
    assert len(list(stick.glob("software/seodang-*.whl"))) == 1, "the old one is off the stick"
    done = _install(stick, root)
    assert done.returncode == 1
    assert "lms centre update" in done.stderr
    assert (root / "current").readlink() == stands


def test_killed_install_is_finished_by_the_next(stick: Path, tmp_path: Path) -> None:
    root = tmp_path / "opt"
    for number in range(6):
        process = subprocess.Popen(
            ["/bin/sh", str(stick / "install.sh"), "--to", str(root)],
            env=BARE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(0.15 + 0.5 * number)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (root / "current").exists() or _says(root) == "lms, version 0.1.0\n"
    done = _install(stick, root)
    assert done.returncode == 0, done.stderr
    assert _says(root) == "lms, version 0.1.0\n"


def test_lacking_wheels_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "central"))
    wheels = make_software(tmp_path / "wheels")
    build = ("bundle", "build", "--software", "--wheels", wheels)
    greeting = wheels / "greeting-1.2-py3-none-any.whl"
    greeting.rename(tmp_path / "away.whl")
    with pytest.raises(InvalidError, match=r"no wheel of greeting 1\.2 for Python 3"):
        _lms(*build)
    make_wheel(wheels, "greeting", "1.2", files={"greeting.py": "VERSION = 'false'\n"})
    with pytest.raises(InvalidError, match=r"no wheel of greeting 1\.2"):
        _lms(*build)
    make_software(wheels, needs="greeting>=2")
    with pytest.raises(InvalidError, match=r"seodang needs greeting>=2"):
        _lms(*build)
    make_software(wheels, "0.3.0")
    with pytest.raises(InvalidError, match="must hold one wheel of the software"):
        _lms(*build)
    with pytest.raises(InvalidError, match=r"has no requirements\.lock"):
        _lms("bundle", "build", "--software", "--wheels", tmp_path)
    with pytest.raises(InvalidError, match="make wheels"):
        _lms("bundle", "build", "--software")


def test_software_is_no_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "central"))
    for words in (
        ("bundle", "build", tmp_path, "--course", "seodang-software"),
        ("bundle", "build", tmp_path, "--software"),
        ("bundle", "build", "--course", "ml"),
        ("bundle", "build", tmp_path),
    ):
        done = _lms(*words)
        assert done.exit_code == 2
        assert "Name a FOLDER and its --course, or say --software." in done.output


def _rewrite(stick: Path, **lines: str) -> None:
    path = stick / "software/about"
    kept = [line for line in path.read_text().splitlines() if line.partition(" ")[0] not in lines]
    path.write_text("\n".join([*kept, *lines.values()]) + "\n")
    sums = stick / "software/SHA256SUMS"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    others = [line for line in sums.read_text().splitlines() if not line.endswith("  about")]
    sums.write_text("\n".join([*others, f"{digest}  about"]) + "\n")


@pytest.mark.slow
def test_real_wheels_make_a_working_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of our own wheels, as `make wheels` (which needs an index) gathers them."""
    root = Path(__file__).resolve().parents[3]
    wheels = root / "wheels"
    subprocess.run(["make", "wheels"], cwd=root, check=True, timeout=1200)
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "central"))
    _lms("bundle", "build", "--software", "--wheels", wheels)
    _lms("bundle", "export", "--to", tmp_path / "stick")
    done = _install(tmp_path / "stick", tmp_path / "opt")
    assert done.returncode == 0, done.stderr
    program = tmp_path / "opt/current/bin/lms"
    env = BARE | {"LMS_DATA": str(tmp_path / "box")}
    subprocess.run([str(program), "prepare"], env=env, check=True, timeout=300)
    shown = subprocess.run(
        [str(program), "centre", "status"], env=env, capture_output=True, text=True, check=True
    )
    assert "0 centres" in shown.stdout
