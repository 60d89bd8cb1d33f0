"""The secrets of the parts, in a folder."""

import json
import os
from pathlib import Path

import pytest

from lms.foundation.settings import Settings
from lms.identity.keys import ensure_keys, load_web_keys
from lms.outposts.hub.place import HubPlace


def test_keys_are_made_once_and_stay(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = ensure_keys(settings)
    assert ensure_keys(settings) == first
    assert load_web_keys(settings) == first[0]
    web, hub = first
    assert web.hub_api_token == hub.lms_api_token
    secrets = {web.session_secret, web.hub_api_token, hub.client_secret, hub.cookie_secret}
    secrets |= {hub.auth_state_key, hub.proxy_token}
    assert len(secrets) == 6
    assert all(len(bytes.fromhex(secret)) == 32 for secret in secrets)


def test_the_signing_key_is_private_rsa_with_a_name(tmp_path: Path) -> None:
    key = json.loads(load_web_keys(Settings(data_dir=tmp_path)).oidc_signing_key)
    assert key["kty"] == "RSA"
    assert key["kid"]
    assert "d" in key


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    ensure_keys(settings)
    for part in ("web", "hub"):
        folder = settings.keys_dir / part
        assert folder.stat().st_mode & 0o777 == 0o700
        files = list(folder.iterdir())
        assert files
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_the_hub_finds_every_key_under_the_name_it_asks_for(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _, hub = ensure_keys(settings)
    place = HubPlace.from_env({"LMS_DATA": str(tmp_path)})
    for name in (
        "cookie_secret",
        "auth_state_key",
        "proxy_token",
        "client_secret",
        "lms_api_token",
    ):
        assert place.key(name) == getattr(hub, name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand files to other uids")
def test_as_root_each_folder_belongs_to_its_part(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    ensure_keys(settings)
    for part, uid in (("web", settings.uids.web), ("hub", settings.uids.hub)):
        folder = settings.keys_dir / part
        assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {uid}
    assert ensure_keys(settings)


def test_a_lost_copy_of_the_shared_token_is_made_again_from_the_other(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    web, _ = ensure_keys(settings)
    copy = settings.keys_dir / "hub" / "lms_api_token"
    copy.write_text("another")
    assert ensure_keys(settings)[1].lms_api_token == web.hub_api_token
    assert copy.read_text() == web.hub_api_token
