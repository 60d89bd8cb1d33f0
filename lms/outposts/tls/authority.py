"""A box's own authority and its servers' certificate, renewed before it runs out.

Students' laptops come to trust the authority, so it may name nothing but the venue: private
addresses, local names and those of the box. Its key is read by nobody but who renews.
"""

import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY, SERVER = "authority", "server"
#: Names and networks that no public server has.
_LOCAL_NAMES = ("localhost", "local", "lan", "internal", "home.arpa", "test")
_LOCAL_NETWORKS = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "fe80::/10",
    "::1/128",
)
_SERVER_LIFE, _AUTHORITY_LIFE = timedelta(days=397), timedelta(days=3650)
#: A certificate is renewed when less of its life is left.
_RENEWED = timedelta(days=120)
#: No clock is right that says less: this software did not exist.
EARLIEST = datetime(2026, 12, 1, tzinfo=UTC)
Key = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What a box knows of the time: the newest that was signed, and what its clock says."""

    signed: datetime
    machine: datetime

    @property
    def first(self) -> datetime:
        """From when certificates hold: a clock that is years ahead must not shut laptops out."""
        return max(self.signed, EARLIEST) - timedelta(days=1)

    @property
    def now(self) -> datetime:
        """The latest that it may be: a clock that stands in 1970 makes nothing valid for ever."""
        return max(self.signed, self.machine, EARLIEST)


class OtherNamesError(Exception):
    """The authority may not name these; a new one is needed, which laptops must trust anew."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)


class Authority:
    """A folder with the authority (root's alone) and one with what servers read."""

    def __init__(self, own: Path, served: Path) -> None:
        self._own = own
        self._served = served

    @property
    def certificate(self) -> Path:
        """What laptops are given."""
        return self._served / f"{AUTHORITY}.pem"

    def exists(self) -> bool:
        """Say whether the box has an authority."""
        return self.certificate.exists() and (self._own / f"{AUTHORITY}-key.pem").exists()

    def fingerprint(self) -> str:
        """Return the authority's SHA-256 fingerprint as browsers show it."""
        digest = _read(self.certificate).fingerprint(hashes.SHA256()).hex().upper()
        return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))

    def begin(self, name: str, hosts: Sequence[str], times: Times) -> None:
        """Make a new authority for these hosts; the one before ends."""
        key, subject = _new_key(), _name(f"Seodang {name}")
        certificate = (
            _builder(subject, subject, key, times, _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .add_extension(_constraints(hosts), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        _write(self._own / f"{AUTHORITY}-key.pem", _pem(key), 0o600)
        _write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        self._issue(hosts, times)

    def renew(self, hosts: Sequence[str], times: Times) -> bool:
        """Make a new server certificate if the one there is old or lacks a host; say whether.

        Raises OtherNamesError where the authority may not name a host.
        """
        names = {str(_host(host).value) for host in hosts}
        path = self._served / f"{SERVER}.pem"
        if path.exists():
            found = _read(path)
            alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            held = {str(name.value) for name in alternatives.value}
            is_fresh = times.now < found.not_valid_after_utc - _RENEWED
            is_ours = found.issuer == _read(self.certificate).subject
            if names <= held and is_fresh and is_ours:
                return False
        self._issue(hosts, times)
        return True

    def _issue(self, hosts: Sequence[str], times: Times) -> None:
        authority = _read(self.certificate)
        strangers = [host for host in hosts if not _is_allowed(host, authority)]
        if strangers:
            raise OtherNamesError(strangers)
        secret = (self._own / f"{AUTHORITY}-key.pem").read_bytes()
        signing = serialization.load_pem_private_key(secret, None)
        if not isinstance(signing, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is of another kind")
        key = _new_key()
        certificate = (
            _builder(_name(hosts[0]), authority.subject, key, times, _SERVER_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
                critical=False,
            )
            .sign(signing, hashes.SHA256())
        )
        # Key and certificate lie in one file, so that no reader meets an unequal pair.
        both = certificate.public_bytes(serialization.Encoding.PEM) + _pem(key)
        _write(self._served / f"{SERVER}.pem", both, 0o640)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, times: Times, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(times.first)
        .not_valid_after(times.now + life)
    )


def _constraints(hosts: Sequence[str]) -> x509.NameConstraints:
    allowed: list[x509.GeneralName] = [x509.DNSName(name) for name in _LOCAL_NAMES]
    allowed += [x509.IPAddress(ipaddress.ip_network(one)) for one in _LOCAL_NETWORKS]
    for host in hosts:
        name = _host(host)
        if isinstance(name, x509.IPAddress):
            name = x509.IPAddress(ipaddress.ip_network(host))
        if name not in allowed:
            allowed.append(name)
    return x509.NameConstraints(permitted_subtrees=allowed, excluded_subtrees=None)


def _is_allowed(host: str, authority: x509.Certificate) -> bool:
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    wanted = _host(host).value
    for one in constraints.permitted_subtrees or ():
        if isinstance(one, x509.IPAddress) and not isinstance(wanted, str):
            networks = (ipaddress.IPv4Network, ipaddress.IPv6Network)
            if isinstance(one.value, networks) and wanted in one.value:
                return True
        elif isinstance(one, x509.DNSName) and f".{wanted}".endswith(f".{one.value}"):
            return True
    return False


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _host(host: str) -> x509.IPAddress | x509.DNSName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.lower())


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all; nobody else may read it, not even for a moment.

    It belongs to its folder's group, so that servers that may not be root read theirs.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), -1, path.parent.stat().st_gid)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
