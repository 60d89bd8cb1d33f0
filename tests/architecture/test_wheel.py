"""The wheel, in an empty environment, serves a page."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys
from pathlib import Path
from lms.bootstrap import build
from lms.foundation.resources import resource_dir
from lms.foundation.settings import Settings
from lms.identity.keys import ensure_keys
from lms.migrations.run import upgrade
from lms.web.app import create_app
import lms
data = Path(sys.argv[1])
settings = Settings.from_env({"LMS_DATA": str(data)})
ensure_keys(settings)
system = build(settings)
upgrade(system.engine)
client = create_app(system).test_client()
page = client.get("/courses", base_url=settings.lms_url, headers={"Accept-Language": "ko"})
style = client.get("/static/base.css", base_url=settings.lms_url)
print(page.status_code, style.status_code, "서당" in page.text)
print(resource_dir("templates"), resource_dir("hub_config"), lms.__file__, sep="\\n")
"""


def _uv(*words: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name("uv"), *words], check=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it alone; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    _uv(
        "build",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        folder,
        "--quiet",
        ROOT,
    )
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    wheels = list(folder.glob("*.whl"))
    _uv("pip", "install", "--quiet", "--no-deps", "--python", python, *wheels)
    # The dependencies are the locked ones that are already here; what is tested is that nothing of
    # our own comes from the checkout, so its editable link is left out.
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    ours = next(path for path in map(Path, sys.path) if (path / "flask").is_dir())
    for entry in ours.iterdir():
        if "seodang" not in entry.name and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    return python


def test_installed_wheel_serves_a_page_from_its_own_files(installed: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [installed, "-c", PROGRAM, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    assert result.returncode == 0, result.stderr
    served, templates, config, package = result.stdout.splitlines()
    assert served == "200 200 True"
    for path in (templates, config, package):
        assert "site-packages/lms" in path
        assert str(ROOT) not in path


def test_wheel_installs_nothing_beside_the_package(installed: Path) -> None:
    site = next((installed.parent.parent / "lib").glob("python*/site-packages"))
    assert not (site / "templates").exists()
    assert not (site / "hub_config").exists()
