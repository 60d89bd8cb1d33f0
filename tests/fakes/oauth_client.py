"""A plain OAuth client, as the Hub is one: sends a browser, exchanges codes, asks who it is."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlencode, urlsplit

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

CALLBACK = "http://localhost:8223/hub/oauth_callback"


@dataclass
class OAuthClient:
    """One client with its secret; `server` is a connection of its own, without cookies."""

    server: FlaskClient
    secret: str
    client_id: str = "hub"
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def challenge(self) -> str:
        """The S256 challenge of the verifier."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def authorize(self, browser: FlaskClient, **changes: str | None) -> TestResponse:
        """Send the browser to the provider; None drops a parameter."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": CALLBACK,
            "scope": "openid profile",
            "state": "the-state",
            "nonce": secrets.token_urlsafe(8),
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
        }
        asked |= changes
        sent = {name: value for name, value in asked.items() if value is not None}
        return browser.get("/oauth/authorize?" + urlencode(sent))

    def code(self, browser: FlaskClient) -> str:
        """Return the code that the browser brings back."""
        answer = self.authorize(browser)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.location)
        assert f"{back.scheme}://{back.netloc}{back.path}" == CALLBACK
        found = parse_qs(back.query)
        assert found["state"] == ["the-state"]
        return found["code"][0]

    def exchange(self, code: str, /, **changes: str) -> TestResponse:
        """Exchange a code."""
        sent = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": self.verifier,
        }
        return self._token(sent | changes)

    def refresh(self, refresh_token: str) -> TestResponse:
        """Exchange a refresh token."""
        return self._token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def tokens(self, browser: FlaskClient) -> dict[str, str]:
        """Go the whole way; return the pair of tokens."""
        answer = self.exchange(self.code(browser))
        assert answer.status_code == 200, answer.text
        found = answer.json
        assert isinstance(found, dict)
        return found

    def userinfo(self, access_token: str) -> TestResponse:
        """Ask who the token stands for."""
        return self.server.get(
            "/oauth/userinfo", headers={"Authorization": f"Bearer {access_token}"}
        )

    def revoke(self, token: str) -> TestResponse:
        """Give a token back."""
        return self.server.post(
            "/oauth/revoke", data={"token": token}, auth=(self.client_id, self.secret)
        )

    def _token(self, sent: dict[str, str]) -> TestResponse:
        return self.server.post("/oauth/token", data=sent, auth=(self.client_id, self.secret))
