"""Which GPUs this machine has: asked of NVIDIA's management library, or made up and labelled so.

Nothing here opens a device; leases and their device nodes stand elsewhere. No GPU is no error: the
answer says why in a sentence, and notebooks run on the CPU.
"""

import contextlib
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from lms.protocol.devices import Device, DeviceKind, Inventory
from lms.protocol.sentences import sentence

LOG = logging.getLogger("lms.broker")

#: How many simulated devices, and into how many slices each is cut: "4" or "4x2".
_SIMULATED = re.compile(r"(\d{1,2})(?:x(\d{1,2}))?")
_SIMULATED_BYTES = 16 << 30
#: What every holder of any device needs besides the device's own node.
_CONTROL = "/dev/nvidiactl"
#: Of these every holder needs the first; the second is there for tools that measure.
_UNIFIED = ("/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
#: Whoever may open the nodes of a part and of its computing units may use them.
_CAPABILITIES = "/proc/driver/nvidia/capabilities"
_CAPABILITY_NODES = "/dev/nvidia-caps"
_MAKER = "nvidia-modprobe"
_MAKE_SECONDS = 10.0


def read_inventory(
    *, simulated: str = "", time_slices: int = 1, load: "Callable[[], Any] | None" = None
) -> Inventory:
    """Return the machine's devices; never raises for what the machine lacks.

    `simulated` is LMS_SIMULATED_GPUS and rules out the real ones; `time_slices` is how many leases
    share a whole GPU by turns; `load` returns the library's module, for tests.
    """
    if simulated:
        return _simulated(simulated)
    try:
        nvml = (load or load_nvml)()
    except ImportError:
        return Inventory(
            reason=sentence(
                "The package nvidia-ml-py is not installed, so this machine's GPUs cannot be "
                "seen. Notebooks run on the CPU."
            )
        )
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Inventory(
            reason=sentence(
                "This machine has no usable NVIDIA GPU (%(why)s). Notebooks run on the CPU.",
                why=str(error)[:100],
            )
        )
    try:
        devices = tuple(_devices(nvml, max(1, time_slices)))
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()
    if devices:
        return Inventory(devices=devices)
    return Inventory(
        reason=sentence("No NVIDIA GPU was found in this machine. Notebooks run on the CPU.")
    )


def check_simulated(text: str) -> tuple[int, int]:
    """Return devices and slices each; raises ValueError on what is neither "4" nor "4x2"."""
    match = _SIMULATED.fullmatch(text.strip())
    count, slices = (int(match[1]), int(match[2] or 1)) if match else (0, 0)
    if not count or not slices:
        raise ValueError('write how many GPUs to simulate, "4", or with slices each, "4x2"')
    return count, slices


def _simulated(text: str) -> Inventory:
    try:
        count, slices = check_simulated(text)
    except ValueError:
        return Inventory(
            reason=sentence(
                "LMS_SIMULATED_GPUS is %(value)s; it must be a number such as 4, or 4x2 for two "
                "slices each. Notebooks run on the CPU.",
                value=text[:40],
            )
        )
    return Inventory(
        devices=tuple(
            Device(
                id=f"SIMULATED-{number}",
                kind=DeviceKind.SIMULATED,
                name="Simulated GPU",
                memory_bytes=_SIMULATED_BYTES,
                slices=slices,
                simulated=True,
            )
            for number in range(count)
        )
    )


def load_nvml() -> Any:  # noqa: ANN401 - the package has no types
    """Return NVIDIA's management library; raises ImportError."""
    import pynvml

    return pynvml


def _devices(nvml: Any, time_slices: int) -> Iterator[Device]:  # noqa: ANN401
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            if _is_cut(nvml, handle):
                # In this mode the GPU itself computes nothing, only its parts do: all, or none.
                yield from list(_parts(nvml, handle))
            else:
                yield _whole(nvml, handle, time_slices)
        except nvml.NVMLError as error:
            # One broken card must not hide the others.
            LOG.warning("GPU %d is left out: %s", index, error)


def _whole(nvml: Any, handle: object, time_slices: int) -> Device:  # noqa: ANN401
    return Device(
        id=_text(nvml.nvmlDeviceGetUUID(handle)),
        kind=DeviceKind.GPU,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        slices=time_slices,
        paths=(f"/dev/nvidia{nvml.nvmlDeviceGetMinorNumber(handle)}", *_common()),
    )


def _is_cut(nvml: Any, handle: object) -> bool:  # noqa: ANN401
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError:
        return False  # the card cannot be cut at all
    return bool(current)


def _parts(nvml: Any, handle: object) -> Iterator[Device]:  # noqa: ANN401
    minor = nvml.nvmlDeviceGetMinorNumber(handle)
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
        except nvml.NVMLError:
            continue  # numbers without a part have gaps
        instance = nvml.nvmlDeviceGetGpuInstanceId(part)
        computing = nvml.nvmlDeviceGetComputeInstanceId(part)
        inner = f"gpu{minor}/mig/gi{instance}"
        opening = [_capability(f"{inner}/access"), _capability(f"{inner}/ci{computing}/access")]
        if None in opening:
            # Without both nodes nothing can compute on it, so nobody should wait for it.
            LOG.warning("part %d of GPU %d has no capability in %s", number, minor, _CAPABILITIES)
            continue
        yield Device(
            id=_text(nvml.nvmlDeviceGetUUID(part)),
            kind=DeviceKind.MIG,
            name=_text(nvml.nvmlDeviceGetName(part)),
            memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(part).total),
            paths=(f"/dev/nvidia{minor}", *filter(None, opening), *_common()),
        )


def _capability(name: str) -> str | None:
    """Return the device node that opens a part; the driver tells its number in a file."""
    path = os.path.join(_CAPABILITIES, name)
    try:
        with open(path, encoding="ascii") as file:
            found = re.search(r"^DeviceFileMinor:\s*(\d+)", file.read(), re.MULTILINE)
    except OSError:
        return None
    if found is None:
        return None
    node = f"{_CAPABILITY_NODES}/nvidia-cap{found[1]}"
    if not os.path.exists(node):
        _make_nodes("-f", path)
    return node


def _common() -> tuple[str, ...]:
    """Return the nodes that every holder needs, and those for tools where there are any.

    The driver makes those of unified memory when root first computes, or when asked to; in a
    sandbox nobody could.
    """
    if not os.path.exists(_UNIFIED[0]):
        _make_nodes("-c", "0", "-u")
    return (_CONTROL, *(path for path in _UNIFIED if path == _UNIFIED[0] or os.path.exists(path)))


def _make_nodes(*words: str) -> None:
    """Ask NVIDIA's own program to make device nodes; where it is not installed they are missing."""
    program = shutil.which(_MAKER)
    if program is None or os.geteuid() != 0:
        return
    try:
        subprocess.run([program, *words], check=False, timeout=_MAKE_SECONDS, capture_output=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        LOG.warning("%s does not make device nodes: %s", _MAKER, error)


def _text(value: object) -> str:
    # Older versions of the library answer with bytes.
    return value.decode() if isinstance(value, bytes) else str(value)
