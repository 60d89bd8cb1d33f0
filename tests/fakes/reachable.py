"""A Python with what we have that any user of the machine may run.

The checkout may lie in a folder that is closed to others, and so may Python itself.
"""

import errno
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What of the checkout a running system reads.
PARTS = ("lms", "templates", "hub_config")


def reachable_python(folder: Path) -> str:
    """Return its path; what it needs is laid into `folder`, which others can reach."""
    ours = Path(sys.executable).resolve()
    packages = Path(sysconfig.get_path("purelib"))
    if all(map(_is_open, (ours, packages, ROOT))):
        return sys.executable
    system = ours
    if not _is_open(ours):
        system = Path(f"/usr/bin/python3.{sys.version_info.minor}")
        if not system.exists():
            pytest.skip(f"no other user may run {ours}, and there is no {system}")
    shared, root = packages, ROOT
    if not (_is_open(packages) and _is_open(ROOT)):
        shared, root = folder / "packages", folder / "checkout"
        _link_tree(packages, shared)
        for part in PARTS:
            _link_tree(ROOT / part, root / part)
    return _make_venv(folder / "venv", system, root, shared)


def _make_venv(venv: Path, system: Path, root: Path, packages: Path) -> str:
    own = venv / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    own.mkdir(parents=True)
    (own / "ours.pth").write_text(f"{root}\nimport site; site.addsitedir({str(packages)!r})\n")
    (venv / "pyvenv.cfg").write_text(f"home = {system.parent}\n")
    for name in ("etc", "share"):
        if _is_open(Path(sys.prefix)):
            (venv / name).symlink_to(Path(sys.prefix, name))
        else:
            _link_tree(Path(sys.prefix, name), venv / name)
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(system)
    return str(venv / "bin" / "python")


def _is_open(path: Path) -> bool:
    """Say whether other users come to a path."""
    return all(parent.stat().st_mode & 0o001 for parent in path.resolve().parents)


def _link_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=_link)
    for path in (target, *(one for one in target.rglob("*") if one.is_dir())):
        path.chmod(0o755)


def _link(source: str, target: str) -> None:
    """A second name costs nothing; another file system needs a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target, follow_symlinks=False)
