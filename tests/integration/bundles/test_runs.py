"""What one request asks for is bounded: where it ends, the next one goes on."""

from pathlib import Path

import pytest

from lms.outposts.bundles import wire
from tests.factories.bundles import Central, installed_files, make_store, noise, pull_from


def test_a_pack_longer_than_one_request_comes_from_a_stick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_RUN_BYTES", 6 << 20)
    files = {f"{number}.bin": noise(number, 3 << 20) for number in range(8)}
    central = Central(tmp_path)
    central.publish(files)
    store = make_store(tmp_path, central)

    [pulled] = pull_from(store, central.repository)

    assert pulled.changed
    assert installed_files(store) == files
