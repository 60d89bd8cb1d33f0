"""Tables of OAuth: clients, authorisation codes, tokens. Hashes only, never a secret in clear."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lms.foundation.db import Base, Instant, Json


class OAuthClient(Base):
    """A program that people sign in to through us, such as the Hub."""

    __tablename__ = "oauth_client"

    #: The public identifier, such as "hub".
    client_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    #: sha256 of the secret, which is random and long: nothing to guess, so no slow hash.
    secret_hash: Mapped[str] = mapped_column(String(64))
    #: Exact addresses that codes may be sent to; the first is the default.
    redirect_uris: Mapped[list[str]] = mapped_column(Json)
    #: Space-separated scopes that the client may ask for.
    scope: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(Instant)


class OAuthGrant(Base):
    """One authorisation: a person, in one sign-in, let a client in; its code and its tokens."""

    __tablename__ = "oauth_grant"

    id: Mapped[int] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("oauth_client.client_id"))
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    sign_in_id: Mapped[int] = mapped_column(ForeignKey("sign_in.id"), index=True)
    #: sha256 of the authorisation code.
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    redirect_uri: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(String(200))
    nonce: Mapped[str | None] = mapped_column(String(255))
    #: PKCE, always S256.
    code_challenge: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(Instant)
    #: When the code was exchanged; a second time revokes the grant.
    redeemed_at: Mapped[datetime | None] = mapped_column(Instant)
    #: Ends the code and every token of the grant.
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)


class OAuthToken(Base):
    """A pair of access and refresh token of a grant."""

    __tablename__ = "oauth_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    grant_id: Mapped[int] = mapped_column(ForeignKey("oauth_grant.id"), index=True)
    #: sha256 of the access token.
    access_hash: Mapped[str] = mapped_column(String(64), unique=True)
    #: sha256 of the refresh token.
    refresh_hash: Mapped[str] = mapped_column(String(64), unique=True)
    issued_at: Mapped[datetime] = mapped_column(Instant)
    #: When the access token stops; the refresh token lives as long as the sign-in.
    expires_at: Mapped[datetime] = mapped_column(Instant)
    #: When the refresh token was exchanged for the next pair.
    rotated_at: Mapped[datetime | None] = mapped_column(Instant)
    #: When the access token alone was revoked.
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)
