"""A server's TLS context that takes up a renewed certificate without a restart."""

import ssl
from pathlib import Path


def server_context(path: Path) -> ssl.SSLContext:
    """Return a context for the key and certificate in `path`, looked at before each handshake."""
    return _Renewing(path).context


class _Renewing:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = 0
        self._newest = self.context = self._load()
        self.context.sni_callback = self._choose

    def _load(self) -> ssl.SSLContext:
        self._seen = self._path.stat().st_mtime_ns
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._path)
        return context

    def _choose(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        if self._path.stat().st_mtime_ns != self._seen:
            self._newest = self._load()
        connection.context = self._newest
