"""The proxy passes answers on as they come: real servers, a real proxy, real sockets."""

import asyncio
import contextlib
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import requests
from configurable_http_proxy import configproxy
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, RequestHandler

from lms.outposts.hub.proxy import WholeProxyHandler
from tests.fakes.hub_stack import free_ports

#: Larger than what the sockets of two connections hold.
LARGE_BYTES = 300 << 20
PIECE = bytes(1 << 20)


class _Server:
    """What the server behind saw, and what it waits for."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.headers: list[tuple[str, str]] = []
        self.sent = 0


class _Page(RequestHandler):
    def initialize(self, server: _Server) -> None:
        self.server = server
        server.asked.set()

    def on_connection_close(self) -> None:
        self.server.left.set()


class _Events(_Page):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: 1\n\n")
        await self.flush()
        await self.server.go_on.wait()
        self.write("data: 2\n\n")


class _Silent(_Page):
    async def get(self) -> None:
        await asyncio.wait(
            [asyncio.ensure_future(one.wait()) for one in (self.server.go_on, self.server.left)],
            return_when=asyncio.FIRST_COMPLETED,
        )


class _Whole(_Page):
    SUPPORTED_METHODS = ("GET", "HEAD", "POST")

    def get(self) -> None:
        self.server.headers = list(self.request.headers.get_all())
        self.add_header("Set-Cookie", "a=1")
        self.add_header("Set-Cookie", "b=2; Path=/")
        self.set_header("Content-Encoding", "gzip")
        self.set_header("X-Name", "\u00e9")
        self.set_header("Server", "behind")
        self.set_status(203, "Mine")
        self.write(gzip.compress(b"packed", mtime=0))

    head = get

    def post(self) -> None:
        self.server.headers = list(self.request.headers.get_all())
        self.write(self.request.body[::-1])


class _Bare(_Page):
    def get(self, status: str) -> None:
        self.set_header("Etag", '"x"')
        self.set_status(int(status))


class _Large(_Page):
    async def get(self) -> None:
        self.set_header("Content-Length", LARGE_BYTES)
        with contextlib.suppress(StreamClosedError):
            while self.server.sent < LARGE_BYTES:
                self.write(PIECE)
                await self.flush()
                self.server.sent += len(PIECE)


@contextlib.asynccontextmanager
async def _listening(app: Application) -> AsyncIterator[int]:
    """Serve and give the port."""
    server, port = HTTPServer(app), free_ports(1)
    server.listen(port, "127.0.0.1")
    try:
        yield port
    finally:
        server.stop()
        await server.close_all_connections()


@contextlib.asynccontextmanager
async def _before(port: int) -> AsyncIterator[int]:
    """Run a proxy before a port and give its own."""
    proxy = configproxy.PythonProxy({"default_target": f"http://127.0.0.1:{port}"})
    async with _listening(proxy.proxy_app) as front:
        yield front


@contextlib.asynccontextmanager
async def _running() -> AsyncIterator[tuple[_Server, int]]:
    """Run a server and the proxy before it; give what it sees, and the proxy's port."""
    server = _Server()
    known = {"server": server}
    pages: list[tuple[str, type[_Page]]] = [
        ("/events", _Events),
        ("/silent", _Silent),
        ("/whole", _Whole),
        (r"/bare/(\d+)", _Bare),
        ("/large", _Large),
    ]
    app = Application([(path, page, known) for path, page in pages])
    async with _listening(app) as behind, _before(behind) as port:
        try:
            yield server, port
        finally:
            server.go_on.set()


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(configproxy, "ProxyHandler", WholeProxyHandler)
    # Fewer than any test has open: whoever counted requests here would make them wait.
    AsyncHTTPClient.configure(None, max_clients=1)
    yield
    AsyncHTTPClient.configure(None)


