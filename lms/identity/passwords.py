"""Passwords: hashing with argon2id, checking in constant work, and making readable ones."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

#: argon2id with RFC 9106's second recommended parameters: 3 passes over 64 MiB, 4 lanes.
HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)

#: Syllables that are read aloud without doubt, in Korean as in English: no l/1, o/0, c/k, v/b, r/l.
_CONSONANTS = "bdfghjkmnpst"
_VOWELS = "aeiu"

_decoys: dict[PasswordHasher, str] = {}


def hash_password(password: str) -> str:
    """Return the argon2id hash to store."""
    return HASHER.hash(password)


def password_fits(password: str, stored: str | None) -> bool:
    """Say whether `password` is the one that was hashed; without a hash the same work is done.

    An answer that comes sooner for a name that does not exist would tell who has an account.
    """
    if stored is None:
        _verify(password, _decoy())
        return False
    return _verify(password, stored)


def needs_new_hash(stored: str) -> bool:
    """Say whether the hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(stored)


def generate_password() -> str:
    """Return a password to be read aloud or copied from paper, such as `bade-gumi-kasu-4827`.

    Six syllables of 48 and four digits: 2^46 choices behind argon2 and the rate limit.
    """
    words = ["".join(_syllable() for _ in range(2)) for _ in range(3)]
    return "-".join([*words, f"{secrets.randbelow(10_000):04d}"])


def _syllable() -> str:
    return secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS)


def _verify(password: str, stored: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def _decoy() -> str:
    """Return a hash of nothing known, made once with today's parameters."""
    if HASHER not in _decoys:
        _decoys[HASHER] = HASHER.hash(secrets.token_urlsafe(16))
    return _decoys[HASHER]
