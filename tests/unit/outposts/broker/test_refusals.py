"""The broker's log belongs to its operator, whatever a student asks for and however often."""

import logging

import pytest

from lms.outposts.broker.refusals import Refusals


def test_a_refusal_is_one_line_and_one_a_second(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    refusals = Refusals(lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for _ in range(1000):
            refusals.tell(200_001, "may not ask for x\nINFO a forged line\x1b[2J")
        refusals.tell(200_002, "another")
        now[0] += 1
        refusals.tell(200_001, "again")
    assert caplog.messages == [
        "refused uid 200001: may not ask for x\\nINFO a forged line\\x1b[2J",
        "refused uid 200002: another",
        "refused uid 200001: again (999 before it left out)",
    ]


def test_a_long_one_is_cut_and_few_are_remembered(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(lambda: 5.0)
    refusals.tell(1, "x" * 10_000)
    assert len(caplog.messages[0]) < 400
    for uid in range(2, 1100):
        refusals.tell(uid, "no")
    refusals.tell(1, "forgotten, so told again")
    assert caplog.messages[-1].endswith("told again")
