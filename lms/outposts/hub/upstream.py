"""One request of the proxy to a server behind it, whose answer is handed on as it comes.

Not tornado's AsyncHTTPClient: a request there cannot be ended while its server says nothing, and
those in progress at once are counted, so that people who wait would use up everyone's places.
"""

import ssl
import sys
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httpclient import HTTPRequest
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
    split_host_and_port,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

#: Seconds until a server must have accepted a connection, and begun to answer.
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 3600.0
_OK = 200
#: Headers that belong to one connection only, and those that `Connection` names.
_HOPS = (
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)


class Receiver(Protocol):
    """Who takes the answer."""

    def begin(self, line: ResponseStartLine, headers: HTTPHeaders) -> None:
        """Take status and headers."""

    def pass_on(self, piece: bytes) -> Awaitable[None]:
        """Take a piece; no more is read until this is done."""


class Upstream(HTTPMessageDelegate):
    """A request, from its connection to the last piece of its answer."""

    def __init__(self, receiver: Receiver, answer_seconds: float | None = None) -> None:
        self._receiver = receiver
        self._answer_seconds = answer_seconds or ANSWER_SECONDS
        self._stream: IOStream | None = None
        self._is_whole = False
        self._is_closed = False

    async def ask(self, url: str, request: HTTPRequest) -> None:
        """Send `request` to `url` and hand the answer on.

        Raises OSError or StreamClosedError when no answer came, or a part of one.
        """
        parts = urlsplit(url)
        secure = ssl.create_default_context() if parts.scheme == "https" else None
        host, port = split_host_and_port(parts.netloc)
        stream = self._stream = await TCPClient().connect(
            host.strip("[]"),
            port or (443 if secure else 80),
            ssl_options=secure,
            timeout=CONNECT_SECONDS,
        )
        if self._is_closed:
            stream.close()
        limits = HTTP1ConnectionParameters(
            no_keep_alive=True,
            header_timeout=self._answer_seconds,
            # Nothing of it is kept, so it may be of any size.
            max_body_size=sys.maxsize,
        )
        connection = HTTP1Connection(stream, is_client=True, params=limits)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            body = request.body
            connection.write_headers(
                RequestStartLine(str(request.method), target, ""),
                _request_headers(request, parts.netloc, body),
            )
            if body:
                connection.write(body)
            connection.finish()
            await connection.read_response(self)
        finally:
            stream.close()
        if not self._is_whole or stream.error is not None:
            raise StreamClosedError(real_error=stream.error)

    def close(self) -> None:
        """End the request, whatever it waits for."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.close()

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:  # noqa: ANN401 - of either
        """Hand status and headers on."""
        # What comes before an answer ("100 Continue") is between the server and us.
        if start_line.code >= _OK:
            self._receiver.begin(start_line, headers)

    async def data_received(self, chunk: bytes) -> None:
        """Hand a piece on, and read no further until it is taken."""
        try:
            await self._receiver.pass_on(chunk)
        except StreamClosedError:
            self.close()

    def finish(self) -> None:
        """Note that the answer was whole."""
        self._is_whole = True


def without_hops(headers: HTTPHeaders) -> HTTPHeaders:
    """Return the headers without those that are about one connection only."""
    named = [name.strip() for name in headers.get("Connection", "").split(",")]
    dropped = {name.lower() for name in (*_HOPS, *named)}
    kept = HTTPHeaders()
    for name, value in headers.get_all():
        if name.lower() not in dropped:
            kept.add(name, value)
    return kept


def forwarded(request: HTTPServerRequest, custom: Mapping[str, str]) -> HTTPHeaders:
    """Return the headers of a browser's request, with what we know of the browser."""
    headers = request.headers.copy()
    known = {
        "X-Forwarded-For": request.remote_ip,
        "X-Forwarded-Proto": request.protocol,
        "X-Forwarded-Port": str(urlsplit(f"//{request.host}").port or ""),
    }
    for name, value in known.items():
        headers[name] = ",".join(part for part in (headers.get(name), value) if part)
    headers.setdefault("X-Forwarded-Host", request.host)
    headers.update(custom)
    return headers


def _request_headers(request: HTTPRequest, netloc: str, body: bytes | None) -> HTTPHeaders:
    headers = without_hops(request.headers)
    # The browser was told to go on before its request came here.
    headers.pop("Expect", None)
    headers.setdefault("Host", netloc)
    headers["Connection"] = "close"
    if body or request.method in {"POST", "PUT", "PATCH"}:
        headers["Content-Length"] = str(len(body or b""))
    return headers
