"""A stand-in for the Hub that a lone notebook server asks at its start: it agrees to everything."""

import contextlib
import http.server
import threading
from collections.abc import Iterator

from jupyterhub import __version__

_AGREES = b'{"version": "1", "name": "a", "kind": "user", "scopes": ["access:servers"]}'


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-JupyterHub-Version", __version__)
        self.end_headers()
        self.wfile.write(_AGREES)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def small_hub() -> Iterator[int]:
    """Serve on loopback while the block runs; yields the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def server_environment(hub_port: int, port: int, name: str) -> dict[str, str]:
    """Return what the Hub would put into the environment of a server."""
    hub = f"http://127.0.0.1:{hub_port}/hub/api"
    prefix = f"/user/{name}/"
    return {
        "JUPYTERHUB_USER": name,
        "JUPYTERHUB_API_TOKEN": "do-not-tell-4711",
        "JUPYTERHUB_API_URL": hub,
        "JUPYTERHUB_ACTIVITY_URL": f"{hub}/users/{name}/activity",
        "JUPYTERHUB_BASE_URL": "/",
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{name}",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
        "JUPYTERHUB_SERVICE_PREFIX": prefix,
        "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{port}{prefix}",
        "JUPYTERHUB_HOST": "",
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:servers"]',
    }
