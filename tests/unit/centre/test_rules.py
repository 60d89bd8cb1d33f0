import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lms.centre import rules

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


def test_record_names_are_version_7_uuids_in_the_order_of_their_times() -> None:
    at = rules.millis(NOW)
    first, second = (rules.record_id(at + n, "result", "p", "c") for n in (0, 1))
    assert first < second
    assert (len(first), first[12]) == (32, "7")
    assert first[16] in "89ab"
    assert int(first[:12], 16) == at
    assert first != rules.record_id(at, "result", "p", "d")
    assert rules.record_id(-5, "result", "p", "c").startswith("0" * 12)


def test_the_chain_covers_what_came_before() -> None:
    one = rules.chain(rules.NOTHING, "a")
    assert rules.chain(one, "b") != rules.chain(rules.NOTHING, "b")


def test_a_commitment_tells_nothing_without_the_salt() -> None:
    first = rules.commitment("00" * 16, 1, "grade", "details")
    assert first != rules.commitment("01" * 16, 1, "grade", "details")
    assert first != rules.commitment("00" * 16, 2, "grade", "details")
    assert first == rules.commitment("00" * 16, 1, "grade", "details")


@given(st.binary(min_size=16, max_size=16))
def test_claim_codes_survive_being_read_aloud(salt: bytes) -> None:
    code = rules.claim_code(salt.hex())
    assert len(code) == 14
    spoken = code.lower().replace("-", " ").replace("0", "o").replace("1", "l")
    assert rules.claim_hash(spoken) == rules.claim_hash(code)


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_time_is_believed_within_what_central_knows(claimed: int, after: int, came: int) -> None:
    start = NOW + timedelta(seconds=after)
    end = start + timedelta(seconds=came)
    found = rules.believed(NOW + timedelta(seconds=claimed), after=start, received_at=end)
    assert start <= found <= end


def test_instants_come_back_from_milliseconds() -> None:
    assert rules.from_millis(rules.millis(NOW)) == NOW
    with pytest.raises((ValueError, OverflowError)):
        rules.from_millis(10**30)


def test_a_sample_is_as_large_as_its_rate() -> None:
    names = [f"{number:032x}" for number in range(1_000)]
    assert sum(rules.is_sampled("s", name, 0.0) for name in names) == 0
    assert sum(rules.is_sampled("s", name, 1.0) for name in names) == 1_000
    assert 60 < sum(rules.is_sampled("s", name, 0.1) for name in names) < 140


def test_versions_are_compared_as_numbers() -> None:
    assert rules.is_older("0.9.0", "0.10.0")
    assert not rules.is_older("1.0", "0.10.0")


def test_compact_json_is_one_line_with_sorted_keys() -> None:
    text = rules.compact({"b": "두\n줄", "a": 1})
    assert "\n" not in text
    assert json.loads(text) == {"a": 1, "b": "두\n줄"}
    assert text.startswith('{"a"')


def test_points_are_found_by_notebook_and_cell() -> None:
    notebooks: list[dict[str, object]] = [
        {"name": "ps1", "questions": [{"grade_id": "q1", "points": 2, "manual": False}]},
        {"name": "ps2"},
    ]
    assert rules.points_of(notebooks) == {("ps1", "q1"): 2.0}
