"""Which devices a machine has, over a management library of the test's own."""

from pathlib import Path

import pytest

from lms.outposts.broker import inventory
from lms.outposts.broker.inventory import check_simulated, read_inventory
from lms.protocol.devices import DeviceKind, Inventory, RunningKernel, RunningLease
from tests.fakes.nvml import Card, FakeNvml


def test_whole_gpus_bring_their_own_node_and_the_common_ones() -> None:
    nvml = FakeNvml([Card(uuid="GPU-a", minor=0), Card(uuid="GPU-b", minor=3)])
    found = read_inventory(time_slices=2, load=lambda: nvml)
    assert [(one.id, one.kind, one.slices) for one in found.devices] == [
        ("GPU-a", DeviceKind.GPU, 2),
        ("GPU-b", DeviceKind.GPU, 2),
    ]
    assert found.devices[1].paths[:2] == ("/dev/nvidia3", "/dev/nvidiactl")
    assert found.devices[0].name == "NVIDIA A100"
    assert found.reason is None
    assert not any(one.simulated for one in found.devices)
    assert not nvml.is_open


def test_a_gpu_that_is_cut_is_its_parts_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("gi1/access", 30), ("gi1/ci0/access", 31)):
        file = tmp_path / "gpu2" / "mig" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"DeviceFileMinor: {number}\nDeviceFileMode: 292\n")
    monkeypatch.setattr(inventory, "_CAPABILITIES", str(tmp_path))
    parts: list[Card | None] = [Card(uuid="MIG-a", memory=10 << 30), None, Card(uuid="MIG-b")]
    nvml = FakeNvml([Card(uuid="GPU-a", minor=2, parts=parts), Card(uuid="GPU-b", parts=[])])
    found = read_inventory(time_slices=4, load=lambda: nvml)
    assert [(one.id, one.kind, one.slices) for one in found.devices] == [
        ("MIG-a", DeviceKind.MIG, 1),
        ("MIG-b", DeviceKind.MIG, 1),
        ("GPU-b", DeviceKind.GPU, 4),
    ]
    assert found.devices[0].paths[:3] == (
        "/dev/nvidia2",
        "/dev/nvidia-caps/nvidia-cap30",
        "/dev/nvidia-caps/nvidia-cap31",
    )


def test_a_part_that_nobody_could_open_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_CAPABILITIES", str(tmp_path))
    file = tmp_path / "gpu0/mig/gi1/access"
    file.parent.mkdir(parents=True)
    file.write_text("DeviceFileMinor: 12\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
    nvml = FakeNvml([Card(uuid="GPU-a", parts=[Card(uuid="MIG-a")])])
    assert read_inventory(load=lambda: nvml).devices == ()
    # The number of the computing units' node is missing; then it comes.
    units = tmp_path / "gpu0/mig/gi1/ci0/access"
    units.parent.mkdir()
    for text, count in (("DeviceFileMode: 292\n", 0), ("DeviceFileMinor: 13\n", 1)):
        units.write_text(text)
        assert len(read_inventory(load=lambda: nvml).devices) == count


def test_missing_nodes_are_made_by_the_driver_s_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, said = tmp_path / "maker", tmp_path / "said"
    maker.write_text(f'#!/bin/sh\necho "$@" >> {said}\ntouch {tmp_path}/uvm\n')
    maker.chmod(0o755)
    monkeypatch.setattr(inventory, "_MAKER", str(maker))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(inventory, "_UNIFIED", (f"{tmp_path}/uvm", f"{tmp_path}/uvm-tools"))
    nvml = FakeNvml([Card(uuid="GPU-a")])
    for _ in range(2):
        paths = read_inventory(load=lambda: nvml).devices[0].paths
        # No node for tools: a kernel must not be refused for want of it.
        assert paths == ("/dev/nvidia0", "/dev/nvidiactl", f"{tmp_path}/uvm")
    assert said.read_text() == "-c 0 -u\n"


def test_a_broken_card_does_not_hide_the_others() -> None:
    nvml = FakeNvml([Card(uuid="GPU-a", broken=True), Card(uuid="GPU-b")])
    assert [one.id for one in read_inventory(load=lambda: nvml).devices] == ["GPU-b"]


def test_without_gpu_driver_or_package_a_sentence_says_so() -> None:
    def missing() -> object:
        raise ImportError("no module named pynvml")

    for load, word in (
        (FakeNvml, "No NVIDIA GPU was found"),
        (lambda: FakeNvml(fails="Driver Not Loaded"), "Driver Not Loaded"),
        (missing, "nvidia-ml-py"),
    ):
        found = read_inventory(load=load)
        assert found.devices == ()
        assert word in str(found.reason)
        assert "CPU" in str(found.reason)


def test_here_the_real_library_is_asked_and_answers_in_a_sentence_or_with_devices() -> None:
    found = read_inventory()
    assert bool(found.devices) != bool(found.reason)


def test_simulated_devices_are_labelled_and_rule_out_real_ones() -> None:
    nvml = FakeNvml([Card(uuid="GPU-a")])
    found = read_inventory(simulated="4x2", load=lambda: nvml)
    assert [one.slices for one in found.devices] == [2, 2, 2, 2]
    assert all(
        one.simulated and one.kind is DeviceKind.SIMULATED and "Simulated" in one.name
        for one in found.devices
    )
    assert [one.slices for one in read_inventory(simulated="3").devices] == [1, 1, 1]


@pytest.mark.parametrize("text", ["0", "4x0", "x2", "four", "4x2x2", "-1", "1000", "4 x 2"])
def test_nonsense_to_simulate_gives_no_device_and_says_why(text: str) -> None:
    with pytest.raises(ValueError, match="4x2"):
        check_simulated(text)
    found = read_inventory(simulated=text)
    assert found.devices == ()
    assert text in str(found.reason)


def test_what_the_broker_says_survives_the_wire() -> None:
    found = read_inventory(simulated="2x2")
    assert Inventory.from_json(found.to_json()) == found
    none = read_inventory(load=FakeNvml)
    assert Inventory.from_json(none.to_json()) == none
    lease = RunningLease(
        lease="a", uid=200001, devices=("SIMULATED-0",), until=5.5, ended="lost",
        kernels=(
            RunningKernel(pid=7, started=1.5),
            RunningKernel(pid=8, started=2, idle_seconds=3),
        ),
    )  # fmt: skip
    assert RunningLease.from_json(lease.to_json()) == lease


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"devices": None},
        {"devices": [{"id": 1}]},
        {"devices": [{"id": "a", "kind": "tpu"}]},
        {"devices": [{"id": "a", "kind": "gpu", "name": "n", "memory_bytes": -1}]},
        {"devices": [{"id": "a", "kind": "gpu", "name": "n", "memory_bytes": True}]},
    ],
)
def test_what_is_no_inventory_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Inventory.from_json(value)
