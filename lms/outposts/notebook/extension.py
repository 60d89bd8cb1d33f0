"""Our part of a notebook server: opens an assignment, and forgets who was signed in."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from lms.outposts.environment import process_environment
from lms.outposts.notebook.activity import keep_awake
from lms.outposts.notebook.assignment_list import install_assignment_list
from lms.outposts.notebook.client import ExchangeApi, ExchangeApiError
from lms.outposts.notebook.folders import fill_folder, find_notebooks
from lms.outposts.notebook.gpu import gpu_handlers
from lms.outposts.notebook.place import NotebookPlace, find_place
from lms.outposts.notebook.upkeep import Upkeep

#: Longest key of an offering or assignment.
MAX_KEY = 64


class OpenHandler(JupyterHandler):
    """Fetches an assignment's missing files and lands in JupyterLab on its notebook."""

    def initialize(self, place: NotebookPlace, upkeep: Upkeep) -> None:
        """Take the place that the extension found, and who keeps its files up to date."""
        self.place = place
        self.upkeep = upkeep

    @web.authenticated
    async def get(self) -> None:
        """Answer the link that the LMS's 'Open notebook' leads to."""
        offering = _key(self.get_query_argument("offering"))
        assignment = _key(self.get_query_argument("assignment"))
        notebook = self.get_query_argument("notebook", "")
        try:
            open_files = self.upkeep.open_files()
            landing = await asyncio.to_thread(
                self._fetch, offering, assignment, notebook, open_files
            )
        except ExchangeApiError as error:
            raise web.HTTPError(error.status or 503, str(error), reason="Not opened") from error
        self.redirect(url_path_join(self.base_url, "lab", "tree", quote(landing)))

    def _fetch(
        self, offering: str, assignment: str, notebook: str, open_files: frozenset[Path]
    ) -> str:
        """Return the path under the home to land on."""
        release = ExchangeApi(self.place.lms_url, self.place.token).fetch_release(
            offering, assignment
        )
        folder = self.place.courses_dir / offering / assignment
        if folder.is_dir():
            self.upkeep.bring_up_to_date(folder, release.digest, open_files)
        else:
            self.upkeep.corrections.remember(folder, release.digest)
        fill_folder(folder, release.files)
        names = find_notebooks(release.files)
        landing = f"courses/{offering}/{assignment}"
        if not names:
            return landing
        return f"{landing}/{notebook if notebook in names else names[0]}.ipynb"


class ForgetHandler(JupyterHandler):
    """Forgets every token that was checked, and closes open kernels' and terminals' sockets.

    The Hub asks for it when a person signs out. Browsers that are still signed in connect again
    by themselves; kernels and terminals run on.
    """

    @web.authenticated
    async def post(self) -> None:
        """Forget."""
        identity: Any = self.identity_provider
        identity.hub_auth.cache.clear()
        # Not its close_all: that lets go of the kernel and leaves the browser's socket open.
        kernels = self.settings["kernel_websocket_connection_class"]
        for connection in list(getattr(kernels, "_open_sockets", ())):
            connection.websocket_handler.close()
        terminals = self.settings.get("terminal_manager")
        for terminal in getattr(terminals, "terminals", {}).values():
            for client in list(terminal.clients):
                client.close()
        self.set_status(204)
        self.finish()


def load_extension(server: Any) -> None:  # noqa: ANN401 - jupyter_server's app is untyped here
    """Add our handlers to the server; called by Jupyter Server."""
    place = find_place()
    place.courses_dir.mkdir(parents=True, exist_ok=True)
    upkeep = Upkeep(server, place)
    upkeep.start()
    keep_awake(server)
    install_assignment_list(server, upkeep)
    # Our extension of JupyterLab shows it, once a page.
    page = server.web_app.settings.setdefault("page_config_data", {})
    # Environments are read-only; whether JupyterLab wants to be built anew is nobody's question. A
    # page that opens would have its server start node for that, which costs 0.4 s of CPU.
    page.update(buildAvailable=False, buildCheck=False)
    page["seodangNotice"] = process_environment().get("LMS_HOME_NOTICE", "")
    base = server.web_app.settings["base_url"]
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, "seodang/open"), OpenHandler, {"place": place, "upkeep": upkeep}),
            (url_path_join(base, "seodang/forget"), ForgetHandler),
            *gpu_handlers(base),
        ],
    )


def _key(text: str) -> str:
    """Return `text` if it can be the name of one folder; raises HTTPError."""
    if (
        not text
        or text.startswith(".")
        or any(bad in text for bad in "/\\\0")
        or len(text) > MAX_KEY
    ):
        raise web.HTTPError(400, "The link names no assignment.")
    return text
