"""Signatures: canonical bytes, keys that are read back, and files that only their part can read."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import rfc8785
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from lms.foundation.errors import InvalidError, UnavailableError
from lms.foundation.signing import SigningKeys, canonical, read_public_keys, read_signed

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return SigningKeys(tmp_path / "private", tmp_path / "public")


def test_equal_values_have_equal_bytes() -> None:
    one = canonical({"b": 2.0, "a": [None, True, "가"], "c": 1e-7})
    other = canonical({"c": 0.0000001, "a": [None, True, "가"], "b": 2})
    assert one == other == '{"a":[null,true,"가"],"b":2,"c":1e-7}'.encode()


def test_a_public_key_is_read_from_every_form_it_comes_in(keys: SigningKeys) -> None:
    document = keys.signer(NOW).sign({"score": 1.5})
    published = keys.published()
    (known,) = read_public_keys(json.dumps(published)).values()
    pem = known.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (json.dumps(published), json.dumps(published["keys"][0]), pem):
        assert read_signed(document, read_public_keys(text)) == {"score": 1.5}


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"keys": [{"kty": "RSA"}]}', '{"kty": "OKP", "crv": "Ed25519", "x": "AA"}',
     "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----"],
)  # fmt: skip
def test_what_is_no_key_is_one_sentence(text: str) -> None:
    with pytest.raises(InvalidError, match="no public Ed25519 key"):
        read_public_keys(text)


def test_a_key_that_cannot_be_read_is_our_fault_and_names_its_file(keys: SigningKeys) -> None:
    keys.signer(NOW)
    (keys.private_dir / "receipt_key.json").write_text("{")
    with pytest.raises(UnavailableError, match=r"receipt_key\.json"):
        keys.signer(NOW)


def test_the_private_key_is_readable_by_its_owner_alone(keys: SigningKeys) -> None:
    keys.signer(NOW)
    private = keys.private_dir / "receipt_key.json"
    assert private.stat().st_mode & 0o777 == 0o600
    assert keys.private_dir.stat().st_mode & 0o777 == 0o700
    assert (keys.public_dir / "receipt_keys.json").stat().st_mode & 0o777 == 0o644
    assert "d" in json.loads(private.read_text())
    assert not any("d" in key for key in keys.published()["keys"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand files to other uids")
def test_a_key_that_root_rotates_belongs_to_the_part_that_signs(keys: SigningKeys) -> None:
    keys.private_dir.mkdir(mode=0o700)
    os.chown(keys.private_dir, 190003, 190000)
    keys.rotate(NOW)
    assert (keys.private_dir / "receipt_key.json").stat().st_uid == 190003


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_json)
@example([-0.0, 1e15, 1e16, 1e21, 1e-4, 9e-5, 1e-7, 0.1, 2.0, -3.0, 5e-324, 123456789012345.6])
@example({"\ufb33": 1, "\U0001f600": 2, "a": '\x7f\x00\u2028\\"/'})
def test_the_canonical_form_is_that_of_rfc_8785(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2**53, float("nan"), "\ud800", {1: 2}, {"a": object()}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises((ValueError, UnicodeError)):
        canonical(value)
