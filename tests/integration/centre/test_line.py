"""The line as it is: sockets, a network's log-in page in central's place, nobody there."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from werkzeug.serving import make_server

from lms.bootstrap import System, receipt_keys
from lms.centre.line import HttpLine
from lms.centre.pushing import Push, Pushed
from lms.foundation.errors import ConflictError, UnavailableError
from tests.factories.centres import Box
from tests.integration.identity.conftest import MakeApp


@contextmanager
def _serving(server: HTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _LogInPage(BaseHTTPRequestHandler):
    """Answers everything with 200 and HTML, as a captive portal does."""

    def do_GET(self) -> None:
        content = b"<html>Please log in to our network</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


def _push(box: Box, url: str) -> Pushed:
    return Push(
        sessions=box.system.sessions,
        blobs=box.system.blobs,
        line=HttpLine(url),
        signer=box.signer,
        receipt_keys=receipt_keys(box.system.settings),
    ).run()


def test_work_goes_through_real_sockets(central: System, box: Box, make_app: MakeApp) -> None:
    box.work(box.student("haneul"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Only requests for its own name and port are answered.
    app = make_app(lms_url=f"http://127.0.0.1:{port}")
    with _serving(make_server("127.0.0.1", port, app, threaded=True)) as url:
        assert _push(box, url).complete == 3
        with pytest.raises(ConflictError, match="does not know this machine"):
            HttpLine(url).call("GET", "/api/sync/nobody/state?epoch=1", b"", "{}")
    assert central.engine.url.database


def test_a_networks_log_in_page_is_not_taken_for_central(box: Box) -> None:
    box.work(box.student("haneul"))
    with (
        _serving(HTTPServer(("127.0.0.1", 0), _LogInPage)) as url,
        pytest.raises(UnavailableError, match="log-in page of the network"),
    ):
        _push(box, url)


def test_nobody_there_is_said_in_one_sentence(box: Box) -> None:
    with _serving(HTTPServer(("127.0.0.1", 0), _LogInPage)) as url:
        pass
    with pytest.raises(UnavailableError, match="Central cannot be reached"):
        _push(box, url)
