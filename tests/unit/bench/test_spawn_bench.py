"""What `lms bench spawn` makes of its measurements, and when it refuses to compare."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lms.cli.bench import spawn
from lms.cli.bench.spawn import Measured
from lms.cli.bench.spawn import spawn as command
from lms.cli.bench.spawn_page import MISSING, Seen


def measured(ready: list[float], megabytes: float) -> Measured:
    bytes_ = [megabytes * (1 << 20)] * len(ready)
    return Measured(ready=ready, first_cell=ready, private=bytes_, private_libraries=bytes_)


def test_ratios_are_of_each_alternation_and_more_users_are_better() -> None:
    ours, stock = measured([0.5, 1.0, 0.5], 64), measured([5.0, 20.0, 6.0], 256)
    figures = {figure["name"]: figure for figure in spawn._figures(ours, stock)}
    assert set(figures) >= {"time_to_ready", "private_memory", "click_to_first_cell"}
    assert figures["time_to_ready"]["ratio"] == 12.0
    assert figures["time_to_ready"]["value"] == 0.5
    assert figures["time_to_ready"]["peer_value"] == 6.0
    assert figures["private_memory"]["ratio"] == 4.0
    assert (figures["users_per_gigabyte"]["value"], figures["users_per_gigabyte"]["ratio"]) == (
        16,
        4,
    )


def test_a_process_without_limits_ends_the_measurement() -> None:
    with pytest.raises(click.ClickException, match="without its limits"):
        spawn._check_limits(os.getpid())


def test_the_pages_own_share_is_told_by_itself_and_only_where_it_was_measured() -> None:
    ours, stock = measured([0.5], 64), measured([5.0], 256)
    names = {figure["name"] for figure in spawn._figures(ours, stock)}
    assert not {name for name in names if "page" in name}
    for one, total, weight in ((ours, 2.5, 2e6), (stock, 10.0, 8e6)):
        one.seen = Seen(
            total=[total],
            page=[total - one.first_cell[0]],
            weight=[weight],
            requests=[100],
            again=[1.0],
            again_weight=[1e5],
            again_requests=[50],
        )
    figures = {figure["name"]: figure for figure in spawn._figures(ours, stock)}
    assert figures["page_share"]["value"] == 2.0
    assert figures["page_share"]["peer_value"] == 5.0
    assert figures["page_bytes"]["ratio"] == 4.0
    assert figures["click_to_first_cell"]["value"] == 0.5, "server and kernel stay by themselves"
    assert "MB" in spawn._line(figures["page_bytes"])


@contextlib.contextmanager
def _no_hub(_folder: Path) -> Iterator[str]:
    yield "hub"


def test_fewer_servers_than_said_end_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_hub: object, into: Measured, number: int) -> None:
        # The third of each never becomes ready.
        if number in (1, 2):
            into.ready.append(1.0)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name, fake in (
        ("stock_hub", _no_hub),
        ("our_hub", _no_hub),
        ("_measure", measure),
        ("find_chromium", lambda: None),
    ):
        monkeypatch.setattr(spawn, name, fake)
    answer = CliRunner().invoke(command, ["--runs", "3"])
    assert answer.exit_code == 1
    assert "Fewer servers were started than said." in answer.output


def test_without_a_browser_the_rest_is_measured_and_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(_hub: object, into: Measured, number: int) -> None:
        if number:
            for values in (into.ready, into.first_cell, into.private, into.private_libraries):
                values.append(1.0)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name, fake in (
        ("stock_hub", _no_hub),
        ("our_hub", _no_hub),
        ("_measure", measure),
        ("find_chromium", lambda: None),
    ):
        monkeypatch.setattr(spawn, name, fake)
    answer = CliRunner().invoke(command, ["--runs", "2"])
    assert answer.exit_code == 0, answer.output
    assert answer.output.count(MISSING) == 1
    assert "time_to_ready" in answer.output
    assert "page_" not in answer.output


def test_without_root_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    answer = CliRunner().invoke(command, ["--runs", "5"])
    assert answer.exit_code == 1
    assert "only where the broker runs as root" in answer.output
