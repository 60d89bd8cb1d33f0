"""Runs PyPI's configurable-http-proxy with room for a class and whole websockets.

As it comes, it serves ten requests at once, gives up after 20 seconds, drops the subprotocol that
JupyterLab asks for (every kernel's first connection fails), turns binary frames into text and does
not pass on that a server has closed a socket.
"""

from typing import Any

from configurable_http_proxy import configproxy
from configurable_http_proxy.cli import main
from configurable_http_proxy.handlers import ProxyHandler
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.websocket import WebSocketClosedError, websocket_connect

#: Requests in progress at once; a page that waits must not keep others waiting.
MAX_REQUESTS = 2000
#: Seconds until a notebook server or the Hub must have answered, and accepted a connection.
ANSWER_SECONDS = 3600.0
CONNECT_SECONDS = 5.0
#: Largest answer in bytes: the proxy holds each in memory before it passes it on.
MAX_ANSWER_BYTES = 512 << 20
#: Largest websocket message in bytes: one output of a cell.
MAX_MESSAGE_BYTES = 128 << 20


class WholeProxyHandler(ProxyHandler):
    """Passes websockets on as they are."""

    #: The connection to the server behind, None while there is none.
    ws_client: Any

    @property
    def max_message_size(self) -> int:
        """Return how large a browser's message may be."""
        return MAX_MESSAGE_BYTES

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Agree to what the server behind has agreed to."""
        del subprotocols
        chosen: str | None = self.ws_client.selected_subprotocol
        return chosen

    async def start_ws_client(self, path: str | None = None) -> None:
        """Connect to the server behind before the browser's socket is accepted."""
        self.closed = False
        url = await self.get_target_url(path)
        if url is None:
            return
        request = self._get_proxy_request("ws" + url.removeprefix("http"))
        try:
            self.ws_client = await websocket_connect(
                request,
                on_message_callback=self._pass_back,
                max_message_size=MAX_MESSAGE_BYTES,
            )
        except HTTPClientError as error:
            self.set_status(error.code)
            self.finish(error.message)
        except Exception as error:
            await self.handle_proxy_error(503, error)
            raise

    def _pass_back(self, message: str | bytes | None) -> None:
        if message is None:
            self.close()
        elif not self.closed and self.ws_connection is not None:
            self._note_use()
            self.write_message(message, binary=isinstance(message, bytes))

    def on_message(self, message: str | bytes) -> None:
        """Pass a browser's message on."""
        if self.ws_client is None:
            return
        self._note_use()
        try:
            self.ws_client.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError:
            self.close()

    def on_close(self) -> None:
        """Close the server's side when the browser has gone."""
        self.closed = True
        if self.ws_client is not None:
            self.ws_client.close()
            self.ws_client = None

    def _note_use(self) -> None:
        prefix = self.target["prefix"] if self.target else ""
        if prefix:
            self.proxy.update_last_activity(prefix)


def configure() -> None:
    """Set what the program offers no options for."""
    AsyncHTTPClient.configure(
        "tornado.simple_httpclient.SimpleAsyncHTTPClient",
        max_clients=MAX_REQUESTS,
        max_buffer_size=MAX_ANSWER_BYTES,
        max_body_size=MAX_ANSWER_BYTES,
        defaults={"request_timeout": ANSWER_SECONDS, "connect_timeout": CONNECT_SECONDS},
    )
    routing: Any = configproxy
    routing.ProxyHandler = WholeProxyHandler


if __name__ == "__main__":
    configure()
    main()
