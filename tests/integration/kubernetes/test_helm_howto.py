"""The commands of the how-to make the very secrets that the charts ask for."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from lms.cli.prepare import make_keys
from lms.foundation import clock
from lms.foundation.settings import Settings
from lms.outposts.executors.certificates import make_certificates
from tests.integration.kubernetes.rendered import CHART, FOLDER, pods, rendered

ROOT = Path(__file__).resolve().parents[3]
HOWTO = (ROOT / "docs" / "howto" / "servers-on-kubernetes.md").read_text(encoding="utf-8")
#: Notes what it is asked for, and fails where a file that it is given does not exist.
KUBECTL = """#!/bin/sh
printf "%s\\n" "$*" >> "$NOTES"
for word; do
  case $word in --from-file=*) path=${word#*=}; test -e "${path#*=}" || exit 9;; esac
done
"""


def _block(step: str) -> str:
    (block,) = re.findall(rf"^{re.escape(step)}.*?```\n(.*?)```", HOWTO, re.MULTILINE | re.DOTALL)
    return str(block)


def _made(tmp_path: Path) -> dict[tuple[str, str], set[str]]:
    """Run the steps with a kubectl that takes notes; return the keys of each secret."""
    settings = Settings(data_dir=tmp_path / "seodang-keys")
    settings.keys_dir.mkdir(parents=True)
    make_keys(settings)
    make_certificates(settings.cluster_keys_dir, now=clock.now(), hosts=("grading-scheduler",))
    (tmp_path / "database-url.txt").write_text("postgresql+psycopg://lms@db.example.org/lms")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("kubectl", KUBECTL), ("lms", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    notes = tmp_path / "notes"
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", _block("3. Make all keys") + _block("4. Say where the database")],
        cwd=tmp_path,
        env={"PATH": f"{programs}:/usr/bin:/bin", "NOTES": str(notes)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stderr, notes.read_text())
    made = {}
    for line in notes.read_text().splitlines():
        namespace, name = re.findall(r"-n (\S+) create secret generic (\S+)", line)[0]
        made[namespace, name] = set(_keys_of(tmp_path, re.findall(r"--from-file=(\S+)", line)))
    return made


def _keys_of(folder: Path, files: list[str]) -> list[str]:
    keys = []
    for file in files:
        name, _, path = file.rpartition("=")
        if name:
            keys.append(name)
        elif (folder / path).is_dir():
            keys += [one.name for one in (folder / path).iterdir()]
        else:
            keys.append(Path(path).name)
    return keys


def _asked(volume: dict[str, Any]) -> dict[str, set[str]]:
    """Return the keys that a volume takes of each secret."""
    return {
        source["secret"]["name"]: {item["key"] for item in source["secret"]["items"]}
        for source in volume.get("projected", {}).get("sources", [])
    }


def test_the_howto_makes_every_secret_with_every_key(tmp_path: Path) -> None:
    made = _made(tmp_path)
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    z2jh = yaml.safe_load((FOLDER / "z2jh" / "values.yaml").read_text(encoding="utf-8"))
    named = {("seodang", name) for name in values["secrets"].values() if name}
    named |= {(values["grading"]["namespace"], n) for n in values["grading"]["secrets"].values()}
    assert set(made) == named
    assert made["seodang", values["secrets"]["database"]] == {"url"}
    for pod in pods(rendered("defaults")).values():
        for volume in pod["spec"]["volumes"]:
            for secret, keys in _asked(volume).items():
                assert keys <= made["seodang", secret], secret
    hub = made["seodang", z2jh["hub"]["extraVolumes"][0]["secret"]["secretName"]]
    assert {"client_secret", "cookie_secret", "lms_api_token"} <= hub
    for role in ("scheduler", "worker"):
        keys = made["seodang-grading", values["grading"]["secrets"][role]]
        assert keys == {"authority.pem", f"{role}.pem", f"{role}-key.pem"}
