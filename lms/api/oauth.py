"""The LMS as OpenID Connect provider: authorize, token, userinfo, keys, revocation.

Code flow with PKCE S256 only, exact redirect addresses, clients with a secret. There is no consent
page: the only clients are our own parts. The protocol's seams stand in oauth_grants.py.
"""

import json

from authlib.oauth2 import OAuth2Error
from flask import Blueprint, Flask, current_app, jsonify, request, session
from flask.typing import ResponseReturnValue
from joserfc.jwk import RSAKey
from sqlalchemy.orm import Session

from lms.api.database import reading, system, transaction
from lms.api.oauth_grants import SIGNING_ALGORITHM, Provider, identity_claims
from lms.enrolment import service as enrolment
from lms.enrolment.rules import EnrolmentState
from lms.foundation import clock
from lms.foundation.errors import InvalidError
from lms.foundation.settings import Settings
from lms.identity import keys, oauth
from lms.identity.access import SIGN_IN_KEY, machine, signed_in
from lms.identity.models import Person, SignIn
from lms.identity.service import find_sign_in
from lms.protocol.sentences import sentence

bp = Blueprint("oauth", __name__)

_KEY = "lms_oidc_key"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def init_oauth(app: Flask, settings: Settings) -> None:
    """Add the provider's addresses to `app`; loads the signing key, or makes it on first start."""
    app.extensions[_KEY] = RSAKey.import_key(
        json.loads(keys.load_web_keys(settings).oidc_signing_key)
    )
    app.register_blueprint(bp)


@bp.get("/.well-known/openid-configuration")
@machine
def discovery() -> ResponseReturnValue:
    """Tell clients where everything is and what is spoken here."""
    issuer = _issuer()
    return jsonify(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/oauth/authorize",
        token_endpoint=f"{issuer}/oauth/token",
        userinfo_endpoint=f"{issuer}/oauth/userinfo",
        jwks_uri=f"{issuer}/oauth/jwks.json",
        revocation_endpoint=f"{issuer}/oauth/revoke",
        scopes_supported=oauth.HUB_SCOPE.split(),
        response_types_supported=["code"],
        response_modes_supported=["query"],
        grant_types_supported=["authorization_code", "refresh_token"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=[SIGNING_ALGORITHM],
        token_endpoint_auth_methods_supported=["client_secret_basic"],
        revocation_endpoint_auth_methods_supported=["client_secret_basic"],
        code_challenge_methods_supported=["S256"],
        claims_supported=["sub", "preferred_username", "name", "groups", "os_uid", "locale"],
    )


@bp.get("/oauth/jwks.json")
@machine
def jwks() -> ResponseReturnValue:
    """Give out the public half of the signing key."""
    public = {**_signing_key().as_dict(private=False), "use": "sig", "alg": SIGNING_ALGORITHM}
    return jsonify(keys=[public])


@bp.get("/oauth/authorize")
@signed_in
def authorize() -> ResponseReturnValue:
    """Send the signed-in person back to the client with a code."""
    with transaction() as database:
        found = find_sign_in(database, session[SIGN_IN_KEY], now=clock.now())
        if found is None:
            raise InvalidError(sentence("Your sign-in has just ended. Please sign in again."))
        sign_in, person = found
        return _authorize(_provider(database, sign_in), person)


def _authorize(provider: Provider, person: Person) -> ResponseReturnValue:
    try:
        grant = provider.get_consent_grant(end_user=person)
    except OAuth2Error as error:
        if error.redirect_uri:
            answer: ResponseReturnValue = provider.handle_error_response(request, error)
            return answer
        # Never sent on to an address that is not the client's.
        raise InvalidError(
            sentence(
                "The notebook Hub asked for your sign-in in a way that is not accepted here "
                "(%(why)s). Start again from a course page; if it stays, tell the operator.",
                why=error.error,
            )
        ) from error
    response: ResponseReturnValue = provider.create_authorization_response(
        grant_user=person, grant=grant
    )
    return response


@bp.post("/oauth/token")
@machine
def token() -> ResponseReturnValue:
    """Exchange a code or a refresh token for a pair of tokens."""
    with transaction() as database:
        response: ResponseReturnValue = _provider(database).create_token_response()
        return response


@bp.route("/oauth/userinfo", methods=["GET", "POST"])
@machine
def userinfo() -> ResponseReturnValue:
    """Say who the bearer of a token is, with the groups of this moment."""
    now = clock.now()
    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    with reading() as database:
        found = (
            oauth.find_access(database, text.strip(), now=now) if kind.lower() == "bearer" else None
        )
        if found is None:
            return (
                jsonify(error="invalid_token"),
                401,
                {"WWW-Authenticate": 'Bearer error="invalid_token"', **_NO_STORE},
            )
        claims = _claims(database, found.live.person)
        live = found.live
    if oauth.is_use_noted_late(live, now):
        with transaction() as database:
            oauth.note_use(database, live, now=now, hours=system().settings.session_hours)
    return jsonify(claims), 200, _NO_STORE


@bp.post("/oauth/revoke")
@machine
def revoke() -> ResponseReturnValue:
    """End the grant that a token belongs to (RFC 7009); a token unknown here is ended already."""
    with transaction() as database:
        provider = _provider(database)
        asked = provider.create_oauth2_request(None)
        try:
            client = provider.authenticate_client(asked, ["client_secret_basic"], "revocation")
        except OAuth2Error as error:
            answer: ResponseReturnValue = provider.handle_error_response(asked, error)
            return answer
        text = request.form.get("token", "")
        if not text:
            return jsonify(error="invalid_request"), 400, _NO_STORE
        oauth.revoke(database, text, client.get_client_id(), now=clock.now())
    return jsonify({}), 200, _NO_STORE


def _claims(database: Session, person: Person) -> dict[str, object]:
    roles = [
        (offering.key, enrolment_row.role)
        for enrolment_row, offering in enrolment.list_enrolled(database, person.id)
        if enrolment_row.state == EnrolmentState.ACTIVE
    ]
    return {
        **identity_claims(person),
        "groups": oauth.groups_of(person, roles),
        "os_uid": person.os_uid,
        "locale": person.locale,
    }


def _provider(database: Session, sign_in: SignIn | None = None) -> Provider:
    return Provider(
        database, issuer=_issuer(), key=_signing_key(), now=clock.now(), sign_in=sign_in
    )


def _issuer() -> str:
    settings = system().settings
    return settings.lms_url or f"http://127.0.0.1:{settings.lms_port}"


def _signing_key() -> RSAKey:
    key = current_app.extensions[_KEY]
    if not isinstance(key, RSAKey):
        raise TypeError("init_oauth was not called")
    return key
