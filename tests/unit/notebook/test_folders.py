"""A person's folders: filled without overwriting, read without following links."""

import os
import unicodedata
from pathlib import Path

import pytest

from lms.outposts.notebook import folders
from lms.outposts.notebook.client import ExchangeApiError, unpack_zip
from lms.outposts.notebook.folders import FolderError, fill_folder, find_notebooks, read_folder


def test_filling_writes_what_is_missing_and_says_what(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    assert fill_folder(tmp_path, {"a.txt": b"theirs", "data/b.csv": b"1"}) == ["data/b.csv"]
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert (tmp_path / "data/b.csv").read_bytes() == b"1"


def test_a_dangling_link_in_the_way_is_the_persons_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    assert fill_folder(tmp_path, {"a.txt": b"theirs"}) == []
    assert not (tmp_path / "elsewhere").exists()


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text("{}")
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "folder-link").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    assert read_folder(tmp_path) == {"a.ipynb": b"{}"}


def test_what_tools_leave_behind_is_not_read(tmp_path: Path) -> None:
    for name in (".ipynb_checkpoints/a.ipynb", "feedback/x/a.html", "__pycache__/m.pyc", "m.pyc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "data/feedback.csv").parent.mkdir()
    (tmp_path / "data/feedback.csv").touch()
    assert list(read_folder(tmp_path)) == ["data/feedback.csv"]


def test_names_are_composed(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "점수.csv")).touch()
    assert list(read_folder(tmp_path)) == ["점수.csv"]


def test_too_many_files_are_said_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MAX_FILES", 2)
    for n in range(3):
        (tmp_path / str(n)).touch()
    with pytest.raises(FolderError, match="too much"):
        read_folder(tmp_path)


def test_notebooks_are_those_at_the_top() -> None:
    assert find_notebooks(["b.ipynb", "a.ipynb", "data/c.ipynb", "d.csv"]) == ["a", "b"]


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", "a\\b", "./a"])
def test_an_archive_that_leads_elsewhere_is_refused(name: str) -> None:
    import io
    import zipfile

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(ExchangeApiError, match="safely"):
        unpack_zip(content.getvalue())


def test_what_is_no_archive_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExchangeApiError, match="could not be read"):
        unpack_zip(b"<html>")
