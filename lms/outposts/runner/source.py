"""An instructor's assignment as values: its files, header and footer joined in, settings kept.

A course's `nbgrader_config.py` is a program; we never run it. Its plain assignments to the traits
that shape a release (`c.ClearSolutions.code_stub = {...}`) are read and travel with the
instructor's files as nbgrader's own `nbgrader_config.json`.
"""

import ast
import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lms.outposts.runner.errors import ReleaseError
from lms.outposts.runner.files import is_top_notebook, read_assignment
from lms.protocol.sentences import sentence

#: Where an instructor's settings travel; students never get it.
CONFIG_FILE = "nbgrader_config.json"
#: The preprocessors whose settings change a release or a score.
_CONFIGURABLE = frozenset(
    {"ClearSolutions", "ClearHiddenTests", "ClearMarkScheme", "LockCells", "IgnorePattern"}
)
_HEADER = "IncludeHeaderFooter"

Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentSource:
    """An instructor's assignment: its name and its files by relative path, hidden tests too."""

    name: str
    files: Mapping[str, bytes]

    def digest(self) -> str:
        """Return a digest of the name and every file."""
        digest = hashlib.sha256(self.name.encode())
        for path, content in sorted(self.files.items()):
            digest.update(f"\0{path}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()


def load_source(folder: Path) -> AssignmentSource:
    """Read an instructor's assignment folder; raises ReleaseError with what has to be mended."""
    files = read_assignment(folder)
    settings = read_settings(folder)
    shaping = {name: dict(traits) for name, traits in settings.items() if name in _CONFIGURABLE}
    if shaping and CONFIG_FILE not in files:
        files[CONFIG_FILE] = (json.dumps(shaping, indent=1, sort_keys=True) + "\n").encode()
    frame = settings.get(_HEADER, {})
    if any(frame.get(part) for part in ("header", "footer")):
        course = folder.resolve().parent.parent
        header = _frame_cells(course, frame.get("header"))
        footer = _frame_cells(course, frame.get("footer"))
        for path in [path for path in files if is_top_notebook(path)]:
            files[path] = _framed(files[path], header, footer)
    name = unicodedata.normalize("NFC", folder.resolve().name)
    return AssignmentSource(name=name, files=files)


def read_settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the literal settings of the course's `nbgrader_config.py`, by class and trait."""
    root = folder.resolve().parent
    config = root.parent / "nbgrader_config.py"
    if root.name != "source" or not config.is_file():
        return {}
    try:
        tree = ast.parse(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    settings: dict[str, dict[str, Any]] = {}
    for statement in tree.body:
        match statement:
            case ast.Assign(
                targets=[
                    ast.Attribute(
                        value=ast.Attribute(value=ast.Name(id="c"), attr=owner), attr=trait
                    )
                ],
                value=value,
            ):
                try:
                    settings.setdefault(owner, {})[trait] = ast.literal_eval(value)
                except (ValueError, TypeError, SyntaxError):
                    continue
    return settings


def settings_of(files: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the settings that travel with an instructor's files; raises ReleaseError."""
    if CONFIG_FILE not in files:
        return {}
    try:
        read = json.loads(files[CONFIG_FILE])
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise ReleaseError(sentence("%(file)s is not a JSON object.", file=CONFIG_FILE))
    return {
        name: traits
        for name, traits in read.items()
        if name in _CONFIGURABLE and isinstance(traits, dict)
    }


def _frame_cells(course: Path, path: object) -> list[Any]:
    """Return the cells of a header or footer notebook of the course."""
    if not isinstance(path, str) or not path:
        return []
    file = (course / path).resolve()
    broken = ReleaseError(sentence("The header or footer %(path)s cannot be read.", path=path))
    if not file.is_relative_to(course) or not file.is_file():
        raise broken
    try:
        cells = json.loads(file.read_bytes()).get("cells")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise broken from error
    if not isinstance(cells, list):
        raise broken
    return cells


def _framed(content: bytes, header: list[Any], footer: list[Any]) -> bytes:
    """Return the notebook with header and footer around it; a broken one is left to its reader."""
    try:
        notebook = json.loads(content)
        notebook["cells"] = [*header, *notebook["cells"], *footer]
    except (ValueError, KeyError, TypeError, RecursionError):
        return content
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()
