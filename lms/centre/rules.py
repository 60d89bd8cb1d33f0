"""What can be decided about centres from values alone: names, chains, codes, times, samples."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

#: What the first record of an epoch names as the one before it.
NOTHING = "0" * 64
#: Letters of codes that people type: no I, L, O, U.
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("ILO", "110")
#: 12 letters are 60 bits; guessing one of a thousand codes takes 2^50 tries.
_CODE_LETTERS = 12
_GROUP = 4
#: So many milliseconds and random bits has a UUIDv7.
_MILLIS, _RANDOM = 48, 74
#: Digits by which one record names another: 96 bits.
_REFERENCE = 24
_CHAIN = b"seodang journal 1\0"


class CentreState(StrEnum):
    """What central makes of a centre."""

    INVITED = "invited"
    JOINED = "joined"
    REVOKED = "revoked"


class Kind(StrEnum):
    """What a record tells of."""

    ENROLMENT = "enrolment"
    SUBMISSION = "submission"
    RESULT = "result"
    GRADE = "grade"
    ERASURE = "erasure"


class RecordState(StrEnum):
    """What became of a record at central."""

    #: Kept, and not looked at yet.
    NEW = "new"
    #: Something it needs has not come.
    WAITING = "waiting"
    APPLIED = "applied"
    #: The same record came before, in another epoch.
    KNOWN = "known"
    REFUSED = "refused"
    #: It came after the centre was revoked.
    QUARANTINED = "quarantined"
    #: It was kept apart, and a person at central refused it for good.
    DECLINED = "declined"
    #: Its person was erased.
    ERASED = "erased"


class ResultState(StrEnum):
    """How far central trusts a centre's result."""

    PROVISIONAL = "provisional"
    #: Chosen; central's own run is under way.
    SAMPLED = "sampled"
    CONFIRMED = "confirmed"
    DISPUTED = "disputed"


class ConflictKind(StrEnum):
    """Which two truths met."""

    #: The same bytes were handed in at two places.
    SAME_WORK = "same_work"
    #: The person handed in at two places.
    TWO_PLACES = "two_places"
    #: The centre's clock could not be trusted, and its time matters.
    CLOCK = "clock"
    #: The centre graded against a release that central has replaced.
    OLD_RELEASE = "old_release"


def record_id(at: int, kind: str, person: str, commit: str) -> str:
    """Return a record's UUIDv7 in 32 hexadecimal digits; a clock before 1970 counts as 1970.

    Its random bits are drawn from what the record commits to, so that it need not be sent.
    """
    millis = max(0, at) & ((1 << _MILLIS) - 1)
    drawn = hashlib.sha256(f"{at} {kind} {person} {commit}".encode()).digest()
    random = int.from_bytes(drawn) >> (256 - _RANDOM)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return f"{(millis << 80) | (7 << 76) | (high << 64) | (2 << 62) | low:032x}"


def compact(value: object) -> str:
    """Return a JSON value in one line, keys sorted; what is hashed is this very text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def chain(previous: str, body: str) -> str:
    """Return the hash of the record with this body that follows the one with hash `previous`."""
    return hashlib.sha256(_CHAIN + bytes.fromhex(previous) + body.encode()).hexdigest()


def commitment(salt: str, at: int, kind: str, details: str) -> str:
    """Return the digest by which a body names its details; without the salt it tells nothing."""
    return hmac.digest(bytes.fromhex(salt), f"{at} {kind} {details}".encode(), "sha256").hex()


def reference(commit: str) -> str:
    """Return how other records name the one that commits to this."""
    return commit[:_REFERENCE]


def text_digest(text: str) -> str:
    """Return the sha256 of a text in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def claim_code(salt: str) -> str:
    """Return the code by which a person shows at central that a centre's account is theirs."""
    number = int.from_bytes(hmac.digest(bytes.fromhex(salt), b"claim", "sha256"))
    letters = "".join(_CROCKFORD[(number >> 5 * place) & 31] for place in range(_CODE_LETTERS))
    return "-".join(letters[at : at + _GROUP] for at in range(0, _CODE_LETTERS, _GROUP))


def claim_hash(code: str) -> str:
    """Return what a code is stored as; dashes, spaces, case and misread letters do not matter."""
    plain = "".join(letter for letter in code.upper() if letter.isalnum()).translate(_MISREAD)
    return text_digest(plain)


def millis(at: datetime) -> int:
    """Return an instant as milliseconds since 1970, the time of a record."""
    return int(at.timestamp() * 1000)


def from_millis(value: int) -> datetime:
    """Return the instant of `millis`; raises ValueError or OverflowError for an impossible one."""
    return datetime.fromtimestamp(value / 1000, UTC)


def believed(claimed: datetime, *, after: datetime, received_at: datetime) -> datetime:
    """Return when something happened, as far as central can know.

    Not before the time that central had signed for the centre by then, and not after it came in.
    """
    return min(max(claimed, after), received_at)


def is_sampled(seed: str, record: str, rate: float) -> bool:
    """Say whether a record is in the sample that `seed` chooses."""
    drawn = int.from_bytes(hmac.digest(seed.encode(), record.encode(), "sha256")[:8])
    return drawn < rate * 2**64


def wait_seconds(every: float, failures: int, drawn: float) -> float:
    """Return how long a sync waits for the next one, after so many failures in a row.

    `drawn` is chance, 0.0 to 1.0: boxes that one power cut has stopped must not come back at once.
    """
    wait = every
    if failures:
        longest = max(every, _LONGEST_WAIT)
        wait = min(longest, _FIRST_WAIT * 2 ** min(failures - 1, _DOUBLINGS))
    return wait * (1 - _JITTER + 2 * _JITTER * drawn)


#: Seconds of the first wait after a failure and of the longest, and by which share they vary.
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 30.0, 3600.0, 0.25
_DOUBLINGS = 20


def clock_error(here: datetime, there: datetime) -> timedelta:
    """Return by how much this machine's clock is ahead of central's; nothing within minutes."""
    off = here - there
    return off if abs(off) > _CLOCK_TOLERANCE else timedelta()


_CLOCK_TOLERANCE = timedelta(minutes=5)


def is_older(version: str, wanted: str) -> bool:
    """Say whether a software version such as 0.1.0 is before another."""
    return _numbers(version) < _numbers(wanted)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def points_of(notebooks: list[dict[str, object]]) -> Mapping[tuple[str, str], float]:
    """Return what each graded cell of a release is worth, by notebook and grade_id."""
    worth: dict[tuple[str, str], float] = {}
    for notebook in notebooks:
        questions = notebook.get("questions")
        for question in questions if isinstance(questions, list) else []:
            worth[str(notebook["name"]), str(question["grade_id"])] = float(question["points"])
    return worth
