"""Seals: what nobody can read before central gives a code out, closed by a library's ciphers.

A seal has a key. The key travels in the signed manifest, itself closed by a short secret that
central keeps (`codes` makes codes of it). A closed file is a row of segments, each with its number
and, in the last one, a mark that it is the last: none can be left out, moved or taken from another.
"""

import base64
import binascii
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from lms.outposts.bundles.disk import Disk
from lms.outposts.bundles.names import check_course
from lms.outposts.bundles.problems import BundleError, DamagedError, HostileError
from lms.protocol.sentences import sentence

#: Bits of a seal's secret: what somebody with a stolen stick would have to guess.
SECRET_BITS = 90
KEY_BYTES, _SALT_BYTES, _TAG_BYTES = 32, 32, 16
_MAGIC = b"seodang envelope 1\n"
_SEGMENT = 1 << 20
#: scrypt's cost: a tenth of a second and 32 MiB a guess.
_COST = 1 << 15
#: A key that wraps one other key once needs no other nonce.
_ONCE = bytes(12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a manifest says openly of a seal."""

    name: str
    opens_at: datetime
    salt: bytes
    #: The key, closed by the secret.
    wrapped: bytes

    def to_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {
            "opens": self.opens_at.isoformat(),
            "salt": base64.b64encode(self.salt).decode(),
            "wrapped": base64.b64encode(self.wrapped).decode(),
        }

    @classmethod
    def from_json(cls, name: str, values: Any) -> "Seal":  # noqa: ANN401
        """Read it; raises HostileError."""
        try:
            opens = datetime.fromisoformat(values["opens"])
            return cls(
                name=name,
                opens_at=opens if opens.tzinfo else opens.replace(tzinfo=UTC),
                salt=base64.b64decode(values["salt"], validate=True),
                wrapped=base64.b64decode(values["wrapped"], validate=True),
            )
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise HostileError(
                sentence("What the bundle says of its sealed files cannot be understood.")
            ) from error

    def open(self, secret: int, course: str) -> bytes | None:
        """Return the key, or None when this is not the seal's secret."""
        try:
            return ChaCha20Poly1305(_stretch(secret, self.salt)).decrypt(
                _ONCE, self.wrapped, context(course, self.name)
            )
        except InvalidTag:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What only central knows of a seal."""

    seal: Seal
    secret: int
    key: bytes


def make_secret(course: str, opens_at: datetime) -> Secret:
    """Return a new seal with a random key and a random secret."""
    name, salt = secrets.token_hex(8), secrets.token_bytes(_SALT_BYTES)
    secret, key = secrets.randbits(SECRET_BITS), secrets.token_bytes(KEY_BYTES)
    cipher = ChaCha20Poly1305(_stretch(secret, salt))
    wrapped = cipher.encrypt(_ONCE, key, context(course, name))
    seal = Seal(name=name, opens_at=opens_at, salt=salt, wrapped=wrapped)
    return Secret(seal=seal, secret=secret, key=key)


def context(course: str, seal: str) -> bytes:
    """Return what a closed thing is bound to: it opens nowhere else."""
    return f"{course}\0{seal}".encode()


def close(plain: Iterable[bytes], target: BinaryIO, key: bytes, bound: bytes) -> None:
    """Write a closed file; every one has a key of its own, made of the seal's and a random salt."""
    salt = secrets.token_bytes(_SALT_BYTES)
    target.write(_MAGIC + salt)
    cipher = ChaCha20Poly1305(_own_key(key, salt, bound))
    number, rest = 0, b""
    for part in plain:
        rest += part
        while len(rest) > _SEGMENT:
            target.write(cipher.encrypt(_nonce(number, last=False), rest[:_SEGMENT], None))
            number, rest = number + 1, rest[_SEGMENT:]
    target.write(cipher.encrypt(_nonce(number, last=True), rest, None))


def unclose(source: BinaryIO, key: bytes, bound: bytes) -> Iterator[bytes]:
    """Yield what was closed; raises DamagedError before giving out a byte that does not hold."""
    if source.read(len(_MAGIC)) != _MAGIC:
        raise _damaged()
    cipher = ChaCha20Poly1305(_own_key(key, source.read(_SALT_BYTES), bound))
    number, part = 0, source.read(_SEGMENT + _TAG_BYTES)
    while True:
        following = source.read(_SEGMENT + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, last=not following), part, None)
        except InvalidTag as error:
            raise _damaged() from error
        if not following:
            return
        number, part = number + 1, following


class Seals:
    """Central's folder of secrets, a file a course; it lies beside no repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, course: str) -> list[Secret]:
        """Return the seals of a course, the earliest to open first; raises BundleError."""
        path = self._path(course)
        try:
            rows = json.loads(path.read_text("utf-8"))
            found = [_secret(name, values) for name, values in rows.items()]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                sentence("%(path)s cannot be read: restore it from a backup.", path=str(path))
            ) from error
        return sorted(found, key=lambda one: one.seal.opens_at)

    def find(self, course: str, opens_at: datetime) -> Secret | None:
        """Return the seal that opens at a time."""
        return next((one for one in self.of(course) if one.seal.opens_at == opens_at), None)

    def make(self, course: str, opens_at: datetime) -> Secret:
        """Make and keep a new seal."""
        made = make_secret(course, opens_at)
        rows = {one.seal.name: _row(one) for one in (*self.of(course), made)}
        path = self._path(course)
        Disk().write(path, (json.dumps(rows, indent=1) + "\n").encode(), 0o600)
        if os.geteuid() == 0:
            # Root builds; the part that shows codes runs under the uid that owns the folder.
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
        return made

    def _path(self, course: str) -> Path:
        return self._folder / f"{check_course(course)}.json"


def _row(one: Secret) -> dict[str, str]:
    key = base64.b64encode(one.key).decode()
    return one.seal.to_json() | {"secret": f"{one.secret:x}", "key": key}


def _secret(name: str, values: Mapping[str, Any]) -> Secret:
    key = base64.b64decode(values["key"], validate=True)
    return Secret(seal=Seal.from_json(name, values), secret=int(values["secret"], 16), key=key)


def _stretch(secret: int, salt: bytes) -> bytes:
    derive = Scrypt(salt=salt, length=KEY_BYTES, n=_COST, r=8, p=1)
    return derive.derive(secret.to_bytes((SECRET_BITS + 7) // 8, "big"))


def _own_key(key: bytes, salt: bytes, bound: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt, b"seodang envelope 1\0" + bound).derive(key)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _damaged() -> DamagedError:
    return DamagedError(sentence("A sealed file is damaged: pull the course again."))
