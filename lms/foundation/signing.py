"""Signatures that anybody can check: canonical JSON, Ed25519 keys in a folder, their rotation.

The private key lies in the folder of the part that signs, readable by that part alone. Every public
key there ever was lies in the folder of public keys, so that old signatures can still be checked.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha512
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from lms.foundation.errors import InvalidError, UnavailableError
from lms.protocol.sentences import sentence

ALGORITHM = "Ed25519"
_FIELD = (1 << 255) - 19
_PRIVATE = "receipt_key.json"
_PUBLIC = "receipt_keys.json"


def canonical(value: object) -> bytes:
    """Return the one form of a JSON value (RFC 8785): equal values give equal bytes everywhere."""
    try:
        # Whatever is usual, the standard library writes in that form too, and ten times as fast.
        text = json.dumps(_usual(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()
    except (_Unusual, UnicodeEncodeError):
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # its type names every JSON value


class _Unusual(Exception):  # noqa: N818 - no fault
    """A value that RFC 8785 may write in another way than Python does."""


def _usual(value: object) -> object:
    """Return an equal value that Python writes as RFC 8785 does; raises _Unusual."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is dict:
        items: dict[str, object] = value  # type: ignore[assignment]
        if not all(type(key) is str and key.isascii() for key in items):
            # The order of other letters is that of UTF-16.
            raise _Unusual
        return {key: _usual(entry) for key, entry in items.items()}
    if kind is list or kind is tuple:
        return [_usual(entry) for entry in value]  # type: ignore[attr-defined]
    if kind is int and abs(value) < _EXACT:  # type: ignore[arg-type]
        return value
    if kind is float and (value == 0 or _SMALL <= abs(value) < _LARGE):  # type: ignore[arg-type]
        whole = int(value)  # type: ignore[call-overload]
        return whole if whole == value else value
    raise _Unusual


#: Integers up to here are numbers of JSON; and between these, JavaScript writes no exponent either.
_EXACT, _SMALL, _LARGE = 1 << 53, 1e-4, 1e15


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and its name, the thumbprint of its public half (RFC 7638)."""

    key_id: str
    _key: Ed25519PrivateKey

    def sign(self, record: Mapping[str, object]) -> str:
        """Return the signed document: the record, and the signature over its canonical form."""
        value = base64.urlsafe_b64encode(self._key.sign(canonical(record))).decode().rstrip("=")
        signature = {"algorithm": ALGORITHM, "key": self.key_id, "value": value}
        document = {"record": record, "signature": signature}
        return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"

    def agree(self, other: Ed25519PublicKey) -> bytes:
        """Return a secret that only this key's owner and the other's can know (X25519).

        Both keys are taken in their Montgomery form, as libsodium does: one pair signs and agrees.
        """
        seed = self._key.private_bytes_raw()
        mine = X25519PrivateKey.from_private_bytes(sha512(seed).digest()[:32])
        return mine.exchange(X25519PublicKey.from_public_bytes(_montgomery(other)))


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Where the private key and the public keys lie."""

    private_dir: Path
    public_dir: Path

    def signer(self, now: datetime) -> Signer:
        """Return the key in force, making the first one; raises UnavailableError."""
        path = self.private_dir / _PRIVATE
        try:
            if not path.exists():
                self.rotate(now)
            key = _import(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UnavailableError(
                sentence(
                    "The key that signs receipts cannot be read: %(why)s. See to %(path)s.",
                    why=str(error)[:120],
                    path=str(path),
                )
            ) from error
        private = key.private_key
        if not isinstance(private, Ed25519PrivateKey):
            raise UnavailableError(
                sentence("%(path)s holds no private Ed25519 key.", path=str(path))
            )
        return Signer(key.thumbprint(), private)

    def rotate(self, now: datetime) -> str:
        """Make a new key the one in force and publish its public half; returns its name."""
        key = OKPKey.generate_key("Ed25519", private=True)
        name = key.thumbprint()
        public = dict(key.as_dict(private=False)) | {"kid": name, "use": "sig", "alg": "EdDSA"}
        known = [entry | {"retired_at": entry.get("retired_at") or now.isoformat()}
                 for entry in self.published()["keys"]]  # fmt: skip
        entry = public | {"created_at": now.isoformat()}
        self.private_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Public first: whatever is signed can be checked at once.
        document = {"keys": [entry, *known]}
        _write(self.public_dir / _PUBLIC, json.dumps(document, indent=1) + "\n", 0o644)
        _write(self.private_dir / _PRIVATE, json.dumps(key.as_dict(private=True)), 0o600)
        return name

    def published(self) -> dict[str, list[dict[str, Any]]]:
        """Return all public keys, the newest first, as a JWK set; what the public address shows."""
        path = self.public_dir / _PUBLIC
        if not path.exists():
            return {"keys": []}
        document: dict[str, list[dict[str, Any]]] = json.loads(path.read_text("utf-8"))
        return document


def read_public_keys(text: str) -> dict[str, Ed25519PublicKey]:
    """Return the Ed25519 keys of a JWK set, one JWK or a PEM, by name; raises InvalidError."""
    try:
        if "-----BEGIN" in text:
            keys = [OKPKey.import_key(text)]
        else:
            document = json.loads(text)
            parts = ("kty", "crv", "x")
            keys = [
                OKPKey.import_key({part: entry[part] for part in parts})
                for entry in document.get("keys", [document])
            ]
        found = {key.thumbprint(): key.public_key for key in keys}
    except (ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise InvalidError(
            sentence("The key file holds no public Ed25519 key (JWK, JWK set or PEM).")
        ) from error
    return {name: key for name, key in found.items() if isinstance(key, Ed25519PublicKey)}


def read_signed(text: str, keys: Mapping[str, Ed25519PublicKey]) -> dict[str, Any]:
    """Return the record of a signed document; raises InvalidError saying what does not hold."""
    try:
        document = json.loads(text)
        record, signature = document["record"], document["signature"]
        key_id = str(signature["key"])
        value = base64.urlsafe_b64decode(str(signature["value"]) + "==")
        content = canonical(record)
        known_kind = signature["algorithm"] == ALGORITHM and isinstance(record, dict)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidError(sentence("This is not a signed receipt.")) from error
    if not known_kind:
        raise InvalidError(sentence("This is not a signed receipt."))
    if key_id not in keys:
        raise InvalidError(
            sentence(
                "It is signed with the key %(key)s, which is none of the trusted keys.",
                key=key_id[:64],
            )
        )
    try:
        keys[key_id].verify(value, content)
    except InvalidSignature as error:
        raise InvalidError(
            sentence("The signature does not fit: the receipt was changed after it was signed.")
        ) from error
    return dict(record)


def _montgomery(key: Ed25519PublicKey) -> bytes:
    """Return u = (1 + y) / (1 - y) of a point of edwards25519 (RFC 7748, section 4.1)."""
    y = int.from_bytes(key.public_bytes_raw(), "little") & (1 << 255) - 1
    u = (1 + y) * pow(1 - y, -1, _FIELD) % _FIELD
    return u.to_bytes(32, "little")


def _import(text: str) -> OKPKey:
    return OKPKey.import_key(json.loads(text))


def _write(path: Path, text: str, mode: int) -> None:
    # Whole or not at all: half a key would be worse than none.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        if os.geteuid() == 0:
            # Root makes and rotates keys for a part that runs under a uid of its own.
            owner = path.parent.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
