"""Pulling over lines that cut, lie and lack Range, and from several sources at once."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lms.outposts.bundles.http import HttpSource
from lms.outposts.bundles.problems import BundleError, SourceError
from lms.outposts.bundles.pull import How, Progress, pull
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.store import Store
from lms.outposts.bundles.wire import ClosedError, Pace
from tests.factories.bundles import (
    NOW,
    Central,
    course_files,
    installed_files,
    make_store,
    next_files,
    noise,
    pull_from,
)
from tests.fakes.bundle_server import Line, serving

FILES = {**course_files(), "big.bin": noise(9, 5 << 20)}


@contextmanager
def source(line: Line) -> Iterator[HttpSource]:
    opened = HttpSource(line.address)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a central that others are copied from."""
    base = tmp_path_factory.mktemp("published")
    Central(base).publish(FILES)
    return base


@pytest.fixture
def central(tmp_path: Path, published: Path) -> Central:
    for name in ("repository", "keys"):
        shutil.copytree(published / name, tmp_path / name)
    return Central(tmp_path, versions=1)


@pytest.fixture
def store(tmp_path: Path, central: Central) -> Store:
    return make_store(tmp_path, central)


def test_version_and_update_arrive_over_a_line(central: Central, store: Store) -> None:
    with serving(central.repository) as line, source(line) as http:
        pull_from(store, http)
        central.publish(next_files(FILES))
        before, asked = line.sent, len(line.asked)

        [pulled] = pull_from(store, http)

        assert installed_files(store) == next_files(FILES)
        assert line.sent - before < 12_000
        assert pulled.received == sum(
            int(span.partition("-")[2]) - int(span.removeprefix("bytes=").partition("-")[0]) + 1
            for _, span in line.asked[asked:]
            if span
        )
        steps = [path for path, _ in line.asked[asked:] if path.endswith(".delta")]
        assert len(steps) == 2, "the head and then all deltas with one request"


def test_nothing_new_costs_less_than_a_kilobyte(central: Central, store: Store) -> None:
    with serving(central.repository) as line, source(line) as http:
        pull_from(store, http)
        http.received, before = 0, line.sent

        [pulled] = pull_from(store, http)

        assert not pulled.changed
        assert http.received <= 1024
        assert line.sent - before <= 1024


@pytest.mark.parametrize("after", [70_000, 300_000])
def test_line_that_is_cut_again_and_again_fetches_no_byte_twice(
    central: Central, store: Store, after: int
) -> None:
    with serving(central.repository, cut_after=after) as line, source(line) as http:
        pull_from(store, http)

        assert installed_files(store) == FILES
        size = sum(path.stat().st_size for path in (central.repository / "objects").rglob("*.pack"))
        assert http.received < size + 20_000


@pytest.mark.parametrize("number", [1, 2, 4, 6, 7])
def test_cut_at_the_nth_answer_is_resumed_by_the_next_pull(
    central: Central, store: Store, number: int
) -> None:
    cut = frozenset({number})
    with serving(central.repository, cut_after=100, cut_answers=cut) as line, source(line) as http:
        http.patience = 1
        for _ in range(3):
            try:
                pull_from(store, http)
            except SourceError:
                continue
            break

        assert installed_files(store) == FILES


def test_what_was_committed_is_not_fetched_again_by_a_later_pull(
    central: Central, store: Store
) -> None:
    with serving(central.repository, cut_after=2_000_000) as line, source(line) as http:
        http.patience = 1
        size = sum(path.stat().st_size for path in (central.repository / "objects").rglob("*.pack"))
        for _ in range(9):
            try:
                pull_from(store, http)
            except SourceError:
                continue
            break

        assert installed_files(store) == FILES
        assert http.received < size + 60_000


def test_server_without_range_serves_too(central: Central, store: Store) -> None:
    with serving(central.repository, ranges=False) as line, source(line) as http:
        pull_from(store, http)
        central.publish(next_files(FILES))
        pull_from(store, http)

        assert installed_files(store) == next_files(FILES)


