"""Small software to install: a wheel of our name, one that it needs, real pip, and their lock."""

import importlib.metadata
from pathlib import Path
from zipfile import ZipFile

from lms.outposts.software.shelf import LOCK
from tests.factories.wheels import make_wheel, pin

#: A program that stands in for ours: it says its version, and migrates as it is told.
PROGRAM = """
import os, sqlite3, sys
from greeting import VERSION as NEEDED
def main():
    words = sys.argv[1:]
    if words == ["--version"]:
        print("lms, version {version}")
    elif words == ["prepare", "--tables-only"]:
        path = os.environ["LMS_DATABASE_URL"].removeprefix("sqlite:///")
        rows = sqlite3.connect(path, isolation_level=None)
        rows.execute("BEGIN IMMEDIATE")
        {migration}
        rows.execute("UPDATE alembic_version SET version_num = '{version}'")
        rows.execute("COMMIT")
    else:
        sys.exit("seodang {version}: " + repr(words))
"""
_SCRIPTS = "[console_scripts]\nlms = seodang_program:main\n"


def make_software(
    folder: Path, version: str = "0.1.0", *, migration: str = "pass", needs: str = "greeting>=1"
) -> Path:
    """Fill a folder as `make wheels` does; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "seodang_program.py": PROGRAM.format(version=version, migration=migration),
        f"seodang-{version}.dist-info/entry_points.txt": _SCRIPTS,
    }
    make_wheel(folder, "seodang", version, files=files, requires=[needs])
    greeting = make_wheel(folder, "greeting", "1.2")
    (folder / LOCK).write_text(pin(greeting, _pip(folder)))
    return folder


def _pip(folder: Path) -> Path:
    """Make a wheel of the pip that is installed here."""
    pip = importlib.metadata.distribution("pip")
    wheel = folder / f"pip-{pip.version}-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        for file in pip.files or []:
            if file.parts[0] in ("pip", f"pip-{pip.version}.dist-info") and file.suffix != ".pyc":
                archive.write(file.locate(), str(file))
    return wheel
