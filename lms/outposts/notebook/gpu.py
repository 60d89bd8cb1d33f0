"""What a page is told of its kernels' GPUs, and what a person wishes for there.

No token and no address of the LMS goes to the page: it learns what each kernel's seat knows, and
the server asks the LMS in its name.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from lms.outposts.kernels import notices
from lms.outposts.kernels.seat import Seat, SeatState

#: Folder of our extension of JupyterLab; the server's configuration names it.
LAB_DIR = Path(__file__).parent / "lab"
_KERNEL = r"(?P<kernel_id>[0-9a-f-]{36})"


class _GpuHandler(APIHandler):
    """Knows the seats of this server's kernels."""

    auth_resource = "kernels"

    def _seats(self) -> Iterator[tuple[str, Seat]]:
        for kernel_id in self.kernel_manager.list_kernel_ids():
            seat = self._find_seat(kernel_id)
            if seat is not None:
                yield kernel_id, seat

    def _find_seat(self, kernel_id: str) -> Seat | None:
        kernels: Any = self.kernel_manager
        if kernel_id not in kernels:
            return None
        return getattr(kernels.get_kernel(kernel_id).provisioner, "seat", None)


class SeatsHandler(_GpuHandler):
    """Tells where each kernel with a GPU profile stands."""

    #: A page that only looks keeps no idle server alive.
    _track_activity = False

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Answer with one entry for each such kernel; who sees them needs no notice in a cell."""
        shown = {}
        for kernel_id, seat in self._seats():
            seat.see()
            notices.seen(kernel_id)
            shown[kernel_id] = view(seat)
        self.finish(json.dumps({"kernels": shown}))


class WishHandler(_GpuHandler):
    """Takes what the person wishes for a kernel that runs: a GPU, or none."""

    @web.authenticated
    @authorized
    async def post(self, kernel_id: str) -> None:
        """Ask for a GPU, or leave the queue; a kernel on a GPU leaves it when it restarts."""
        seat = self._find_seat(kernel_id)
        if seat is None:
            raise web.HTTPError(404, "This kernel has no GPU profile.")
        given = self.get_json_body()
        wants = given.get("wants") if isinstance(given, dict) else None
        if wants == "gpu":
            await seat.ask()
        elif wants == "cpu":
            await seat.decline()
        else:
            raise web.HTTPError(400, "A wish says “wants”: “gpu” or “cpu”.")
        self.finish(json.dumps(view(seat)))


def view(seat: Seat) -> dict[str, object]:
    """Return what the page shows of a seat."""
    lease = seat.lease
    shown: dict[str, object] = {
        "state": seat.state,
        "profile": seat.profile,
        "text": seat.text,
        "fault": seat.fault,
        "warning": seat.warning,
        "language": seat.language,
    }
    if lease is None:
        return shown
    shown |= {"simulated": lease.simulated, "devices": lease.devices}
    if seat.state is SeatState.WAITING:
        shown |= {
            "text": lease.text,
            "position": lease.position,
            "minutes": _minutes(lease.expected_wait_seconds),
            "offers": [_offer(one) for one in lease.offers],
        }
    else:
        shown |= {
            "until": None if lease.until is None else lease.until.isoformat(),
            "idle_seconds_allowed": lease.idle_seconds_allowed,
        }
    return shown


def _minutes(seconds: int | None) -> int | None:
    """Return what the LMS's sentence says as well."""
    return None if seconds is None else max(1, round(seconds / 60))


def _offer(offer: dict[str, Any]) -> dict[str, object]:
    return {key: offer.get(key) for key in ("kind", "text", "profile", "starts_at", "ends_at")}


def gpu_handlers(base_url: str) -> list[tuple[str, type[APIHandler]]]:
    """Return our handlers for a server at `base_url`."""
    return [
        (url_path_join(base_url, "seodang/gpu"), SeatsHandler),
        (url_path_join(base_url, f"seodang/gpu/{_KERNEL}"), WishHandler),
    ]
