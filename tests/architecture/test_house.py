"""The rules of the house that a machine can measure."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from lms.cli.main import COMMANDS, cli
from lms.foundation.settings import Settings
from lms.identity.scopes import SCOPES

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "lms").rglob("*.py"))
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 40


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_import_directions_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_has_a_caption_and_fits_on_a_few_screens(path: Path) -> None:
    if "migrations/versions" in path.as_posix():
        return
    assert ast.get_docstring(_tree(path)), f"{_name(path)} has no caption"
    assert len(path.read_text("utf-8").splitlines()) <= MAX_MODULE_LINES


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{_name(path)}:{node.lineno} {node.name}"
        for path in MODULES
        if "migrations/versions" not in path.as_posix()
        for node in _functions(_tree(path))
        if (node.end_lineno or 0) - node.body[0].lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_protocol_imports_the_standard_library_alone() -> None:
    for path in (ROOT / "lms" / "protocol").glob("*.py"):
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                names += (
                    [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                )
                for name in names:
                    top = name.split(".")[0]
                    assert top in sys.stdlib_module_names or name.startswith("lms.protocol"), name


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "reference" / "settings.md").read_text("utf-8")
    source = (ROOT / "lms" / "foundation" / "settings.py").read_text("utf-8")
    for variable in sorted(set(re.findall(r'"((?:LMS|HUB)_[A-Z_]+)"', source))):
        assert f"`{variable}`" in text, variable
    for field in fields(Settings):
        assert f"`{field.name}`" in text, field.name


def test_every_scope_is_documented_with_its_roles() -> None:
    text = (ROOT / "docs" / "reference" / "scopes.md").read_text("utf-8")
    for scope, roles in SCOPES.items():
        names = ", ".join(sorted(role.value for role in roles)) or "administrators alone"
        assert f"| `{scope}` | {names} |" in text


def _commands(group: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None, f"{words} {name} cannot be imported"
            yield from _commands(command, (*words, name))
    else:
        yield words


def test_every_command_is_documented_and_has_help() -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    found = list(_commands(cli, ("lms",)))
    assert len(found) >= len(COMMANDS)
    for words in found:
        assert f"`{' '.join(words)}" in text, " ".join(words)


def test_help_of_the_command_line_imports_no_notebook_machinery() -> None:
    code = (
        "import sys, click; from lms.cli.main import cli\n"
        "try: cli(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'nbgrader', 'jupyterhub', 'nbconvert'} & set(sys.modules)))"
    )
    # Its own process: other tests have imported everything long since.
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr


def test_lock_names_every_runtime_dependency_and_no_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    assert "://" not in lock
    for requirement in project["project"]["dependencies"]:
        name = re.split(r"[\[<>=!~ ]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}(\[.*\])?==", lock, re.MULTILINE), name


FORBIDDEN = {
    # Ours says "centre" and "programme"; and one word has one meaning (docs/glossary.md).
    r"\bcenter\b": "centre",
    r"\bprogram\b(?= (page|of study))": "programme",
    r"\benrollment\b": "enrolment",
}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_words_are_the_glossarys(path: Path) -> None:
    text = path.read_text("utf-8")
    for pattern, word in FORBIDDEN.items():
        assert not re.search(pattern, text), f"{_name(path)} should say {word}"
