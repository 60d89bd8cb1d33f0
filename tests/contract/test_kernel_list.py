"""Which kernels a person's notebook server lists."""

import json
from pathlib import Path

import pytest
from jupyter_client.kernelspec import NoSuchKernel

from lms.catalogue.models import Course, Release
from lms.foundation import clock
from lms.outposts.environments.identity import kernel_name
from lms.outposts.kernels.specs import GpuKernelSpecs
from lms.worker.leases import LeaseKeeper
from tests.fakes.broker_leases import FakeGpuBroker
from tests.fakes.exchange_lms import Lms

MINE, EARLIER, OTHERS = ("sha256:" + letter * 64 for letter in "abc")

OFFERED = {"python3", kernel_name(MINE), kernel_name(EARLIER)}
EVERY = OFFERED | {kernel_name(OTHERS)}


@pytest.fixture
def specs(lms: Lms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuKernelSpecs:
    """A server's kernels: the usual one, and the environments of this course and of another."""
    with lms.sessions()() as session:
        session.query(Course).one().environment = MINE
        # A notebook handed out before the course changed its packages.
        session.query(Release).one().environment = EARLIER
        session.commit()
    for name in EVERY:
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(
            json.dumps({"argv": ["python"], "display_name": name, "language": "python"})
        )
    monkeypatch.setenv("LMS_URL", lms.url)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "t-minsu")
    return GpuKernelSpecs(kernel_dirs=[str(tmp_path / "kernels")], ensure_native_kernel=False)


def test_environments_of_other_courses_are_there_without_being_offered(
    lms: Lms, specs: GpuKernelSpecs
) -> None:
    LeaseKeeper(sessions=lms.sessions(), broker=FakeGpuBroker(""), now=clock.now).step()
    assert set(specs.find_kernel_specs()) == OFFERED
    assert specs.get_kernel_spec(kernel_name(OTHERS)).display_name == kernel_name(OTHERS)


def test_each_kernel_is_offered_with_each_profile(lms: Lms, specs: GpuKernelSpecs) -> None:
    LeaseKeeper(sessions=lms.sessions(), broker=FakeGpuBroker("1"), now=clock.now).step()
    listed = specs.find_kernel_specs()
    assert set(listed) == {
        f"{name}{profile}" for name in OFFERED for profile in ("", ".gpu", ".gpu-slice")
    }
    spec = specs.get_kernel_spec("python3.gpu-slice")
    assert spec.metadata["seodang"] == {"gpu": "gpu-slice"}
    assert spec.display_name == "python3 · GPU slice"
    with pytest.raises(NoSuchKernel):
        specs.get_kernel_spec("julia.gpu")


def test_without_the_lms_all_environments_are_offered(
    specs: GpuKernelSpecs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMS_URL", "http://127.0.0.1:9")
    assert set(specs.find_kernel_specs()) == EVERY
