"""JupyterLab's files travel packed to who takes it, unchanged to who does not, and once."""

import asyncio
import contextlib
import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyterlab_server import LabServerApp, handlers
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from lms.outposts.notebook import packed
from lms.outposts.notebook.packed import PackedFiles

SCRIPT = b"let page = 'JupyterLab';\n" * 400


class Page(PackedFiles):
    """Does without the server around it: who asks, and pages for faults."""

    async def prepare(self, **_more: object) -> None:
        pass

    def write_error(self, status_code: int, **_more: object) -> None:
        self.finish(str(status_code))


@pytest.fixture
def static(tmp_path: Path) -> Path:
    (tmp_path / "core.js").write_bytes(SCRIPT)
    (tmp_path / "logo.png").write_bytes(b"\x89PNG" * 400)
    (tmp_path / "tiny.js").write_bytes(b"1")
    return tmp_path


def _get(static: Path, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
    async def ask() -> HTTPResponse:
        pages = [(r"/static/(.*)", Page, {"path": str(static), "no_cache_paths": []})]
        server = HTTPServer(Application(pages))
        (line,) = bind_sockets(0, "127.0.0.1")
        server.add_socket(line)
        try:
            return await AsyncHTTPClient().fetch(
                f"http://127.0.0.1:{line.getsockname()[1]}/static/{path}",
                method=method,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                decompress_response=False,
                raise_error=False,
            )
        finally:
            server.stop()
            await server.close_all_connections()

    PackedFiles.reset()
    PackedFiles._static_paths.clear()
    return asyncio.run(ask())


def test_a_script_travels_packed_and_is_kept_for_good(static: Path) -> None:
    answer = _get(static, "core.js?v=abc", Accept_Encoding="gzip, br")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"].startswith(("text/javascript", "application/javascript"))
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert len(answer.body) == int(answer.headers["Content-Length"]) < len(SCRIPT) // 10
    assert gzip.decompress(answer.body) == SCRIPT


def test_without_its_digest_a_file_is_asked_for_again(static: Path) -> None:
    answer = _get(static, "core.js", Accept_Encoding="gzip")
    assert answer.headers["Cache-Control"] == "no-cache"
    since = answer.headers["Last-Modified"]
    assert _get(static, "core.js", Accept_Encoding="gzip", If_Modified_Since=since).code == 304


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("core.js", {}, 200),
        ("core.js", {"Accept_Encoding": "br"}, 200),
        ("core.js", {"Accept_Encoding": "gzip", "Range": "bytes=0-9"}, 206),
        ("logo.png", {"Accept_Encoding": "gzip"}, 200),
        ("tiny.js", {"Accept_Encoding": "gzip"}, 200),
    ],
)
def test_what_cannot_be_taken_or_gains_nothing_is_sent_as_it_lies(
    static: Path, path: str, headers: dict[str, str], status: int
) -> None:
    answer = _get(static, path, **headers)
    assert (answer.code, "Content-Encoding" in answer.headers) == (status, False)
    whole = (static / path).read_bytes()
    assert answer.body == (whole[:10] if status == 206 else whole)


def test_a_head_says_what_would_come(static: Path) -> None:
    answer = _get(static, "core.js", "HEAD", Accept_Encoding="gzip")
    packed_bytes = packed.pack(static / "core.js")
    assert packed_bytes is not None
    assert answer.headers["Content-Length"] == str(len(packed_bytes))


def test_a_file_that_changes_is_packed_anew(static: Path) -> None:
    packed.pack_folder(static)
    (static / "core.js").write_bytes(SCRIPT + b"more")
    os.utime(static / "core.js", ns=(1, 1))
    assert gzip.decompress(packed.pack(static / "core.js") or b"") == SCRIPT + b"more"


def test_an_unknown_file_is_not_found(static: Path) -> None:
    assert _get(static, "no.js", Accept_Encoding="gzip").code == 404


def test_files_of_jupyterlabs_extensions_are_served_so_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(vars(handlers), "FileFindHandler", None)
    assert packed.packed_class() is PackedFiles
    found: list[Any] = []
    # What comes after the extensions' own files asks for a whole server.
    with contextlib.suppress(AttributeError):
        handlers.add_handlers(found, LabServerApp())
    assert PackedFiles in [one[1] for one in found]


_STORY = """
import importlib.metadata
from lms.outposts.notebook.server import remember_entry_points
remember_entry_points()
remember_entry_points()
from nbconvert.exporters import base
names = base.get_export_names()
def read(*_args, **_more):
    raise AssertionError("the packages are read again")
importlib.metadata.distributions = read
assert names == base.get_export_names() and "html" in names
assert base.get_exporter("html").output_mimetype == "text/html"
"""


def test_which_formats_there_are_is_read_once() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _STORY], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
