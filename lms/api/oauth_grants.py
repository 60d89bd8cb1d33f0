"""Authlib's seams filled with the identity room's rows: client, grants, PKCE, identity token.

One `Provider` serves one request, inside that request's transaction; nothing here outlives it.
"""

from datetime import datetime
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.flask_oauth2.requests import FlaskOAuth2Request
from authlib.oauth2.rfc6749 import ClientMixin, InvalidRequestError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from flask import request as flask_request
from joserfc.jwk import RSAKey
from sqlalchemy.orm import Session

from lms.identity import oauth
from lms.identity.models import Person, SignIn
from lms.identity.oauth_models import OAuthClient, OAuthGrant

SIGNING_ALGORITHM = "RS256"
_AUTH_METHODS = ["client_secret_basic"]


class ReceivedRequest(FlaskOAuth2Request):
    """A request as Authlib reads it, taken as secure.

    Authlib looks at the scheme of this hop and refuses plain http; whether the browser's hop is
    encrypted is decided by LMS_URL, which may stand behind an operator's TLS or on a school's LAN.
    """

    def __init__(self, request: Any) -> None:  # noqa: ANN401 - Flask's proxy
        # FlaskOAuth2Request reads url, method, headers, args, form and values.
        super().__init__(_AsHttps(request))


class _AsHttps:
    def __init__(self, request: Any) -> None:  # noqa: ANN401
        self._request = request
        self.url = "https:" + request.url.split(":", 1)[1]

    def __getattr__(self, name: str) -> object:
        return getattr(self._request, name)


class StoredClient(ClientMixin):
    """A registered client as Authlib asks it."""

    def __init__(self, row: OAuthClient) -> None:
        self.row = row

    def get_client_id(self) -> str:
        """Return the public identifier."""
        return self.row.client_id

    def get_default_redirect_uri(self) -> None:
        """Return nothing: OpenID Connect wants the address in every request."""
        return

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return the asked scopes that the client may have."""
        allowed = self.row.scope.split()
        return " ".join(name for name in (scope or "").split() if name in allowed)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Compare addresses letter by letter."""
        return redirect_uri in self.row.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare the secret."""
        return oauth.secret_fits(self.row, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Allow HTTP Basic at every endpoint, and nothing else."""
        del endpoint
        return method in _AUTH_METHODS

    def check_response_type(self, response_type: str) -> bool:
        """Allow the code flow."""
        return bool(response_type == "code")

    def check_grant_type(self, grant_type: str) -> bool:
        """Allow code and refresh token."""
        return grant_type in {"authorization_code", "refresh_token"}


class StoredCode:
    """A redeemable code as Authlib asks it."""

    code_challenge_method = "S256"

    def __init__(self, live: oauth.LiveGrant) -> None:
        self.live = live
        self.code_challenge = live.grant.code_challenge

    def get_redirect_uri(self) -> str:
        """Return where the code was sent."""
        return self.live.grant.redirect_uri

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.live.grant.scope

    def get_nonce(self) -> str | None:
        """Return what the client wants to see again in the identity token."""
        return self.live.grant.nonce

    def get_auth_time(self) -> int:
        """Return when the person gave the password, in Unix seconds."""
        return int(self.live.sign_in.created_at.timestamp())

    def get_acr(self) -> None:
        """Return no assurance level."""
        return

    def get_amr(self) -> list[str]:
        """Return how the person proved who they are."""
        return ["pwd"]


class StoredToken:
    """A live refresh token as Authlib asks it."""

    def __init__(self, found: oauth.LiveToken) -> None:
        self.found = found

    def check_client(self, client: StoredClient) -> bool:
        """Say whether the token was given to this client."""
        return self.found.live.grant.client_id == client.get_client_id()

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.found.live.grant.scope


class CodeGrant(AuthorizationCodeGrant):
    """Codes: kept as hashes, good once, for a minute; a second use ends what the first one gave."""

    TOKEN_ENDPOINT_AUTH_METHODS = _AUTH_METHODS
    server: "Provider"

    def save_authorization_code(self, code: str, request: Any) -> None:  # noqa: ANN401
        """Store the grant that `code` stands for."""
        if self.server.sign_in is None:
            raise InvalidRequestError("nobody is signed in")
        asked = oauth.GrantRequest(
            client_id=request.client.get_client_id(),
            redirect_uri=request.payload.redirect_uri,
            scope=request.scope,
            nonce=request.payload.data.get("nonce"),
            code_challenge=request.payload.data["code_challenge"],
        )
        oauth.grant(self.server.session, self.server.sign_in, asked, code, now=self.server.now)

    def query_authorization_code(self, code: str, client: StoredClient) -> StoredCode | None:
        """Return the code if it is good."""
        live = oauth.find_redeemable(
            self.server.session, code, client.get_client_id(), now=self.server.now
        )
        return None if live is None else StoredCode(live)

    def delete_authorization_code(self, authorization_code: StoredCode) -> None:
        """Note that the code is used up; the row stays, to notice a second use."""
        oauth.redeem(authorization_code.live.grant, now=self.server.now)

    def authenticate_user(self, authorization_code: StoredCode) -> Person:
        """Return whose code it is."""
        return authorization_code.live.person


