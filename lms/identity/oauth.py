"""Use cases of OAuth: clients, grants and their tokens; the protocol itself is the api door's.

Codes and tokens are stored as sha256. A grant hangs on the sign-in it was made in: when that ends,
expires, or its person is disabled, the code and every token of the grant are worth nothing.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from lms.foundation.settings import Settings
from lms.identity.models import Person, SignIn
from lms.identity.oauth_models import OAuthClient, OAuthGrant, OAuthToken
from lms.identity.service import hash_token, is_touch_due, touch_sign_in

HUB_CLIENT_ID = "hub"
HUB_SCOPE = "openid profile"

CODE_SECONDS = 60
ACCESS_TOKEN_SECONDS = 600
#: A refresh token that was just exchanged works a little longer: the answer may have been lost, or
#: two requests may have come at once. Later use means that it was stolen, and ends the grant.
ROTATION_GRACE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRequest:
    """What a client asked for when it sent a person here."""

    client_id: str
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveGrant:
    """A grant that stands, with the person and the sign-in it hangs on."""

    grant: OAuthGrant
    person: Person
    sign_in: SignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveToken:
    """A token that stands, with its grant."""

    token: OAuthToken
    live: LiveGrant


def redirect_uris_of_hub(settings: Settings) -> list[str]:
    """Return the only address that the Hub's codes are sent to."""
    hub_url = settings.hub_url or f"http://localhost:{settings.hub_port}"
    return [f"{hub_url}/hub/oauth_callback"]


def ensure_hub_client(session: Session, settings: Settings, secret: str, *, now: datetime) -> None:
    """Register the Hub as a client, or bring its secret and addresses up to date."""
    client = session.get(OAuthClient, HUB_CLIENT_ID)
    if client is None:
        client = OAuthClient(client_id=HUB_CLIENT_ID, created_at=now)
        session.add(client)
    client.secret_hash = hash_token(secret)
    client.redirect_uris = redirect_uris_of_hub(settings)
    client.scope = HUB_SCOPE
    session.flush()


def find_client(session: Session, client_id: str) -> OAuthClient | None:
    """Return the client of that identifier."""
    return session.get(OAuthClient, client_id)


def secret_fits(client: OAuthClient, secret: str) -> bool:
    """Say whether `secret` is the client's, in constant time."""
    return hmac.compare_digest(client.secret_hash, hash_token(secret))


def grant(
    session: Session, sign_in: SignIn, asked: GrantRequest, code: str, *, now: datetime
) -> OAuthGrant:
    """Let the client in for the sign-in's person; `code` is what it exchanges for tokens."""
    made = OAuthGrant(
        client_id=asked.client_id,
        person_id=sign_in.person_id,
        sign_in_id=sign_in.id,
        code_hash=hash_token(code),
        redirect_uri=asked.redirect_uri,
        scope=asked.scope,
        nonce=asked.nonce,
        code_challenge=asked.code_challenge,
        created_at=now,
    )
    session.add(made)
    session.flush()
    return made


def is_nonce_used(session: Session, client_id: str, nonce: str) -> bool:
    """Say whether the client has sent this nonce before."""
    return (
        session.scalar(
            select(OAuthGrant.id).where(
                OAuthGrant.client_id == client_id, OAuthGrant.nonce == nonce
            )
        )
        is not None
    )


def find_redeemable(
    session: Session, code: str, client_id: str, *, now: datetime
) -> LiveGrant | None:
    """Return the grant of an unused code; a used one revokes its grant and all tokens of it.

    The caller must commit even when None comes back.
    """
    row = session.execute(
        _live_grants(now)
        .where(OAuthGrant.code_hash == hash_token(code), OAuthGrant.client_id == client_id)
        .with_for_update(of=OAuthGrant)
    ).first()
    if row is None:
        return None
    live = LiveGrant(grant=row[0], person=row[1], sign_in=row[2])
    if live.grant.redeemed_at is not None:
        live.grant.revoked_at = now
        return None
    if now - live.grant.created_at > timedelta(seconds=CODE_SECONDS):
        return None
    return live


def redeem(made: OAuthGrant, *, now: datetime) -> None:
    """Note that the grant's code is used up."""
    made.redeemed_at = now


