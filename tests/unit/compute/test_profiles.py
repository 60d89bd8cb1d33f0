"""GPU profiles as the file has them."""

from datetime import timedelta
from pathlib import Path

import pytest

from lms.compute.errors import NoSuchProfileError
from lms.compute.profiles import read_terms, terms
from lms.compute.rules import Need


def test_the_shipped_file_has_a_slice_and_a_whole_gpu() -> None:
    shipped = terms()
    assert shipped.get("gpu").need is Need.WHOLE
    assert shipped.get("gpu-slice").need is Need.SLICE
    assert shipped.get("gpu-slice").price < shipped.get("gpu").price
    assert shipped.get("gpu").idle == timedelta(minutes=15)
    assert shipped.at_once == 1
    with pytest.raises(NoSuchProfileError):
        shipped.get("standard")


def test_a_profile_is_open_to_the_groups_it_names(tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(
        '[profile.a]\ngpu = "whole"\ntitle = {ko = "가", en = "A"}\n'
        'groups = ["offering:ml-*:student"]\n'
    )
    one = read_terms(file).get("a")
    assert one.is_open_to(["offering:ml-2026:student"])
    assert not one.is_open_to(["offering:py-2026:student"])
    assert not one.is_open_to([])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[profile.a]\ngpu = "half"\ntitle = {ko = "가", en = "A"}', "profile a"),
        ('[profile.a]\ngpu = "whole"', "profile a"),
        ('[profile.a]\ngpu = "whole"\ntitle = {ko = "가", en = "A"}\nprice = 0', "price"),
        ("[quota]\nhours_a_week = true", "hours_a_week"),
        ('[quota]\nat_once = "one"', "at_once"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=word):
        read_terms(file)
