"""Decisions about names, passwords and the rate limit, from values alone."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lms.identity import rules
from lms.identity.errors import (
    DisplayNameInvalidError,
    EmailInvalidError,
    PasswordTooWeakError,
    TooManyAttemptsError,
    UsernameInvalidError,
    UsernameReservedError,
)

NOW = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)


@given(st.text(max_size=40))
def test_whatever_is_typed_is_a_plain_name_or_refused(text: str) -> None:
    try:
        name = rules.check_username(text)
    except (UsernameInvalidError, UsernameReservedError):
        return
    assert name == text
    assert name.isascii()
    assert name == name.lower()
    assert 2 <= len(name) <= 32
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789_-")


@given(st.text(max_size=60))
def test_a_typed_name_is_none_or_could_be_an_account(text: str) -> None:
    name = rules.typed_username(text)
    assert name is None or rules.typed_username(name) == name


def test_reserved_names_could_be_typed_but_not_made() -> None:
    for name in rules.RESERVED_USERNAMES:
        with pytest.raises((UsernameReservedError, UsernameInvalidError)):
            rules.check_username(name)


def test_names_are_stored_composed_and_without_stray_spaces() -> None:
    assert rules.check_display_name("  김민서  (Min)\t") == "김민서 (Min)"


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\u202eb", "a\0b", "a\u200bb"])
def test_names_without_letters_or_with_hidden_ones_are_refused(name: str) -> None:
    with pytest.raises(DisplayNameInvalidError):
        rules.check_display_name(name)


def test_an_empty_address_is_none() -> None:
    assert rules.check_email(None) is None
    assert rules.check_email("  ") is None
    assert rules.check_email(" A@Example.org ") == "a@example.org"


@pytest.mark.parametrize(
    "email", ["a", "a@b", "a b@c.d", "@c.d", "a@@c.d", "a@" + "b" * 260 + ".c"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(EmailInvalidError):
        rules.check_email(email)


@pytest.mark.parametrize(
    "password", ["", "1234567", "x" * 201, "minseo12", "MINSEO!!", "aaaaaaaa", "abababab"]
)
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(PasswordTooWeakError):
        rules.check_password(password, "minseo")


@pytest.mark.parametrize(
    "password", ["pass1234", "네 낱말을 이어요", "x y z w minseo too", "x" * 2 + "abc" * 50]
)
def test_long_and_varied_passwords_are_taken_as_they_are(password: str) -> None:
    assert rules.check_password(password, "minseo") == password


def test_addresses_are_counted_by_household() -> None:
    assert rules.address_key("192.0.2.7") == "from:192.0.2.7"
    assert rules.address_key("::ffff:192.0.2.7") == "from:192.0.2.7"
    assert rules.address_key("2001:db8:1:2:3::4") == rules.address_key("2001:db8:1:2::9")
    assert rules.address_key("2001:db8:1:2::9") != rules.address_key("2001:db8:1:3::9")
    assert rules.address_key("fe80::1%eth0") == rules.address_key("fe80::2")
    assert rules.address_key("unknown") == rules.address_key("") == "from:unknown"


def test_keys_fit_their_column() -> None:
    assert len(rules.name_key("x" * 32)) <= 100
    assert len(rules.address_key("2001:db8:1111:2222:3333:4444:5555:6666")) <= 100


def test_below_the_limit_nobody_waits() -> None:
    assert rules.wait_until([NOW] * 9, 10, NOW) is None


def test_the_wait_ends_when_the_oldest_counted_failure_is_fifteen_minutes_old() -> None:
    failures = [NOW - timedelta(minutes=minutes) for minutes in range(10)]
    assert rules.wait_until(failures, 10, NOW) == NOW + timedelta(minutes=6)


def test_old_failures_do_not_count() -> None:
    assert rules.wait_until([NOW - rules.FAILURE_WINDOW] * 50, 10, NOW) is None


@given(st.lists(st.integers(0, 3600), max_size=40), st.integers(1, 12))
def test_after_the_wait_the_next_attempt_is_free(ages: list[int], limit: int) -> None:
    failures = [NOW - timedelta(seconds=age) for age in ages]
    retry_at = rules.wait_until(failures, limit, NOW)
    if retry_at is not None:
        assert NOW < retry_at <= NOW + rules.FAILURE_WINDOW
        assert rules.wait_until(failures, limit, retry_at) is None


@pytest.mark.parametrize(("seconds", "minutes"), [(1, 1), (60, 1), (61, 2), (600, 10)])
def test_the_sentence_rounds_the_wait_up_to_minutes(seconds: int, minutes: int) -> None:
    error = TooManyAttemptsError(NOW + timedelta(seconds=seconds), NOW)
    assert error.minutes == minutes
