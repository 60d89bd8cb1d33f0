"""Where a notebook server on a node says on which port it listens.

batchspawner's own handler sets any attribute of the spawner that the request names, the command and
the job's script among them, and a learner has the token it asks for. It is taken out, and this one
takes a number alone, once a start, from the node that the job runs on.
"""

import hmac
from typing import Any

from jupyterhub.apihandlers import default_handlers
from jupyterhub.apihandlers.base import APIHandler
from tornado import web

FIRST_PORT, LAST_PORT = 1024, 65535
#: Below the Hub's /hub.
PATH = r"/api/seodang/port"
_BATCHSPAWNER = "batchspawner"


class PortError(Exception):
    """A port was refused; the text says why."""


class PortHandler(APIHandler):
    """Takes the port of the caller's own server."""

    @web.authenticated
    async def post(self) -> None:
        """Note the port; 400, 403 or 409 when it is not what a server of ours would say."""
        spawner = self._own_spawner()
        if spawner is None:
            raise web.HTTPError(403, "This token is no server's.")
        try:
            port = read_port(self.get_json_body())
        except PortError as error:
            raise web.HTTPError(400, str(error)) from error
        # Not `remote_ip`, which a header of the caller can set.
        peer = self.request.connection.stream.socket.getpeername()[0]
        try:
            await spawner.take_port(port, peer)
        except PortError as error:
            self.log.warning("Refused port %s of %s: %s", port, self.current_user.name, error)
            raise web.HTTPError(409, str(error)) from error
        self.set_status(204)

    def _own_spawner(self) -> Any:  # noqa: ANN401 - JupyterHub's
        token = self.get_auth_token() or ""
        spawners = getattr(self.current_user, "spawners", {})
        for spawner in spawners.values():
            own = spawner.api_token or ""
            if own and hmac.compare_digest(own, token) and hasattr(spawner, "take_port"):
                return spawner
        return None


def read_port(body: object) -> int:
    """Return the port of a request's body, which holds nothing else; raises PortError."""
    if not isinstance(body, dict) or set(body) != {"port"}:
        raise PortError("Say the port and nothing else.")
    port = body["port"]
    if not isinstance(port, int) or isinstance(port, bool) or not FIRST_PORT <= port <= LAST_PORT:
        raise PortError(f"A port is a whole number from {FIRST_PORT} to {LAST_PORT}.")
    return port


def replace_handlers() -> None:
    """Take batchspawner's handler out of what the Hub will serve, and put ours in."""
    default_handlers[:] = [
        handler
        for handler in default_handlers
        if not handler[1].__module__.startswith(_BATCHSPAWNER) and handler[1] is not PortHandler
    ]
    default_handlers.append((PATH, PortHandler))
