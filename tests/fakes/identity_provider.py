"""A stand-in for the LMS as OpenID Connect provider: enough of it for the Hub, in a thread."""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

COOKIE = "seodang_test"


@dataclass
class Person:
    username: str
    os_uid: int = 200001
    groups: list[str] = field(default_factory=list)
    locale: str = ""


@dataclass
class IdentityProvider:
    """Who is signed in (by browser cookie) and which tokens stand."""

    client_secret: str
    redirect_uri: str
    url: str = ""
    sessions: dict[str, Person] = field(default_factory=dict)
    codes: dict[str, tuple[Person, str]] = field(default_factory=dict)
    tokens: dict[str, Person] = field(default_factory=dict)
    #: Requests to userinfo.
    asked: int = 0
    #: The Cookie header of every GET.
    cookies_seen: list[str] = field(default_factory=list)
    silent: bool = False

    def sign_in(self, person: Person) -> str:
        cookie = secrets.token_urlsafe(16)
        self.sessions[cookie] = person
        return cookie

    def sign_out_everywhere(self, username: str) -> None:
        for table in (self.sessions, self.tokens):
            for key, person in list(table.items()):
                if person.username == username:
                    del table[key]


class Handler(BaseHTTPRequestHandler):
    """Answers for the provider that serves it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    @property
    def provider(self) -> IdentityProvider:
        assert isinstance(self.server, _Server)
        return self.server.provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.provider.cookies_seen.append(self.headers.get("Cookie", ""))
        if self.provider.silent:
            self._answer(503, b"")
        elif parts.path == "/oauth/authorize":
            self._authorize(query)
        elif parts.path == "/oauth/userinfo":
            self._userinfo()
        else:
            self._answer(200, b"page " + parts.path.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {key: values[0] for key, values in parse_qs(body).items()}
        expected = base64.b64encode(f"hub:{self.provider.client_secret}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self._json(401, {"error": "invalid_client"})
            return
        person, challenge = self.provider.codes.pop(form.get("code", ""), (None, ""))
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if person is None or base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != challenge:
            self._json(400, {"error": "invalid_grant"})
            return
        token = secrets.token_urlsafe(16)
        self.provider.tokens[token] = person
        self._json(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def _authorize(self, query: dict[str, str]) -> None:
        if query.get("redirect_uri") != self.provider.redirect_uri:
            self._answer(400, b"redirect_uri does not match")
            return
        person = self.provider.sessions.get(self._cookie())
        if person is None:
            self._answer(200, b"please sign in at the LMS")
            return
        code = secrets.token_urlsafe(16)
        self.provider.codes[code] = (person, query["code_challenge"])
        back = urlencode({"code": code, "state": query["state"]})
        self._answer(302, b"", Location=f"{self.provider.redirect_uri}?{back}")

    def _userinfo(self) -> None:
        self.provider.asked += 1
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        person = self.provider.tokens.get(token)
        if person is None:
            self._json(401, {"error": "invalid_token"})
            return
        claims = {
            "sub": person.username,
            "preferred_username": person.username,
            "groups": person.groups,
            "locale": person.locale,
            "os_uid": person.os_uid,
        }
        self._json(200, claims)

    def _cookie(self) -> str:
        for item in self.headers.get("Cookie", "").split("; "):
            name, _, value = item.partition("=")
            if name == COOKIE:
                return value
        return ""

    def _json(self, status: int, value: object) -> None:
        self._answer(status, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    def __init__(self, port: int, provider: IdentityProvider) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.provider = provider


@contextmanager
def serving(provider: IdentityProvider, port: int) -> Iterator[IdentityProvider]:
    """Serve `provider` at 127.0.0.1 while the block runs."""
    server = _Server(port, provider)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
