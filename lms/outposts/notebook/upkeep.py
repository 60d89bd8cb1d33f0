"""Corrections in a running notebook server: looked for now and then, and when a file is saved."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tornado.ioloop import PeriodicCallback

from lms.outposts.notebook.cells import is_notebook
from lms.outposts.notebook.client import ExchangeApi, ExchangeApiError
from lms.outposts.notebook.corrections import Corrections
from lms.outposts.notebook.place import NotebookPlace

#: Milliseconds between two looks; each server adds up to a tenth, so that they do not ask at once.
_EVERY = 10 * 60 * 1000
_LOG = logging.getLogger("lms.notebook")


class Upkeep:
    """Keeps the fetched assignments of this server's person up to date."""

    def __init__(self, server: Any, place: NotebookPlace) -> None:  # noqa: ANN401 (untyped here)
        self._server = server
        self._place = place
        self.corrections = Corrections(place.home, self._api)
        self._periodic = PeriodicCallback(self._look, _EVERY, jitter=0.1)

    def start(self) -> None:
        """Look once soon and then now and then, and correct open notebooks as they are saved."""
        self._server.contents_manager.register_pre_save_hook(self._before_save)
        self._server.io_loop.add_callback(self._look)
        self._server.io_loop.add_callback(self._periodic.start)

    def _api(self) -> ExchangeApi:
        return ExchangeApi(self._place.lms_url, self._place.token)

    async def _look(self) -> None:
        open_files = self.open_files()
        await asyncio.to_thread(self.bring_all_up_to_date, open_files)

    def bring_all_up_to_date(self, open_files: Iterable[Path]) -> None:
        """Look at every fetched assignment; what fails is logged and tried again next time."""
        waiting = frozenset(open_files)
        for course in _folders(self._place.courses_dir):
            self.bring_course_up_to_date(course.name, waiting)

    def bring_course_up_to_date(self, offering: str, open_files: Iterable[Path]) -> None:
        """Look at the fetched assignments of one offering."""
        fetched = _folders(self._place.courses_dir / offering)
        if not fetched:
            return
        try:
            listed = self._api().list_assignments(offering)
        except ExchangeApiError as error:
            _LOG.info("no corrections for %s: %s", offering, error)
            return
        released = {str(item.get("name")): str(item.get("release") or "") for item in listed}
        for folder in fetched:
            if released.get(folder.name):
                self.bring_up_to_date(folder, released[folder.name], open_files)

    def bring_up_to_date(self, folder: Path, digest: str, open_files: Iterable[Path]) -> None:
        """Correct one fetched folder; what fails is logged and tried again next time."""
        try:
            written = self.corrections.bring_up_to_date(
                folder, digest, open_files=frozenset(open_files)
            )
        except (ExchangeApiError, OSError) as error:
            _LOG.warning("%s could not be corrected: %s", folder, error)
            return
        if written:
            _LOG.info("corrected %s: %s", folder, ", ".join(written))

    def open_files(self) -> frozenset[Path]:
        """Return the notebooks that a browser has open; only the event loop's thread may ask.

        A session without connections is a kernel that was left running: nobody looks at it.
        """
        root = Path(self._server.root_dir)
        kernels = self._server.kernel_manager
        rows = self._server.session_manager.cursor.execute("SELECT path, kernel_id FROM session")
        connections = {path: _connections(kernels, kernel_id) for path, kernel_id in rows}
        return frozenset(root / path for path, count in connections.items() if count)

    def _before_save(self, *, path: str, model: dict[str, Any], **_: object) -> None:
        target = Path(self._server.root_dir) / path.strip("/")
        is_ours = target.parent.parent.parent == self._place.courses_dir
        if not is_ours or model.get("type") != "notebook" or not is_notebook(model.get("content")):
            return
        try:
            model["content"] = self.corrections.on_save(target, dict(model["content"]))
        except Exception:  # noqa: BLE001 (a save must go through, whatever happens to a correction)
            _LOG.exception("%s was saved without its correction", target)


def _connections(kernels: Any, kernel_id: str) -> int:  # noqa: ANN401 (untyped here)
    if kernel_id not in kernels:
        return 0
    return int(kernels.kernel_model(kernel_id).get("connections", 0))


def _folders(parent: Path) -> list[Path]:
    """Return the folders in `parent` that are no links."""
    if not parent.is_dir():
        return []
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