class RefreshGrant(RefreshTokenGrant):
    """Refresh tokens: each use gives a new pair."""

    TOKEN_ENDPOINT_AUTH_METHODS = _AUTH_METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: "Provider"

    def authenticate_refresh_token(self, refresh_token: str) -> StoredToken | None:
        """Return the token if it is good."""
        found = oauth.find_refresh(self.server.session, refresh_token, now=self.server.now)
        return None if found is None else StoredToken(found)

    def authenticate_user(self, refresh_token: StoredToken) -> Person:
        """Return whose token it is."""
        return refresh_token.found.live.person

    def revoke_old_credential(self, refresh_token: StoredToken) -> None:
        """Retire the old pair."""
        oauth.rotate(refresh_token.found.token, now=self.server.now)


class RequireS256(CodeChallenge):
    """PKCE for every client, and only with S256; Authlib asks it of public clients alone."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]  # noqa: RUF012 - Authlib's own form

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:  # noqa: ANN401
        """Refuse a request without a challenge, or with a plain one."""
        asked = grant.request.payload.data
        if not asked.get("code_challenge") or not asked.get("code_challenge_method"):
            raise InvalidRequestError("PKCE with code_challenge_method=S256 is required")
        super().validate_code_challenge(grant, redirect_uri)


class SignedIdentity(OpenIDCode):
    """The identity token: who signed in, signed with our key."""

    def __init__(self, session: Session, issuer: str, key: RSAKey) -> None:
        super().__init__(require_nonce=False)
        self.session, self.issuer, self.key = session, issuer, key

    def exists_nonce(self, nonce: str, request: Any) -> bool:  # noqa: ANN401
        """Say whether the client has used the nonce before."""
        return oauth.is_nonce_used(self.session, request.payload.client_id, nonce)

    def resolve_client_private_key(self, client: StoredClient) -> RSAKey:
        """Return our signing key."""
        del client
        return self.key

    def get_client_algorithm(self, client: StoredClient) -> str:
        """Return the algorithm of our key."""
        del client
        return SIGNING_ALGORITHM

    def get_encode_header(self, client: StoredClient) -> dict[str, str]:
        """Return the token's header, which names the key."""
        del client
        return {"alg": SIGNING_ALGORITHM, "kid": self.key.kid or ""}

    def get_client_claims(self, client: StoredClient) -> dict[str, object]:
        """Return issuer and audience."""
        return {"iss": self.issuer, "aud": [client.get_client_id()]}

    def generate_user_info(self, user: Person, scope: str) -> dict[str, object]:
        """Return the claims about the person; groups stand in userinfo, where they are current."""
        del scope
        return identity_claims(user)


class Provider(AuthorizationServer):
    """The authorisation server for one request."""

    def __init__(
        self,
        session: Session,
        *,
        issuer: str,
        key: RSAKey,
        now: datetime,
        sign_in: SignIn | None = None,
    ) -> None:
        super().__init__()
        self.session, self.sign_in, self.now = session, sign_in, now
        self.scopes_supported = oauth.HUB_SCOPE.split()
        self.register_token_generator(
            "default", BearerTokenGenerator(_random, _random, oauth.ACCESS_TOKEN_SECONDS)
        )
        self.register_grant(CodeGrant, [RequireS256(), SignedIdentity(session, issuer, key)])
        self.register_grant(RefreshGrant)

    def query_client(self, client_id: str) -> StoredClient | None:
        """Return the client of that identifier."""
        row = oauth.find_client(self.session, client_id)
        return None if row is None else StoredClient(row)

    def save_token(self, token: dict[str, Any], request: Any) -> None:  # noqa: ANN401
        """Store the hashes of a new pair under its grant."""
        made = _grant_of(request)
        oauth.save_tokens(
            self.session, made, token["access_token"], token["refresh_token"], now=self.now
        )

    def create_oauth2_request(self, request: object) -> ReceivedRequest:
        """Return Flask's current request in Authlib's form."""
        del request
        return ReceivedRequest(flask_request)


def identity_claims(person: Person) -> dict[str, object]:
    """Return the claims that never change within a sign-in."""
    return {
        "sub": str(person.id),
        "preferred_username": person.username,
        "name": person.display_name,
    }


def _grant_of(request: Any) -> OAuthGrant:  # noqa: ANN401
    code = getattr(request, "authorization_code", None)
    if isinstance(code, StoredCode):
        return code.live.grant
    token: StoredToken = request.refresh_token
    return token.found.live.grant


def _random(**_about: object) -> str:
    return oauth.generate_code()
