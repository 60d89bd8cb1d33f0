"""Runs PyPI's configurable-http-proxy with answers that stream and whole websockets.

As it comes, it serves ten requests at once, gives up after 20 seconds, holds every answer in memory
until it is whole, unpacks what was compressed, drops the subprotocol that JupyterLab asks for
(every kernel's first connection fails), turns binary frames into text and does not pass on that a
server has closed a socket.
"""

import resource
import ssl
from typing import Any

from configurable_http_proxy import cli, configproxy
from configurable_http_proxy.cli import main
from configurable_http_proxy.handlers import ProxyHandler
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, websocket_connect

from lms.outposts.environment import process_environment
from lms.outposts.hub.place import HubPlace
from lms.outposts.hub.upstream import Upstream, forwarded, without_hops
from lms.outposts.tls.context import server_context

#: The Hub's pages for faults that are fetched at once, and the seconds for one.
MAX_FAULTS = 500
FAULT_SECONDS = 10.0
#: Largest websocket message in bytes: one output of a cell.
MAX_MESSAGE_BYTES = 128 << 20


class WholeProxyHandler(ProxyHandler):
    """Passes answers on as they come, and websockets as they are."""

    #: The websocket to the server behind, None while there is none.
    ws_client: Any
    #: The request to the server behind, None until it is made.
    _upstream: Upstream | None = None
    _is_begun = False
    _is_left = False

    async def call_proxy(self, path: str | None = None) -> None:
        """Ask the server behind, and pass its answer on piece by piece."""
        url = await self.get_target_url(path)
        if url is None:
            return
        self._upstream = Upstream(self, self.proxy.proxy_timeout)
        try:
            await self._upstream.ask(url, self._get_proxy_request(url))
        except (OSError, TimeoutError, StreamClosedError) as error:
            if self._is_left:
                return
            if not self._is_begun:
                await self.handle_proxy_error(503, error)
                return
            # A proper end would tell the browser that this half is all.
            self._connection.close()

    def _get_proxy_request(self, url: str) -> Any:  # noqa: ANN401 - an HTTPRequest, says no type
        request = super()._get_proxy_request(url)
        # As it comes, repeated headers and all that an outer proxy has said are lost.
        request.headers = forwarded(self.request, self.proxy.custom_headers)
        return request

    def begin(self, line: ResponseStartLine, headers: HTTPHeaders) -> None:
        """Send status and headers, as they are, before anything follows."""
        self._is_begun = True
        self.set_status(line.code, line.reason)
        for name in list(self._headers):
            self.clear_header(name)
        for name, value in without_hops(headers).get_all():
            self.add_header(name, value)
        # Small events must not wait until those before have been acknowledged.
        self._connection.stream.set_nodelay(True)
        self.flush()

    async def pass_on(self, piece: bytes) -> None:
        """Send a piece; returns when the browser's connection has taken it."""
        self.write(piece)
        await self.flush()

    def on_connection_close(self) -> None:
        """End the request behind when the browser has left."""
        self._is_left = True
        if self._upstream is not None:
            self._upstream.close()
        super().on_connection_close()

    @property
    def _connection(self) -> Any:  # noqa: ANN401 - tornado's interface shows neither stream nor close
        return self.request.connection

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
        max_clients=MAX_FAULTS,
        defaults={"request_timeout": FAULT_SECONDS, "connect_timeout": FAULT_SECONDS},
    )
    # A person who waits, or computes, holds two files for each request.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    routing: Any = configproxy
    routing.ProxyHandler = WholeProxyHandler
    place = HubPlace.from_env(process_environment())
    if place.certificate is not None:
        _serve_by_tls(place.hub_port, server_context(place.certificate))


def _serve_by_tls(port: int, context: ssl.SSLContext) -> None:
    """Let the server that browsers reach speak TLS, which the program has no option for yet."""

    class Server(HTTPServer):
        """One of the program's two servers: browsers', and the Hub's orders."""

        def listen(self, *where: Any, **more: Any) -> None:  # noqa: ANN401
            """Listen, by TLS where browsers come."""
            if where[0] == port:
                self.ssl_options = context
            super().listen(*where, **more)

    program: Any = cli
    program.HTTPServer = Server


if __name__ == "__main__":
    configure()
    main()
