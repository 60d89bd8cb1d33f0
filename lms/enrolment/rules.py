"""Decisions about enrolment, from values alone."""

import hmac
from datetime import date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

#: Dates of offerings are days in Korea.
ZONE = ZoneInfo("Asia/Seoul")


class EnrolmentState(StrEnum):
    """Whether an enrolment counts."""

    ACTIVE = "active"
    PENDING = "pending"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


def is_closed(ends_on: date, now: datetime) -> bool:
    """Say whether an offering that ends on `ends_on` (its last day, in Korea) is over."""
    return now.astimezone(ZONE).date() > ends_on


def code_fits(given: str, wanted: str | None) -> bool:
    """Compare enrolment codes without regard to case and spaces, in constant time."""
    if not wanted:
        return False
    return hmac.compare_digest(_plain(given), _plain(wanted))


def first_state(mode: str) -> EnrolmentState:
    """Return the state that a new enrolment gets under the offering's mode."""
    return EnrolmentState.PENDING if mode == "approval" else EnrolmentState.ACTIVE


def _plain(code: str) -> bytes:
    return "".join(code.split()).casefold().encode()