def _run(test: Callable[[], Coroutine[None, None, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(within())


@contextlib.asynccontextmanager
async def _asking(
    port: int, path: str, *more: str, method: str = "GET"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", "Host: here:81", *more, "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _head(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]]]:
    """Read status and headers."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").strip().split("\r\n")
    parts = [line.partition(": ") for line in lines]
    return first, [(name, value) for name, _, value in parts]


def test_events_arrive_one_by_one() -> None:
    async def test() -> None:
        async with _running() as (server, port), _asking(port, "/events") as (reader, _):
            status, headers = await _head(reader)
            assert status == "HTTP/1.1 200 OK"
            assert ("Content-Type", "text/event-stream") in headers
            assert b"data: 1" in await reader.readuntil(b"\n\n"), "before the second is written"
            server.go_on.set()
            assert b"data: 2" in await reader.readuntil(b"0\r\n\r\n")

    _run(test)


@pytest.mark.parametrize("path", ["/events", "/silent"])
def test_a_browser_that_leaves_ends_the_request_behind(path: str) -> None:
    async def test() -> None:
        async with _running() as (server, port):
            async with _asking(port, path) as (reader, _):
                await server.asked.wait()
                if path == "/events":
                    await reader.readuntil(b"data: 1")
                assert not server.left.is_set()
            await server.left.wait()

    _run(test)


def test_a_browser_that_does_not_read_stops_the_server_behind() -> None:
    async def test() -> None:
        async with _running() as (server, port):
            async with _asking(port, "/large") as (reader, _):
                await _head(reader)
                before = -1
                while before != server.sent:
                    before = server.sent
                    await asyncio.sleep(0.5)
                assert 0 < server.sent < 64 << 20
            await server.left.wait()

    _run(test)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        ("Content-Length: 100", b"half"),
        ("Transfer-Encoding: chunked", b"4\r\nhalf\r\n"),
    ],
)
def test_an_answer_that_breaks_off_does_not_look_whole(head: str, part: bytes) -> None:
    arrived = asyncio.Event()

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + part)
        await arrived.wait()
        writer.close()

    async def test() -> None:
        async with await asyncio.start_server(die, "127.0.0.1", 0) as dying:
            behind = dying.sockets[0].getsockname()[1]
            async with _before(behind) as port, _asking(port, "/") as (reader, _):
                _, headers = await _head(reader)
                assert tuple(head.split(": ")) in headers
                assert await reader.readexactly(len(part)) == part
                arrived.set()
                assert await reader.read() == b"", "no end follows"

    _run(test)


def test_no_number_of_waiting_pages_keeps_others_waiting() -> None:
    async def test() -> None:
        async with _running() as (_, port), contextlib.AsyncExitStack() as waiting:
            for _number in range(60):
                reader, _writer = await waiting.enter_async_context(_asking(port, "/events"))
                await reader.readuntil(b"data: 1")
            async with _asking(port, "/whole") as (reader, _writer):
                status, _headers = await _head(reader)
                assert status == "HTTP/1.1 203 Mine"

    _run(test)


def test_status_headers_cookies_and_packing_pass_unchanged() -> None:
    async def test() -> None:
        async with _running() as (_, port), _asking(port, "/whole") as (reader, _writer):
            status, headers = await _head(reader)
            packed = gzip.compress(b"packed", mtime=0)
            assert await reader.readexactly(len(packed)) == packed
            assert status == "HTTP/1.1 203 Mine"
            cookies = [value for name, value in headers if name == "Set-Cookie"]
            assert cookies == ["a=1", "b=2; Path=/"]
            found = dict(headers)
            assert found["Content-Encoding"] == "gzip"
            assert found["Content-Length"] == str(len(packed))
            assert found["Server"] == "behind"
            assert found["X-Name"] == "\u00e9"
            assert len([name for name, _ in headers if name in {"Date", "Server"}]) == 2

    _run(test)


def test_a_server_sees_the_browsers_headers_and_whom_they_came_through() -> None:
    sent = (
        "Accept-Encoding: br, gzip",
        "X-Forwarded-For: 10.0.0.9",
        "X-Forwarded-Proto: https",
        "X-Twice: 1",
        "X-Twice: 2",
        "Connection: keep-alive, X-Hop",
        "X-Hop: mine",
    )

    async def test() -> None:
        async with _running() as (server, port), _asking(port, "/whole", *sent) as (reader, _):
            await _head(reader)
            seen = dict(server.headers)
            assert seen["Accept-Encoding"] == "br, gzip"
            assert seen["Host"] == seen["X-Forwarded-Host"] == "here:81"
            assert seen["X-Forwarded-For"] == "10.0.0.9,127.0.0.1"
            assert seen["X-Forwarded-Proto"] == "https,http"
            assert [value for name, value in server.headers if name == "X-Twice"] == ["1", "2"]
            assert "X-Hop" not in seen

    _run(test)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", "/whole", "203"), ("GET", "/bare/204", "204"), ("GET", "/bare/304", "304")],
)
def test_answers_without_a_body_have_none_and_the_line_stays_open(
    method: str, path: str, status: str
) -> None:
    async def test() -> None:
        async with _running() as (_, port), _asking(port, path, method=method) as (reader, writer):
            line, headers = await _head(reader)
            assert line.split()[1] == status
            found = dict(headers)
            assert "Transfer-Encoding" not in found
            if method == "HEAD":
                assert int(found["Content-Length"]) > 0
            else:
                assert found["Etag"] == '"x"'
            # The next answer begins where this one ended.
            writer.write(b"GET /whole HTTP/1.1\r\nHost: here\r\n\r\n")
            line, _headers = await _head(reader)
            assert line == "HTTP/1.1 203 Mine"

    _run(test)


def test_what_a_browser_sends_arrives_whole_once() -> None:
    sent = ("Transfer-Encoding: chunked", "Expect: 100-continue")

    async def test() -> None:
        async with (
            _running() as (server, port),
            _asking(port, "/whole", *sent, method="POST") as (reader, writer),
        ):
            line, _ = await _head(reader)
            assert "100" in line
            writer.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            line, _ = await _head(reader)
            assert line == "HTTP/1.1 200 OK"
            assert await reader.readexactly(5) == b"edcba"
            seen = dict(server.headers)
            assert seen["Content-Length"] == "5"
            assert not {"Transfer-Encoding", "Expect"} & set(seen)

    _run(test)


def test_a_server_that_is_not_there_gives_a_page() -> None:
    async def test() -> None:
        async with _before(free_ports(1)) as port, _asking(port, "/") as (reader, _):
            status, _headers = await _head(reader)
            assert status.startswith("HTTP/1.1 503")

    _run(test)


def test_a_large_download_costs_the_proxy_no_memory(tmp_path: Path) -> None:
    port = free_ports(3)
    source = (
        "import http.server\n"
        "class Page(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        f"        self.send_header('Content-Length', '{LARGE_BYTES}')\n"
        "        self.end_headers()\n"
        f"        for _ in range({LARGE_BYTES} >> 20): self.wfile.write(bytes(1 << 20))\n"
        "    def log_message(self, *args): pass\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), Page).serve_forever()\n"
    )
    command = [sys.executable, "-m", "lms.outposts.hub.proxy", "--ip", "127.0.0.1"]
    command += ["--port", str(port + 1), "--api-ip", "127.0.0.1", "--api-port", str(port + 2)]
    command += ["--default-target", f"http://127.0.0.1:{port}", "--log-level", "warning"]
    with (tmp_path / "log").open("wb") as log:
        behind = subprocess.Popen([sys.executable, "-c", source], stderr=log)
        proxy = subprocess.Popen(command, stderr=log)
        try:
            _wait_for(port + 1)
            _wait_for(port)
            size = 0
            with requests.get(f"http://127.0.0.1:{port + 1}/", stream=True, timeout=60) as answer:
                before = _most_memory(proxy.pid)
                for piece in answer.iter_content(1 << 20):
                    size += len(piece)
            assert size == LARGE_BYTES
            assert _most_memory(proxy.pid) - before < 20 << 20
        finally:
            for one in (behind, proxy):
                one.kill()
                one.wait()


def _most_memory(pid: int) -> int:
    """Return the most bytes that a process has ever held."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def _wait_for(port: int) -> None:
    async def wait() -> None:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.1)

    asyncio.run(wait())
