"""A course that needs newer software waits for it, and the version before stays."""

from pathlib import Path

import pytest

from lms.outposts.bundles.problems import HostileError
from lms.outposts.bundles.pull import How, Pulled, pull
from lms.outposts.bundles.source import FolderSource
from lms.outposts.bundles.store import Store
from tests.factories.bundles import NOW, Central, installed_files, make_store

OLD, NEW = {"a.txt": b"old\n"}, {"a.txt": b"new\n"}


def _pull(store: Store, central: Central, software: str) -> Pulled:
    source = FolderSource(central.repository)
    [one] = pull(store, How(sources=[source], machine_time=NOW, software=software))
    return one


def test_course_that_needs_newer_software_waits(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(OLD, needs="0.9")
    store = make_store(tmp_path, central)
    assert _pull(store, central, "0.9").changed
    central.publish(NEW, needs="0.10")

    waits = _pull(store, central, "0.9")

    assert not waits.changed
    assert "needs the software 0.10 and this is 0.9" in str(waits.problem)
    assert installed_files(store) == OLD
    assert _pull(store, central, "0.10.dev1").problem is not None
    assert _pull(store, central, "0.10").changed
    assert installed_files(store) == NEW


def test_what_is_no_version_is_refused(tmp_path: Path) -> None:
    central = Central(tmp_path)
    central.publish(OLD, needs="the newest")
    with pytest.raises(HostileError, match="breaks the rules"):
        _pull(make_store(tmp_path, central), central, "0.9")
