"""`lms bundle` as an operator types it, and the stick it writes."""

import json
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lms.cli.bundle import bundle
from lms.foundation.errors import InvalidError
from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.trust import Trust
from tests.factories.bundles import NOW, installed_files, lay_out, pull_from, text

OLD = {"a.ipynb": text(1, 4000), "data/t.csv": text(2, 9000)}
NEW = OLD | {"a.ipynb": OLD["a.ipynb"] + b"more\n", "b.ipynb": text(3, 3000)}


def _run(*words: object) -> Result:
    done = CliRunner().invoke(bundle, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "data"))
    for name, files in (("v1", OLD), ("v2", NEW)):
        lay_out(tmp_path / name, files)
    return tmp_path / "repository"


def _build(repository: Path, version: str) -> dict[str, object]:
    folder = repository.parent / version
    done = _run("build", folder, "--course", "ml", "--to", repository, "--json")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_build_verify_and_export(repository: Path, tmp_path: Path) -> None:
    assert _build(repository, "v1")["version"] == 1
    assert _build(repository, "v1")["changed"] is False
    assert _build(repository, "v2")["version"] == 2
    keys = tmp_path / "data" / "bundle-keys"
    assert {path.stat().st_mode & 0o777 for path in keys.glob("*.pem")} == {0o600}

    checked = _run("verify", repository)
    exported = _run("export", "--from", repository, "--to", tmp_path / "stick")

    assert checked.exit_code == 0
    assert "ml version 2" in checked.stdout
    assert "files" in exported.stdout
    store = _centre(tmp_path / "centre", repository)
    pull_from(store, tmp_path / "stick", now=_now(store))
    assert installed_files(store) == NEW
    names = [path.relative_to(tmp_path / "stick") for path in (tmp_path / "stick").rglob("*")]
    assert all(str(name).isascii() and str(name) == str(name).lower() for name in names)


def test_stick_for_a_centre_with_the_version_before_is_small(
    repository: Path, tmp_path: Path
) -> None:
    _build(repository, "v1")
    store = _centre(tmp_path / "centre", repository)
    pull_from(store, repository, now=_now(store))
    _build(repository, "v2")
    stick = tmp_path / "stick"
    _run("export", "--from", repository, "--to", stick, "--course", "ml", "--since", 1)

    pull_from(store, stick, now=_now(store))

    assert installed_files(store) == NEW
    assert len(list(stick.rglob("*.pack"))) == 1, "only the pack with the new notebook"
    done = _run("verify", stick)
    assert done.exit_code == 0
    assert "serves only centres that hold an earlier version" in done.stdout
    with pytest.raises(InvalidError, match="No step leads from version 7"):
        _run("export", "--from", repository, "--to", stick, "--since", 7)


def test_damaged_repository_is_named(repository: Path) -> None:
    _build(repository, "v1")
    [pack] = (repository / "objects").rglob("*.pack")
    content = pack.read_bytes()
    pack.write_bytes(content[:50] + b"rot" + content[53:])

    done = _run("verify", repository)

    assert done.exit_code == 1
    assert "is damaged" in done.stdout


def test_keys_are_replaced_and_revoked(repository: Path, tmp_path: Path) -> None:
    _build(repository, "v1")
    first = (repository / "metadata/1.root.json").read_bytes()
    (tmp_path / "root.json").write_bytes(first)

    for words in (("--replace", "root-2"), ("--revoke-course", "ml"), ("--renew",)):
        done = _run("keys", repository, *words)
        assert "Root version 2, courses: ml" in done.stdout

    assert _run("verify", repository, "--root", tmp_path / "root.json").exit_code == 0
    assert _run("keys", repository, "--replace", "nothing").exit_code == 2


def test_wrong_folder_is_one_sentence(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no repository of bundles"):
        _run("verify", tmp_path / "v1")
    (tmp_path / "v1" / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidError, match="no links"):
        _build(repository, "v1")


def _centre(root: Path, repository: Path) -> Store:
    Trust(root, Disk()).begin((repository / "metadata/1.root.json").read_bytes(), NOW)
    return Store(root)


def _now(store: Store) -> datetime:
    return Trust(store.root, store.disk).clock.newest()