def test_captive_portal_is_recognised(central: Central, store: Store) -> None:
    with serving(central.repository, portal=True) as line, source(line) as http:
        with pytest.raises(BundleError, match="sign in to the network"):
            pull_from(store, http)

        line.portal = False
        pull_from(store, http)
        assert installed_files(store) == FILES


def test_portal_that_comes_in_the_middle_harms_nothing(central: Central, store: Store) -> None:
    with serving(central.repository, cut_after=1_000_000) as line, source(line) as http:

        def portal(_: float) -> None:
            line.portal = True

        with pytest.raises(SourceError, match="sign in"):
            pull_from(store, http, pace=Pace(sleep=portal))
        line.portal = False
        pull_from(store, http)

        assert installed_files(store) == FILES


def test_half_from_a_damaged_stick_and_half_from_the_line(
    tmp_path: Path, central: Central, store: Store
) -> None:
    stick = tmp_path / "stick"
    shutil.copytree(central.repository, stick)
    [pack] = (stick / "objects").rglob("*.pack")
    content = pack.read_bytes()
    pack.write_bytes(content[:1_200_000] + b"rotten" + content[1_200_006:])

    with serving(central.repository) as line, source(line) as http:
        [pulled] = pull_from(store, FolderSource(stick), http)

        assert pulled.damaged == ()
        assert installed_files(store) == FILES
        assert http.received < len(content) - 1_000_000, "the stick's good half was used"
        assert http.received > 3000


def test_stick_pulled_out_is_replaced_by_the_line(
    tmp_path: Path, central: Central, store: Store
) -> None:
    stick = tmp_path / "stick"
    shutil.copytree(central.repository, stick)

    class Leaving(FolderSource):
        """A stick that is pulled out once some of it was read."""

        def read(self, path: str, start: int, length: int, whole: int) -> Iterator[bytes]:
            count = 0
            for part in super().read(path, start, length, whole):
                count += len(part)
                if count > 500_000:
                    shutil.rmtree(stick, ignore_errors=True)
                    raise SourceError(self._unreadable(path).sentence)
                yield part

    with serving(central.repository) as line, source(line) as http:
        pull_from(store, Leaving(stick), http)

        assert installed_files(store) == FILES
        assert http.received < line.root.stat().st_size + 5_500_000


def test_spoilt_bytes_of_one_source_come_from_the_other(central: Central, store: Store) -> None:
    with serving(central.repository, spoil=".pack") as line, source(line) as http:
        pull_from(store, http, central.repository)

        assert installed_files(store) == FILES


def test_cap_sets_the_pace_and_progress_says_what_remains(central: Central, store: Store) -> None:
    slept: list[float] = []
    seen: list[tuple[int, int]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.bytes_left, progress.files_done))

    with serving(central.repository) as line, source(line) as http:
        pace = Pace(bytes_per_second=1_000_000, sleep=slept.append)
        pull(store, How(sources=[http], machine_time=NOW, pace=pace, on_progress=note))

        size = sum(path.stat().st_size for path in (central.repository / "objects").rglob("*.pack"))
        assert sum(slept) == pytest.approx(size / 1e6, rel=0.02)
        assert seen[-1][0] == 0
        assert max(left for left, _ in seen) > size // 2
        assert seen[-1][1] == len(set(FILES.values()))


@pytest.mark.parametrize(("hour", "inside"), [(23, True), (3, True), (12, False), (6, False)])
def test_line_is_used_in_its_hours_only(
    central: Central, store: Store, hour: int, *, inside: bool
) -> None:
    pace = Pace(hours=(22, 6), hour=lambda: hour, sleep=lambda _: None)
    with serving(central.repository) as line, source(line) as http:
        if inside:
            pull_from(store, http, pace=pace)
        else:
            with pytest.raises(ClosedError, match="22:00"):
                pull_from(store, http, pace=pace)
    assert (store.installed("ml") is not None) is inside
