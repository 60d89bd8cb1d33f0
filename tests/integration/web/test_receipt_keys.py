"""The public keys of grade receipts, as anybody can get them."""

import json
from pathlib import Path

import pytest

from lms.bootstrap import receipt_keys
from lms.cli.wsgi import application
from lms.foundation import clock
from lms.foundation.settings import load_settings
from lms.foundation.signing import read_public_keys, read_signed


def test_anybody_gets_every_public_key_and_no_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMS_DATA", str(tmp_path))
    keys = receipt_keys(load_settings())
    document = keys.signer(clock.now()).sign({"score": 2.0})
    keys.rotate(clock.now())
    client = application().test_client()
    answer = client.get("/.well-known/receipt-keys.json", base_url=load_settings().lms_url)
    assert answer.status_code == 200
    assert len(answer.get_json()["keys"]) == 2
    assert not any("d" in key for key in answer.get_json()["keys"])
    assert read_signed(document, read_public_keys(json.dumps(answer.get_json()))) == {"score": 2.0}
