"""Contract: a correction reaches a fetched copy over real HTTP, beside a person who works in it."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from nbgrader.exchange import ExchangeError
from traitlets.config import Config

from lms.cli.fetch import fetch as fetch_command
from lms.foundation.errors import LmsError
from lms.outposts.notebook import listing, student
from lms.outposts.notebook.cells import text_of
from lms.outposts.notebook.client import Correction, ExchangeApiError
from lms.outposts.notebook.folders import read_folder
from lms.outposts.notebook.place import find_place
from lms.outposts.notebook.upkeep import Upkeep
from tests.contract.test_exchange_classes import assignment_list, run
from tests.factories.notebooks import (
    Notebook,
    cell_of,
    checked,
    notebook,
    plain,
    read_only,
    solution,
    to_bytes,
)
from tests.fakes.exchange_lms import Lms

ANSWER = "def mean(xs):\n    return sum(xs) / len(xs)"
FIRST = notebook(
    plain("# Mean", "markdown"),
    solution("a", "def mean(xs):\n    ### BEGIN SOLUTION\n    return 0\n    ### END SOLUTION"),
    checked("t", 2, "assert mean([1]) == 2"),
)


def second() -> Notebook:
    value: Notebook = json.loads(json.dumps(FIRST))
    cell_of(value, "t")["source"] = "assert mean([1]) == 1"
    cell_of(value, "t")["metadata"]["nbgrader"]["points"] = 5
    value["cells"].append({**read_only("end", "Well done.", "markdown"), "id": "end"})
    return value


def publish(lms: Lms, value: Notebook, **files: bytes) -> str:
    named = {name.replace("__", "."): content for name, content in files.items()}
    sent = {"ps1.ipynb": to_bytes(value), **named}
    return str(lms.api("suji").publish_release("py-2026", "ps1", sent)["digest"])


@pytest.fixture
def config(lms: Lms, as_person: Callable[[str], Config]) -> Config:
    """minsu has fetched the first release and answered it."""
    publish(lms, FIRST, data__csv=b"1\n", mine__csv=b"1\n")
    config = as_person("minsu")
    run(student.ExchangeFetchAssignment, config)
    value = json.loads(path_of().read_bytes())
    cell_of(value, "a")["source"] = ANSWER
    value["cells"].insert(2, {**plain("own = 1"), "id": "own"})
    path_of().write_bytes(to_bytes(value))
    return config


def path_of(name: str = "ps1.ipynb") -> Path:
    return find_place().courses_dir / "py-2026/ps1" / name


def sources(path: Path | None = None) -> dict[str, str]:
    cells = json.loads((path or path_of()).read_bytes())["cells"]
    return {cell["id"]: text_of(cell) for cell in cells}


class FakeServer:
    """What Upkeep asks of a Jupyter server; its contents manager is the real one."""

    def __init__(self) -> None:
        self.root_dir = str(find_place().home)
        self.contents_manager = LargeFileManager(root_dir=self.root_dir)
        self.session_manager = self
        self.cursor = sqlite3.connect(":memory:", isolation_level=None).cursor()
        self.cursor.execute("CREATE TABLE session (path TEXT, kernel_id TEXT)")
        self.kernel_manager = self
        self.io_loop = self
        self.started: list[object] = []
        self.connections: dict[str, int] = {}

    def add_callback(self, callback: object) -> None:
        self.started.append(callback)

    def __contains__(self, kernel_id: str) -> bool:
        return kernel_id in self.connections

    def kernel_model(self, kernel_id: str) -> dict[str, int]:
        return {"connections": self.connections[kernel_id]}

    def open(self, path: Path, connections: int = 1) -> None:
        name = path.relative_to(self.root_dir).as_posix()
        self.cursor.execute("INSERT INTO session VALUES (?, ?)", (name, "k"))
        self.connections["k"] = connections

    def save(self, value: Notebook) -> None:
        model = {"type": "notebook", "content": value}
        self.contents_manager.save(model, "courses/py-2026/ps1/ps1.ipynb")

    def close(self) -> None:
        self.cursor.connection.close()


@pytest.fixture
def server(config: Config) -> Any:  # noqa: ANN401 (a generator of a fake)
    server = FakeServer()
    yield server
    server.close()


def upkeep_of(server: FakeServer) -> Upkeep:
    upkeep = Upkeep(server, find_place())
    upkeep.start()
    return upkeep


# --- what the LMS gives ---


def test_the_lms_sends_what_differs_and_nothing_when_nothing_does(lms: Lms) -> None:
    first = publish(lms, FIRST, data__csv=b"1\n", same__csv=b"1\n")
    assert lms.api("minsu").fetch_correction("py-2026", "ps1", first) == first
    new = publish(lms, second(), data__csv=b"2\n", same__csv=b"1\n", more__csv=b"3\n")
    found = lms.api("minsu").fetch_correction("py-2026", "ps1", first)
    assert isinstance(found, Correction)
    assert (found.base, found.digest) == (first, new)
    assert set(found.old) == set(found.new) == {"ps1.ipynb"}
    assert found.files == {"data.csv": b"2\n", "more.csv": b"3\n"}
    assert found.data["more.csv"] is None
    assert b"BEGIN SOLUTION" not in found.archive
    assert b"return 0" not in b"".join([*found.old.values(), *found.new.values()])
    (listed,) = lms.api("minsu").list_assignments("py-2026")
    assert listed["release"] == new


def test_only_who_may_fetch_gets_a_correction_and_only_of_this_assignment(lms: Lms) -> None:
    publish(lms, FIRST)
    with pytest.raises(ExchangeApiError) as caught:
        lms.api("sua").fetch_correction("py-2026", "ps1", "")
    assert caught.value.status == 403
    with pytest.raises(ExchangeApiError, match="no such release") as caught:
        lms.api("minsu").fetch_correction("py-2026", "ps1", "sha256:" + "0" * 64)
    assert caught.value.status == 404


# --- a copy on disk ---


def test_fetching_again_corrects_the_copy_in_place_of_refusing(lms: Lms, config: Config) -> None:
    with pytest.raises(ExchangeError, match="already have a copy"):
        run(student.ExchangeFetchAssignment, config)
    before = path_of().read_bytes()
    path_of("mine.csv").write_bytes(b"my own\n")
    publish(lms, second(), data__csv=b"2\n", mine__csv=b"2\n", more__csv=b"3\n")
    run(student.ExchangeFetchAssignment, config)

    found = sources()
    assert found["cell-1"] == ANSWER
    assert list(found) == ["seodang-correction-3", "cell-0", "cell-1", "own", "cell-2", "end"]
    assert found["cell-2"] == "assert mean([1]) == 1"
    notice = found["seodang-correction-3"]
    assert "This assignment was corrected" in notice
    assert "Changed: `t`" in notice
    assert "Added: `end`" in notice
    assert "`mine.csv`" in notice
    assert path_of("ps1.ipynb.before-correction").read_bytes() == before
    assert path_of("data.csv").read_bytes() == b"2\n"
    assert path_of("mine.csv").read_bytes() == b"my own\n"
    assert path_of("more.csv").read_bytes() == b"3\n"
    # The file from before is not handed in.
    assert set(read_folder(path_of().parent)) == {"ps1.ipynb", "data.csv", "mine.csv", "more.csv"}
    with pytest.raises(ExchangeError, match="already have a copy"):
        run(student.ExchangeFetchAssignment, config)


def test_the_command_fetches_and_then_corrects(
    lms: Lms, as_person: Callable[[str], Config], tmp_path: Path
) -> None:
    as_person("minsu")
    publish(lms, FIRST)
    asked = ["py-2026", "ps1", "--into", str(tmp_path / "mine")]
    path = tmp_path / "mine/py-2026/ps1/ps1.ipynb"
    first = CliRunner().invoke(fetch_command, asked, catch_exceptions=False)
    assert first.output == f"fetched {path}\n"
    again = CliRunner().invoke(fetch_command, asked, catch_exceptions=False)
    assert again.output == f"{path.parent} is up to date\n"
    publish(lms, second())
    corrected = CliRunner().invoke(fetch_command, asked, catch_exceptions=False)
    assert corrected.output == f"corrected {path}\n"
    assert sources(path)["cell-2"] == "assert mean([1]) == 1"
    unknown = CliRunner().invoke(fetch_command, ["py-2026", "ps9"])
    assert isinstance(unknown.exception, LmsError)


def test_a_second_correction_takes_the_first_ones_notice_and_keeps_both_files(
    lms: Lms, config: Config
) -> None:
    publish(lms, second())
    run(student.ExchangeFetchAssignment, config)
    third = second()
    cell_of(third, "end")["source"] = "The end."
    publish(lms, third)
    run(student.ExchangeFetchAssignment, config)
    found = sources()
    assert [name for name in found if "correction" in name] == ["seodang-correction-4"]
    assert found["end"] == "The end."
    assert len(sources(path_of("ps1.ipynb.before-correction"))) == 4
    assert len(sources(path_of("ps1.ipynb.before-correction-2"))) == 6


def test_a_copy_that_nobody_remembers_is_corrected_from_the_first_release(
    lms: Lms, config: Config
) -> None:
    for record in (find_place().home / ".seodang/releases").iterdir():
        record.unlink()
    publish(lms, second())
    run(student.ExchangeFetchAssignment, config)
    assert sources()["cell-2"] == "assert mean([1]) == 1"
    assert sources()["cell-1"] == ANSWER


def test_assignment_list_corrects_before_it_lists(
    lms: Lms, config: Config, server: FakeServer, tmp_path: Path
) -> None:
    publish(lms, second())
    manager = assignment_list(tmp_path, "minsu", config)
    manager.upkeep = upkeep_of(server)
    (listed,) = manager.list_assignments("py-2026")["value"]
    assert listed["status"] == "fetched"
    assert sources()["cell-2"] == "assert mean([1]) == 1"


# --- a copy that is open in a browser ---


def test_an_open_notebook_is_left_alone_until_the_browser_saves_it(
    lms: Lms, server: FakeServer
) -> None:
    upkeep = upkeep_of(server)
    assert len(server.started) == 2
    server.open(path_of())
    publish(lms, second())
    before = path_of().read_bytes()
    in_browser = json.loads(before)
    upkeep.bring_all_up_to_date(upkeep.open_files())
    assert path_of().read_bytes() == before

    cell_of(in_browser, "a")["source"] = ANSWER + "  # better"
    server.save(in_browser)
    assert sources()["cell-2"] == "assert mean([1]) == 1"
    assert sources()["cell-1"] == ANSWER + "  # better"
    assert path_of("ps1.ipynb.before-correction").read_bytes() == before

    # The browser has not loaded the file again and saves its old cells once more.
    server.save(in_browser)
    assert sources()["cell-2"] == "assert mean([1]) == 1"
    assert not path_of("ps1.ipynb.before-correction-2").exists()

    # It has loaded the file; the notice may be deleted now and does not come back.
    loaded = json.loads(path_of().read_bytes())
    server.save(loaded)
    server.save({**loaded, "cells": loaded["cells"][1:]})
    assert list(sources()) == ["cell-0", "cell-1", "own", "cell-2", "end"]
    upkeep.bring_all_up_to_date(upkeep.open_files())
    assert list(sources()) == ["cell-0", "cell-1", "own", "cell-2", "end"]


def test_a_notebook_whose_browser_has_gone_is_corrected_on_disk(
    lms: Lms, server: FakeServer
) -> None:
    server.open(path_of(), connections=0)
    publish(lms, second())
    upkeep = upkeep_of(server)
    assert upkeep.open_files() == frozenset()
    upkeep.bring_all_up_to_date(upkeep.open_files())
    assert sources()["cell-2"] == "assert mean([1]) == 1"


def test_a_save_goes_through_when_the_lms_is_gone_or_the_record_is_broken(
    lms: Lms, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = upkeep_of(server)
    for record in (find_place().home / ".seodang/releases").iterdir():
        record.write_bytes(b"[1")
    server.save(json.loads(path_of().read_bytes()))
    monkeypatch.setenv("LMS_URL", "http://127.0.0.1:9")
    Upkeep(server, find_place()).bring_all_up_to_date(upkeep.open_files())
    assert sources()["cell-2"] == "assert mean([1]) == 2"


def test_links_and_files_that_are_no_notebooks_are_left_alone(
    lms: Lms, config: Config, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.ipynb"
    elsewhere.write_bytes(path_of().read_bytes())
    path_of().unlink()
    path_of().symlink_to(elsewhere)
    publish(lms, second())
    with pytest.raises(ExchangeError, match="already have a copy"):
        run(student.ExchangeFetchAssignment, config)
    assert "assert mean([1]) == 2" in elsewhere.read_text()
    path_of().unlink()
    path_of().write_text("no notebook")
    publish(lms, FIRST)
    with pytest.raises(ExchangeError, match="already have a copy"):
        run(student.ExchangeFetchAssignment, config)
    assert path_of().read_text() == "no notebook"
    assert run(listing.ExchangeList, config)[0]["status"] == "fetched"
