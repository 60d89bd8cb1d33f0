"""Where the Hub stands; its defaults are those of the whole system."""

from pathlib import Path

import pytest

from lms.foundation.settings import Settings
from lms.outposts.hub.place import HubPlace, PlaceError, proxy_command
from lms.outposts.hub.spawner import os_uid

ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"LMS_PORT": "9000", "HUB_PORT": "9100"},
    {"LMS_URL": "https://lms.school.kr/", "HUB_URL": "https://hub.school.kr", "LMS_BIND": "::"},
    {"LMS_DATA": "/srv/seodang"},
]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_hub_and_settings_read_the_same_environment_alike(env: dict[str, str]) -> None:
    place, settings = HubPlace.from_env(env), Settings.from_env(env)
    for name in ("data_dir", "hub_port", "bind", "lms_url", "hub_url", "homes_dir"):
        assert getattr(place, name) == getattr(settings, name), name
    assert place.broker_socket == settings.run_dir / "broker.sock"


@pytest.mark.parametrize("port", ["0", "65534", "eighty", "-1", "８０"])
def test_a_wrong_port_is_named(port: str) -> None:
    with pytest.raises(PlaceError, match="HUB_PORT"):
        HubPlace.from_env({"HUB_PORT": port})


def test_servers_are_the_brokers_unless_told_otherwise() -> None:
    assert HubPlace.from_env({}).local_servers is False
    assert HubPlace.from_env({"LMS_SERVERS": "local"}).local_servers is True


def test_a_missing_key_says_which(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="proxy_token"):
        HubPlace.from_env({"LMS_DATA": str(tmp_path)}).key("proxy_token")


def test_the_proxys_command_line_holds_no_secret(tmp_path: Path) -> None:
    place = HubPlace.from_env({"LMS_DATA": str(tmp_path), "HUB_PORT": "9100"})
    command = " ".join(proxy_command("python", place))
    assert "--port 9100" in command
    assert "--api-port 9102" in command
    assert "token" not in command


@pytest.mark.parametrize("uid", [None, 0, -1, True, "200001"])
def test_a_server_never_starts_without_a_learners_uid(uid: object) -> None:
    with pytest.raises(ValueError, match="OS user id"):
        os_uid({"oauth_user": {"os_uid": uid}})
