"""`lms centre sync` on a box: one command for both ways, and a sentence for all that can fail."""

import dataclasses
import fcntl
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lms.bootstrap import System
from lms.centre.models import CentreSelf
from lms.centre.rules import wait_seconds
from lms.cli.main import cli
from lms.cli.parts import make_parts
from lms.foundation.db import transaction
from lms.identity.keys import ensure_keys
from tests.factories.centres import Box


class _Page(BaseHTTPRequestHandler):
    """Answers everything with a web page, as a network does that wants a log-in."""

    status = 200

    def do_GET(self) -> None:
        content = b"<html>Please log in</html>"
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


class _Forbidding(_Page):
    status = 403


class _Broken(_Page):
    status = 502


@contextmanager
def _serving(page: type[_Page], folder: Path | None = None) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), page)
    scheme = "http"
    if folder is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    plain = serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def _sync(box: Box, url: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> Result:
    with transaction(box.system.sessions) as session:
        session.get_one(CentreSelf, 1).central_url = url
    monkeypatch.setenv("LMS_DATA", str(box.system.settings.data_dir))
    return CliRunner().invoke(cli, ["centre", "sync", *words])


@pytest.mark.parametrize("page", [_Page, _Forbidding])
def test_a_networks_log_in_page_is_named(
    box: Box, monkeypatch: pytest.MonkeyPatch, page: type[_Page]
) -> None:
    box.work(box.student("haneul"))
    with _serving(page) as url:
        done = _sync(box, url, monkeypatch)
    assert done.exit_code == 1
    assert "log-in page of the network" in done.output


def test_a_certificate_that_is_not_centrals_is_named(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with _serving(_Page, tmp_path) as url:
        done = _sync(box, url, monkeypatch)
    assert done.exit_code == 1
    assert "cannot show that it is central" in done.output


def test_central_down_is_named_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with _serving(_Broken) as url:
        broken = _sync(box, url, monkeypatch)
    gone = _sync(box, url, monkeypatch)
    for done in (broken, gone):
        assert done.exit_code == 1
        assert done.output.count("Central cannot be reached") == 1


def test_a_machine_that_is_no_centre_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, central: System
) -> None:
    monkeypatch.setenv("LMS_DATA", str(central.settings.data_dir))
    monkeypatch.setenv("LMS_DATABASE_URL", str(central.engine.url))
    done = CliRunner().invoke(cli, ["centre", "sync"])
    assert done.exit_code == 1
    assert done.output.count("lms centre join TICKET") == 1


def test_one_sync_at_a_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with (box.system.settings.data_dir / "sync.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = _sync(box, "http://127.0.0.1:9", monkeypatch)
    assert done.exit_code == 1
    assert "Another sync is under way" in done.output


def test_waits_grow_with_failures_and_differ_between_boxes() -> None:
    middle = [wait_seconds(900, failures, 0.5) for failures in range(8)]
    assert middle == [900, 30, 60, 120, 240, 480, 960, 1920]
    assert wait_seconds(900, 100, 0.5) == 3600
    assert wait_seconds(86_400, 100, 0.5) == 86_400
    assert wait_seconds(900, 0, 0.0) < 900 < wait_seconds(900, 0, 1.0)


def test_up_syncs_where_that_is_set(central: System) -> None:
    settings = central.settings
    ensure_keys(settings)
    assert "sync" not in [part.name for part in make_parts(settings)]
    part = make_parts(dataclasses.replace(settings, sync_minutes=7))[-1]
    assert (part.name, part.argv[-2:]) == ("sync", ("--every", "7"))
