"""On a node: choose a port, tell the Hub, become the notebook server."""

import http.client
import json
import os
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from jupyterhub.utils import random_port

from lms.outposts.environment import process_environment

#: The Hub may not know yet which job it has just handed in.
_TRIES, _PAUSE_SECONDS, _TIMEOUT = 30, 1.0, 10.0


def tell_port(env: Mapping[str, str], port: int) -> str:
    """Tell the Hub the port; return this node's address on the way to it. Raises OSError."""
    api = urlsplit(env["JUPYTERHUB_API_URL"])
    kind = http.client.HTTPSConnection if api.scheme == "https" else http.client.HTTPConnection
    connection = kind(api.hostname or "", api.port, timeout=_TIMEOUT)
    try:
        connection.connect()
        address = str(connection.sock.getsockname()[0])
        connection.request(
            "POST",
            f"{api.path.rstrip('/')}/seodang/port",
            body=json.dumps({"port": port}),
            headers={
                "Authorization": f"token {env['JUPYTERHUB_API_TOKEN']}",
                "Content-Type": "application/json",
            },
        )
        answer = connection.getresponse()
        said = answer.read().decode(errors="replace")
        if answer.status != http.HTTPStatus.NO_CONTENT:
            raise OSError(f"the Hub answered {answer.status}: {said}")
    finally:
        connection.close()
    return address


def listening_url(url: str, address: str, port: int) -> str:
    """Return the server's own address with the node's in it: it listens there alone."""
    parts = urlsplit(url)
    host = f"[{address}]" if ":" in address else address
    return urlunsplit(parts._replace(netloc=f"{host}:{port}"))


def main() -> None:
    """Become the server, or end with a line in the job's log."""
    env = process_environment()
    port = random_port()
    for rest in reversed(range(_TRIES)):
        try:
            address = tell_port(env, port)
            break
        except OSError as error:
            if not rest:
                raise SystemExit(f"The Hub did not take this server's port: {error}") from error
        time.sleep(_PAUSE_SECONDS)
    url = listening_url(env["JUPYTERHUB_SERVICE_URL"], address, port)
    words = [sys.executable, "-P", "-m", "jupyterhub.singleuser", *sys.argv[1:]]
    # In this process's place, so that Slurm's signals reach the server.
    os.execve(  # noqa: S606
        sys.executable, words, {**env, "JUPYTERHUB_SERVICE_URL": url}
    )


if __name__ == "__main__":
    main()
