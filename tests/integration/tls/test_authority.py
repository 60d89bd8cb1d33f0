"""The box's own authority: what it names, how long it holds by which clock, who trusts it."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lms.cli.certificate import renew
from lms.cli.main import cli
from lms.foundation.errors import ConflictError, InvalidError
from lms.foundation.settings import Settings
from lms.outposts.tls.authority import EARLIEST, Authority, OtherNamesError, Times
from lms.outposts.tls.context import server_context
from lms.outposts.tls.page import FILE, serve
from tests.stack import wait_until

NOW = datetime(2027, 3, 1, tzinfo=UTC)
HOSTS = ("127.0.0.1", "localhost", "seodang.local")


def _at(signed: datetime = NOW, machine: datetime = NOW) -> Times:
    return Times(signed=signed, machine=machine)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "own", tmp_path / "served")
    made.begin("box", HOSTS, _at())
    return made


def _server(authority: Authority) -> x509.Certificate:
    path = authority.certificate.with_name("server.pem")
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_keys_are_read_by_those_alone_who_need_them(authority: Authority, tmp_path: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.pem")}
    assert modes == {"authority-key.pem": 0o600, "authority.pem": 0o644, "server.pem": 0o640}
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert len(authority.fingerprint().split(":")) == 32


def test_certificate_is_renewed_before_it_runs_out(authority: Authority) -> None:
    first = _server(authority)
    assert not authority.renew(HOSTS, _at())
    assert not authority.renew(HOSTS[:1], _at(NOW, NOW + timedelta(days=270)))
    assert authority.renew(HOSTS, _at(NOW, NOW + timedelta(days=280)))
    assert _server(authority).not_valid_after_utc > first.not_valid_after_utc
    assert authority.renew((*HOSTS, "192.168.7.7"), _at(NOW, NOW + timedelta(days=280)))


@pytest.mark.parametrize("machine", [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(days=90)])
def test_clock_that_stands_still_goes_by_the_signed_time(
    authority: Authority, machine: datetime
) -> None:
    authority.begin("box", HOSTS, _at(NOW, machine))
    assert _server(authority).not_valid_after_utc == NOW + timedelta(days=397)
    assert not authority.renew(HOSTS, _at(NOW, machine))
    assert authority.renew(HOSTS, _at(NOW + timedelta(days=300), machine))


def test_clock_that_is_years_ahead_shuts_no_laptop_out(authority: Authority) -> None:
    authority.begin("box", HOSTS, _at(NOW, datetime(2040, 1, 1, tzinfo=UTC)))
    assert _server(authority).not_valid_before_utc < NOW
    assert _server(authority).not_valid_after_utc > datetime(2040, 1, 1, tzinfo=UTC)


def test_no_time_at_all_is_not_1970(authority: Authority) -> None:
    never = datetime(1970, 1, 1, tzinfo=UTC)
    authority.begin("box", HOSTS, _at(never, never))
    assert _server(authority).not_valid_after_utc == EARLIEST + timedelta(days=397)


def test_authority_names_nothing_but_the_venue(authority: Authority, tmp_path: Path) -> None:
    for host in ("www.example.org", "8.8.8.8", "notlocal"):
        with pytest.raises(OtherNamesError, match=host):
            authority.renew((*HOSTS, host), _at())
    assert authority.renew(("seodang.lan", "10.1.2.3", "fd00::7"), _at())


def test_stolen_authority_forges_no_other_site(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = Authority(tmp_path / "own", tmp_path / "served")
    authority.begin("box", HOSTS, _at(now, now))
    key = serialization.load_pem_private_key(
        (tmp_path / "own/authority-key.pem").read_bytes(), None
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for name, refusal in (("seodang.local", None), ("bank.example", "permitted subtree")):
        pair = _forged(authority, key, name)
        authority.certificate.with_name("server.pem").write_bytes(pair)
        with _serving(authority) as url:
            if refusal is None:
                assert _serial(url, authority.certificate, name)
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=refusal):
                    _serial(url, authority.certificate, name)


def _forged(authority: Authority, key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """Return a certificate that only who has the authority's key can make."""
    root = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(root.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@contextlib.contextmanager
def _serving(authority: Authority) -> Iterator[str]:
    """A real server with the box's certificate."""

    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    context = server_context(authority.certificate.with_name("server.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _serial(url: str, trusted: Path, name: str = "seodang.local") -> int:
    context = ssl.create_default_context(cafile=trusted)
    port = int(url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


def test_who_trusts_the_authority_gets_in_and_nobody_else(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = Authority(tmp_path / "own", tmp_path / "served")
    authority.begin("box", HOSTS, _at(now, now))
    trusted = str(authority.certificate)
    with _serving(authority) as url:
        assert requests.get(url, verify=trusted, timeout=10).text == "hello"
        assert requests.get(url.replace("127.0.0.1", "localhost"), verify=trusted, timeout=10).ok
        with pytest.raises(requests.exceptions.SSLError, match="certificate"):
            requests.get(url, timeout=10)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            _serial(url, authority.certificate, "other.local")
        # A renewed one is served without a restart.
        before = _serial(url, authority.certificate)
        assert authority.renew((*HOSTS, "10.9.9.9"), _at(now, now))
        assert _serial(url, authority.certificate) != before


def test_authority_is_handed_out_on_a_plain_page(authority: Authority) -> None:
    words = {"fingerprint": authority.fingerprint(), "site": "https://10.0.0.5:8000"}
    server = serve("127.0.0.1", 0, authority.certificate, words)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        page = requests.get(url, timeout=10)
        page.encoding = "utf-8"
        given = requests.get(url + FILE, timeout=10)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert authority.fingerprint() in page.text
    assert "https://10.0.0.5:8000" in page.text
    assert "지문" in page.text
    assert given.content == authority.certificate.read_bytes()
    assert given.headers["Content-Type"] == "application/x-x509-ca-cert"


def test_proxy_serves_browsers_by_tls(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = Authority(tmp_path / "own", tmp_path / "served")
    authority.begin("box", HOSTS, _at(now, now))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "lms.outposts.hub.proxy", "--ip", "127.0.0.1"),
            *("--port", str(port), "--api-ip", "127.0.0.1", "--api-port", str(port + 2)),
        ],
        env={
            "HUB_PORT": str(port),
            "LMS_TLS": str(tmp_path / "served/server.pem"),
            "CONFIGPROXY_AUTH_TOKEN": "token",
        },
    )
    try:
        wait_until(lambda: _listens(port + 2), 60, "the proxy")
        url, trusted = f"https://127.0.0.1:{port}/x", str(authority.certificate)
        assert requests.get(url, verify=trusted, timeout=10).status_code == 404
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(url, timeout=10)
        routes = f"http://127.0.0.1:{port + 2}/api/routes"
        orders = requests.get(routes, headers={"Authorization": "token token"}, timeout=10)
        assert orders.ok, "the Hub's orders come over the loopback address as before"
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LMS_URL", "https://192.168.7.2:8000")
    monkeypatch.setenv("HUB_URL", "https://seodang-hub.lan:8010")
    return tmp_path / "data"


def _certificate(*words: str) -> Result:
    return CliRunner().invoke(cli, ["centre", "certificate", *words], catch_exceptions=False)


def test_command_tells_the_fingerprint(box: Path) -> None:
    done = _certificate("--host", "192.168.7.3")
    assert done.exit_code == 0, done.output
    authority = Authority(box / "keys/authority", box / "keys/tls")
    assert authority.fingerprint() in done.stdout
    assert "192.168.7.2, seodang-hub.lan, 192.168.7.3" in done.stdout
    _certificate()
    assert authority.fingerprint() in done.stdout, "the authority stays"
    with pytest.raises(ConflictError, match=r"may not name www\.example\.org"):
        _certificate("--host", "www.example.org")
    again = _certificate("--host", "www.example.org", "--again")
    assert authority.fingerprint() in again.stdout
    assert authority.fingerprint() not in done.stdout


def test_both_addresses_are_https_or_none(box: Path) -> None:
    _certificate()
    settings = Settings(
        data_dir=box, lms_url="https://192.168.7.2:8000", hub_url="http://seodang-hub.lan:8010"
    )
    with pytest.raises(InvalidError, match="make both https"):
        renew(settings)
    moved = Settings(data_dir=box, lms_url="https://10.3.3.3", hub_url="https://hub.lan")
    renew(moved)
    names = _server(Authority(box / "keys/authority", box / "keys/tls")).extensions
    held = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "hub.lan" in held.get_values_for_type(x509.DNSName), "a new address is taken in"
    restored = box / "keys/tls/server.pem"
    restored.chmod(0o600)
    renew(moved)
    assert restored.stat().st_mode & 0o777 == 0o640, "as after a restore"
    plain = Settings(data_dir=box, lms_url="http://10.3.3.3", hub_url="http://hub.lan")
    assert not plain.has_certificate
    assert plain.lms_inner_url == "http://10.3.3.3"
    assert moved.lms_inner_url == "http://127.0.0.1:8002"