def save_tokens(
    session: Session, made: OAuthGrant, access_token: str, refresh_token: str, *, now: datetime
) -> OAuthToken:
    """Store the hashes of a new pair of tokens."""
    token = OAuthToken(
        grant_id=made.id,
        access_hash=hash_token(access_token),
        refresh_hash=hash_token(refresh_token),
        issued_at=now,
        expires_at=now + timedelta(seconds=ACCESS_TOKEN_SECONDS),
    )
    session.add(token)
    session.flush()
    return token


def find_access(session: Session, access_token: str, *, now: datetime) -> LiveToken | None:
    """Return what a live access token stands for."""
    return _find_token(
        session,
        _live_tokens(now).where(
            OAuthToken.access_hash == hash_token(access_token),
            OAuthToken.revoked_at.is_(None),
            OAuthToken.expires_at > now,
        ),
    )


def find_refresh(session: Session, refresh_token: str, *, now: datetime) -> LiveToken | None:
    """Return what a refresh token stands for; an old one, long exchanged, revokes its grant.

    The caller must commit even when None comes back.
    """
    found = _find_token(
        session,
        _live_tokens(now)
        .where(OAuthToken.refresh_hash == hash_token(refresh_token))
        .with_for_update(of=OAuthToken),
    )
    if found is None:
        return None
    rotated_at = found.token.rotated_at
    if rotated_at is not None and now - rotated_at > ROTATION_GRACE:
        found.live.grant.revoked_at = now
        return None
    return found


def rotate(token: OAuthToken, *, now: datetime) -> None:
    """Note that the pair was exchanged for the next one: its access token stops at once."""
    if token.rotated_at is None:
        token.rotated_at = now
    token.revoked_at = token.revoked_at or now


def revoke(session: Session, token_text: str, client_id: str, *, now: datetime) -> None:
    """End the grant of an access or refresh token; one that is unknown changes nothing."""
    hashed = hash_token(token_text)
    grants = (
        select(OAuthToken.grant_id)
        .join(OAuthGrant, OAuthGrant.id == OAuthToken.grant_id)
        .where(
            (OAuthToken.access_hash == hashed) | (OAuthToken.refresh_hash == hashed),
            OAuthGrant.client_id == client_id,
        )
    )
    session.execute(
        update(OAuthGrant)
        .where(OAuthGrant.id.in_(grants.scalar_subquery()), OAuthGrant.revoked_at.is_(None))
        .values(revoked_at=now)
    )


def is_use_noted_late(live: LiveGrant, now: datetime) -> bool:
    """Say whether `note_use` is due."""
    return is_touch_due(live.sign_in, now)


def note_use(session: Session, live: LiveGrant, *, now: datetime, hours: int) -> None:
    """Count work at the client as use of the sign-in, lest it expire under someone's hands."""
    touch_sign_in(session, live.sign_in.id, now=now, hours=hours)


def generate_code() -> str:
    """Return a new authorisation code or token."""
    return secrets.token_urlsafe(36)


def groups_of(person: Person, roles: Sequence[tuple[str, str]]) -> list[str]:
    """Return the Hub groups of a person with `roles`, pairs of offering key and role."""
    groups = [f"offering:{key}:{role}" for key, role in roles]
    if person.is_admin:
        groups.append("administrators")
    return sorted(groups)


def _live_grants(now: datetime) -> Select[OAuthGrant, Person, SignIn]:
    return (
        select(OAuthGrant, Person, SignIn)
        .join(Person, Person.id == OAuthGrant.person_id)
        .join(SignIn, SignIn.id == OAuthGrant.sign_in_id)
        .where(
            OAuthGrant.revoked_at.is_(None),
            Person.disabled_at.is_(None),
            SignIn.ended_at.is_(None),
            SignIn.expires_at > now,
        )
    )


def _live_tokens(now: datetime) -> Select[OAuthGrant, Person, SignIn, OAuthToken]:
    return (
        _live_grants(now)
        .join(OAuthToken, OAuthToken.grant_id == OAuthGrant.id)
        .add_columns(OAuthToken)
    )


def _find_token(
    session: Session, query: Select[OAuthGrant, Person, SignIn, OAuthToken]
) -> LiveToken | None:
    row = session.execute(query).first()
    if row is None:
        return None
    live = LiveGrant(grant=row[0], person=row[1], sign_in=row[2])
    return LiveToken(token=row[3], live=live)
