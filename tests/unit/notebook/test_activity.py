"""A kernel that computes keeps its server from being closed."""

from dataclasses import dataclass, field
from typing import Any

from lms.outposts.notebook.activity import note_busy


@dataclass
class Kernel:
    execution_state: str


@dataclass
class Kernels:
    states: list[str]

    def list_kernel_ids(self) -> list[str]:
        return [str(number) for number in range(len(self.states))]

    def get_kernel(self, kernel_id: str) -> Kernel:
        return Kernel(self.states[int(kernel_id)])


@dataclass
class App:
    settings: dict[str, Any] = field(default_factory=lambda: {"last_activity_times": {}})


@dataclass
class Server:
    kernel_manager: Kernels
    web_app: App = field(default_factory=App)


def test_a_busy_kernel_counts_as_use_and_an_idle_one_does_not() -> None:
    server = Server(Kernels(["idle", "busy"]))
    assert note_busy(server)
    assert server.web_app.settings["last_activity_times"]["busy_kernels"].tzinfo is not None
    server = Server(Kernels(["idle", "starting"]))
    assert not note_busy(server)
    assert server.web_app.settings["last_activity_times"] == {}
