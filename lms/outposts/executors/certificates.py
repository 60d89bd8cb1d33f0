"""Certificates of a grading cluster: its own authority, and one certificate a role.

Whoever holds a certificate of this authority may run anything on the cluster, and nobody else gets
past the handshake. The authority's key is for making them and is needed by no running part.
"""

import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ROLES = ("scheduler", "worker", "client")
AUTHORITY = "authority"
_LIFE = timedelta(days=825)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def make_certificates(folder: Path, *, now: datetime, hosts: Sequence[str] = ()) -> None:
    """Write the authority and every role's key and certificate into an empty folder.

    Raises FileExistsError where there are some: a new authority would shut out all that runs.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = _make_authority(now)
    _write(folder, AUTHORITY, authority)
    for role in ROLES:
        _write(folder, role, _make_role(role, authority, (*hosts, socket.gethostname()), now))


def certificate_path(folder: Path, name: str) -> Path:
    """Return where the certificate of the authority or a role lies."""
    return folder / f"{name}.pem"


def key_path(folder: Path, name: str) -> Path:
    """Return where its private key lies."""
    return folder / f"{name}-key.pem"


def _make_authority(now: datetime) -> _Identity:
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("Seodang grading cluster")
    certificate = (
        _builder(name, name, key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Identity(key=key, certificate=certificate)


def _make_role(role: str, authority: _Identity, hosts: Sequence[str], now: datetime) -> _Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_host(host) for host in dict.fromkeys((*hosts, "localhost", "127.0.0.1"))]
    # Every part both listens and calls: workers hand results to one another and to clients.
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(_name(role), authority.certificate.subject, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return _Identity(key=key, certificate=certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of nodes differ a little.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFE)
    )


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
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: Path, name: str, identity: _Identity) -> None:
    key = identity.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = identity.certificate.public_bytes(serialization.Encoding.PEM)
    for path, content, mode in (
        (key_path(folder, name), key, 0o600),
        (certificate_path(folder, name), certificate, 0o644),
    ):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
