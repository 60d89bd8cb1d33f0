"""Which profile a person may have, whatever options a caller sends."""

from pathlib import Path

import pytest

from lms.foundation.resources import resource_dir
from lms.outposts.hub.profiles import (
    Profile,
    ProfileError,
    choose_profile,
    groups_teach,
    read_profiles,
)

STANDARD = Profile(key="standard", memory_bytes=2 << 30, processes=512, groups=())
LARGE = Profile(key="large", memory_bytes=8 << 30, processes=512, groups=("offering:ml-*:student",))
PROFILES = {"standard": STANDARD, "large": LARGE}


def test_without_options_the_first_profile_is_given() -> None:
    assert choose_profile(PROFILES, {}, []) is STANDARD


def test_a_link_sends_values_as_lists() -> None:
    assert choose_profile(PROFILES, {"profile": ["standard"]}, []) is STANDARD


def test_a_profile_is_for_the_groups_it_names() -> None:
    assert choose_profile(PROFILES, {"profile": "large"}, ["offering:ml-2026:student"]) is LARGE
    for groups in ([], ["offering:ml-2026:observer"], ["x-offering:ml-2026:student"]):
        with pytest.raises(ProfileError, match="may not use"):
            choose_profile(PROFILES, {"profile": "large"}, groups)


@pytest.mark.parametrize(
    "options",
    [
        {"uid": 0},
        {"profile": "standard", "env": {}},
        {"profile": "missing"},
        {"profile": None},
        {"profile": []},
        {"profile": ["standard", "large"]},
        {"profile": {"key": "standard"}},
        [],
        "standard",
        None,
    ],
)
def test_hostile_options_are_refused(options: object) -> None:
    with pytest.raises(ProfileError):
        choose_profile(PROFILES, options, [])


def test_a_profile_that_is_not_there_is_told_in_both_languages() -> None:
    with pytest.raises(ProfileError) as raised:
        choose_profile(PROFILES, {"profile": "gpu-a100"}, [])
    assert "그런 이름의 프로필은 없어요" in str(raised.value)
    assert "There is no profile of that name" in str(raised.value)


def test_the_shipped_file_gives_everyone_a_profile() -> None:
    profiles = read_profiles(resource_dir("hub_config") / "profiles.toml")
    assert choose_profile(profiles, {}, []).memory_bytes >= 1 << 30


def test_a_cap_is_the_servers_only_where_it_is_no_leases(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text(
        "[profile.short]\nmemory_mb = 1\nprocesses = 1\ncap_minutes = 60\n"
        '[profile.gpu]\nmemory_mb = 1\nprocesses = 1\ncap_minutes = 60\ngpu = "whole"\n'
    )
    profiles = read_profiles(tmp_path / "profiles.toml")
    assert {key: one.cap_minutes for key, one in profiles.items()} == {"short": 60, "gpu": 0}


def test_a_file_without_profiles_is_refused(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_text("")
    with pytest.raises(ValueError, match="names no profile"):
        read_profiles(tmp_path / "profiles.toml")


@pytest.mark.parametrize(
    ("group", "teaches"),
    [
        ("administrators", True),
        ("offering:py-2026:instructor", True),
        ("offering:py-2026:grader", True),
        ("offering:py-2026:student", False),
        ("offering:instructor:student", False),
    ],
)
def test_who_teaches_sees_the_teaching_tools(group: str, *, teaches: bool) -> None:
    assert groups_teach([group]) is teaches
