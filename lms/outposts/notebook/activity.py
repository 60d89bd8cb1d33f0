"""Counts a kernel that computes as use of its server: a long cell may print nothing for hours."""

from typing import Any

from jupyter_server._tz import utcnow
from tornado.ioloop import PeriodicCallback

LOOK_SECONDS = 20.0


def note_busy(server: Any) -> bool:  # noqa: ANN401 - jupyter_server's app is untyped here
    """Let the server say that it is in use if a kernel computes; return whether one does."""
    kernels = server.kernel_manager
    states = [
        getattr(kernels.get_kernel(one), "execution_state", "") for one in kernels.list_kernel_ids()
    ]
    is_busy = "busy" in states
    if is_busy:
        server.web_app.settings["last_activity_times"]["busy_kernels"] = utcnow()
    return is_busy


def keep_awake(server: Any) -> None:  # noqa: ANN401 - jupyter_server's app is untyped here
    """Look again and again, as long as the server runs."""

    def look() -> None:
        note_busy(server)

    PeriodicCallback(look, 1000 * LOOK_SECONDS).start()
