"""Which processes a GPU computes for, as NVIDIA's management library says.

Asked by a thread of its own: a driver in trouble may keep its caller waiting, and the broker waits
for nobody. Parts of a GPU (MIG) are not told apart by the library; of their kernels the processor's
time speaks alone.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from lms.outposts.broker.inventory import load_nvml

_log = logging.getLogger(__name__)
#: How often the library is asked, while somebody wants to know.
SECONDS = 2.0


class GpuUse:
    """Keeps the last answer; `busy_pids` returns it at once and has it renewed."""

    def __init__(self, load: "Callable[[], Any]" = load_nvml, seconds: float = SECONDS) -> None:
        self._load = load
        self._seconds = seconds
        self._wanted = threading.Event()
        self._busy: set[int] = set()
        self._thread: threading.Thread | None = None
        #: By device, when the latest sample was taken, in microseconds as the driver counts.
        self._seen: dict[str, int] = {}

    def busy_pids(self) -> set[int]:
        """Return the processes that computed on a whole GPU lately."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gpu use", daemon=True)
            self._thread.start()
        self._wanted.set()
        return self._busy

    def _run(self) -> None:
        try:
            nvml = self._load()
            nvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - without library or driver nothing computes
            _log.info("GPUs are not asked who uses them: %s", error)
            return
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self._busy = self.ask(nvml)
            threading.Event().wait(self._seconds)

    def ask(self, nvml: Any) -> set[int]:  # noqa: ANN401 - the package has no types
        """Return who has computed since the last call."""
        return {pid for index in range(nvml.nvmlDeviceGetCount()) for pid in self._of(nvml, index)}

    def _of(self, nvml: Any, index: int) -> Iterator[int]:  # noqa: ANN401
        # Cards that cannot say, that are cut, or on which nothing has run, raise.
        with contextlib.suppress(nvml.NVMLError):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            name = str(nvml.nvmlDeviceGetUUID(handle))
            since = self._seen.get(name, 0)
            for sample in nvml.nvmlDeviceGetProcessUtilization(handle, since):
                self._seen[name] = max(self._seen.get(name, 0), int(sample.timeStamp))
                # The first answer tells of all that the driver still knows, however old.
                if since and sample.timeStamp > since and sample.smUtil > 0:
                    yield int(sample.pid)
