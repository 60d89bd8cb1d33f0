"""A web server for bundles that misbehaves as lines do: cuts, no Range, a portal's page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORTAL = b"<html><body>Please sign in to the network of the cafe</body></html>"


@dataclass
class Line:
    """What the server does and what it saw."""

    root: Path
    #: Cut the connection after this many bytes of a body; 0 is never.
    cut_after: int = 0
    #: Cut only the answers with these numbers (from 1); empty is all.
    cut_answers: frozenset[int] = frozenset()
    ranges: bool = True
    portal: bool = False
    #: Path endings whose bytes are spoilt on the way.
    spoil: str = ""
    answers: int = 0
    sent: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    line: Line

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        line = self.line
        line.answers += 1
        asked = self.headers.get("Range", "")
        line.asked.append((self.path, asked))
        if line.portal:
            self._answer(200, PORTAL, {"Content-Type": "text/html"})
            return
        path = line.root / self.path.lstrip("/")
        if not path.is_file():
            self._answer(404, b"not here", {})
            return
        content = path.read_bytes()
        if line.spoil and self.path.endswith(line.spoil):
            content = content[:-40] + bytes(40)
        if asked and line.ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            part = content[int(first) : int(last) + 1]
            span = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            self._answer(206, part, {"Content-Range": span})
        else:
            self._answer(200, content, {})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        line = self.line
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = line.cut_after and (not line.cut_answers or line.answers in line.cut_answers)
        if cut and len(body) > line.cut_after:
            body = body[: line.cut_after]
            self.close_connection = True
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True
            return
        line.sent += len(body)


@contextmanager
def serving(root: Path, **how: Any) -> Iterator[Line]:  # noqa: ANN401
    """Serve a folder; what is yielded can be changed while it runs."""
    line = Line(root, **how)
    handler = type("Handler", (_Handler,), {"line": line})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    line.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield line
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
