"""What the documents say exists: links, commands, options, make targets, variables, pre-commit."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lms.cli.main import cli
from tools import check_files

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
    + list((ROOT / "docs").rglob("*.md"))
)
ALL_TEXT = {page: page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def _code(text: str) -> Iterator[str]:
    """Yield every piece of code: lines of fenced blocks and spans."""
    for block in FENCE.findall(text):
        yield from block.splitlines()[1:-1]
    for span in SPAN.findall(FENCE.sub("", text)):
        yield " ".join(span.split())


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", ALL_TEXT[page])
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{_name(page)} links to {target}"
        assert found.is_relative_to(ROOT), f"{_name(page)} links out of the project: {target}"
        if anchor:
            assert anchor in _anchors(found), f"{_name(page)} links to {target}"


def _find_command(words: list[str]) -> click.Command | None:
    command: click.Command | None = cli
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
        if command is None:
            return None
    return command


def _commands_in(code: str) -> Iterator[list[str]]:
    """Yield the words after each `lms` that stands where a command stands."""
    for match in re.finditer(r"(?:^|[\s|&;(]|\.venv/bin/)lms ([a-z][^|&;()]*)", code):
        yield match.group(1).split("#")[0].split()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_option_exists(page: Path) -> None:
    for code in _code(ALL_TEXT[page]):
        for words in _commands_in(code):
            command = _find_command(words)
            assert command is not None, f"{_name(page)}: lms {' '.join(words)}"
            known = {name for option in command.params for name in option.opts} | {"--help"}
            for word in words:
                for option in re.findall(r"^\[?(--[a-z-]+)", word):
                    assert option in known, f"{_name(page)}: lms {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_make_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for code in _code(ALL_TEXT[page]):
        for target in re.findall(r"(?:^|\s)make ([a-z-]+)", code):
            assert target in targets, f"{_name(page)}: make {target}"


def _variables_read() -> set[str]:
    sources = [*(ROOT / "lms").rglob("*.py"), *(ROOT / "hub_config").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r'"((?:LMS|HUB)_[A-Z_]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_variable_is_read_somewhere(page: Path) -> None:
    read = _variables_read()
    for variable in re.findall(r"\b((?:LMS|HUB)_[A-Z_]+)\b", ALL_TEXT[page]):
        assert variable in read, f"{_name(page)}: {variable}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    for code in _code(ALL_TEXT[page]):
        for path in re.findall(r"(?:^|\s)((?:lms|templates|hub_config|tools|docs)/[\w./-]+)", code):
            assert (ROOT / path).exists(), f"{_name(page)}: {path}"


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    folder = ROOT / "docs" / "adr"
    index = ALL_TEXT[folder / "README.md"]
    for page in sorted(folder.glob("0*.md")):
        assert f"({page.name})" in index, page.name
        heads = re.findall(r"^## (.+)$", ALL_TEXT[page], re.MULTILINE)
        assert heads == ["Context", "Options", "Decision", "Consequences"], page.name


def test_pre_commit_runs_our_own_tools_and_downloads_nothing() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"- repo: (\S+)", text) == ["local"]
    for entry in re.findall(r"entry: (.+)", text):
        program, *arguments = shlex.split(entry)
        assert (ROOT / program).exists(), entry
        for argument in arguments:
            if argument.endswith(".py"):
                assert (ROOT / argument).exists(), entry


def test_large_files_and_notebooks_with_results_are_refused(tmp_path: Path) -> None:
    big, small = tmp_path / "big.bin", tmp_path / "small.bin"
    big.write_bytes(bytes(check_files.MAX_BYTES + 1))
    small.write_bytes(bytes(check_files.MAX_BYTES))
    assert check_files.main(["large", str(big), str(small)]) == 1
    assert check_files.main(["large", str(small)]) == 0
    notebook = tmp_path / "one.ipynb"
    cell: dict[str, object] = {"cell_type": "code", "outputs": [], "execution_count": None}
    notebook.write_text(json.dumps({"cells": [cell]}))
    assert check_files.main(["outputs", str(notebook)]) == 0
    cell["outputs"] = [{"output_type": "stream", "text": "1"}]
    notebook.write_text(json.dumps({"cells": [cell]}))
    assert check_files.main(["outputs", str(notebook)]) == 1


def test_courses_hold_no_results() -> None:
    notebooks = [str(path) for path in (ROOT / "courses").rglob("*.ipynb")]
    assert notebooks
    assert list(check_files.find_problems("outputs", notebooks)) == []
