"""Hashing, and passwords to be read aloud."""

import re

from argon2 import extract_parameters
from argon2.low_level import Type

from lms.identity import passwords, rules


def test_hashes_are_argon2id_with_rfc_9106s_second_recommendation() -> None:
    stored = passwords.hash_password("four plain words here")
    used = extract_parameters(stored)
    assert used.type is Type.ID
    assert (used.time_cost, used.memory_cost, used.parallelism) == (3, 64 * 1024, 4)
    assert passwords.password_fits("four plain words here", stored)
    assert not passwords.password_fits("four plain words her", stored)
    assert not passwords.needs_new_hash(stored)


def test_the_same_password_is_never_stored_alike() -> None:
    assert passwords.hash_password("same words") != passwords.hash_password("same words")


def test_a_missing_or_broken_hash_fits_nothing() -> None:
    assert not passwords.password_fits("anything", None)
    assert not passwords.password_fits("anything", "not a hash")


def test_generated_passwords_can_be_read_aloud_and_are_accepted() -> None:
    made = {passwords.generate_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert re.fullmatch(
            r"([bdfghjkmnpst][aeiu]){2}(-([bdfghjkmnpst][aeiu]){2}){2}-\d{4}", password
        )
        rules.check_password(password, "minseo")
