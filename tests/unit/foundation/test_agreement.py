"""What two signing keys agree on is known to their owners alone."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lms.foundation.signing import Signer, SigningKeys, _montgomery, read_public_keys

NOW = datetime(2026, 11, 25, tzinfo=UTC)
Pair = tuple[Signer, Ed25519PublicKey]


def _pair(folder: Path) -> Pair:
    keys = SigningKeys(folder / "private", folder / "public")
    signer = keys.signer(NOW)
    [public] = read_public_keys((folder / "public/receipt_keys.json").read_text()).values()
    return signer, public


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    return [_pair(tmp_path / name) for name in "abc"]


def test_both_ends_agree_and_nobody_else_does(pairs: list[Pair]) -> None:
    (a, public_a), (b, public_b), (c, _) = pairs

    assert a.agree(public_b) == b.agree(public_a)
    assert len(a.agree(public_b)) == 32
    assert c.agree(public_b) != a.agree(public_b)
    assert c.agree(public_a) != a.agree(public_b)


def test_montgomery_form_is_the_one_that_libsodium_makes() -> None:
    """The key of RFC 8032, test 1, by crypto_sign_ed25519_pk_to_curve25519."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()

    made = _montgomery(public).hex()

    assert made == "d85e07ec22b0ad881537c2f44d662d1a143cf830c57aca4305d85c7a90f6b62e"
