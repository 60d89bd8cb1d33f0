"""Builders of tiny wheels and of courses that need them; nothing here asks a package index."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.factories.notebooks import checked, notebook, solution

_WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    files: Mapping[str, str] | None = None,
    requires: Iterable[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """Write a wheel whose one module knows its version; returns the file."""
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = dict(files or {f"{name}.py": f"VERSION = {version!r}\n"})
    contents[f"{info}/METADATA"] = about + "".join(f"Requires-Dist: {one}\n" for one in requires)
    contents[f"{info}/WHEEL"] = _WHEEL.format(tag=tag)
    record = [
        f"{path},sha256={_hash(text)},{len(text.encode())}" for path, text in contents.items()
    ]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            # A fixed time: the same files are the same wheel.
            archive.writestr(zipfile.ZipInfo(path, (2026, 11, 24, 0, 0, 0)), text)
    return wheel


def pin(*wheels: Path) -> str:
    """Return the requirements that ask for exactly these wheels."""
    lines = []
    for wheel in wheels:
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def make_course(folder: Path, requirements: str, *, version: str = "2") -> Path:
    """Write a course whose one assignment asks for tiny's version, with an environment for it.

    Without `requirements` it has the default environment. Students get a stub; the reference, and
    whoever answers as it does, gets both points where tiny has that version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = 'environment = "requirements.txt"' if requirements else ""
    (folder / "course.toml").write_text(_COURSE.format(key=folder.name, environment=environment))
    if requirements:
        (folder / "requirements.txt").write_text(requirements)
    answer = "import tiny\n\ndef version():\n    return tiny.VERSION"
    source = folder / "source" / "ps1"
    source.mkdir(parents=True, exist_ok=True)
    node = notebook(
        solution("version", f"### BEGIN SOLUTION\n{answer}\n### END SOLUTION"),
        checked("q1", 2, f"assert version() == {version!r}"),
    )
    (source / "ps1.ipynb").write_text(json.dumps(node))
    return folder


_COURSE = """
[course]
key = "{key}"
title = "Tiny things"
{environment}

[[assignments]]
key = "ps1"
title = "One"

[[offerings]]
key = "{key}-2026"
title = "2026"
starts_on = 2026-11-02
ends_on = 2099-02-26
"""


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
