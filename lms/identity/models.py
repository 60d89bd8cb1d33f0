"""Tables of people and their sign-ins. OAuth tables stand in oauth_models.py."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from lms.foundation.db import Base, Instant


class Person(Base):
    """Someone with an account."""

    __tablename__ = "person"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: Lower-case ASCII; also the name at the Hub and of the home folder. Never reused.
    username: Mapped[str] = mapped_column(String(32), unique=True)
    #: The name as the person writes it, NFC.
    display_name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    #: argon2 hash; None until a password is set.
    password_hash: Mapped[str | None] = mapped_column(String(200))
    is_admin: Mapped[bool] = mapped_column(default=False)
    #: OS user id of the person's notebook server; from the reserved range, never reused.
    os_uid: Mapped[int] = mapped_column(unique=True)
    #: "ko" or "en".
    locale: Mapped[str] = mapped_column(String(5), default="ko")
    created_at: Mapped[datetime] = mapped_column(Instant)
    disabled_at: Mapped[datetime | None] = mapped_column(Instant)
    must_change_password: Mapped[bool] = mapped_column(default=False)


class AccountName(Base):
    """A username and an OS user id that were given to somebody; rows are never deleted.

    A person's row may go one day, what it was called may not come back: files, logs and journals
    still say it.
    """

    __tablename__ = "account_name"

    username: Mapped[str] = mapped_column(String(32), primary_key=True)
    os_uid: Mapped[int] = mapped_column(unique=True)
    given_at: Mapped[datetime] = mapped_column(Instant)


class SignIn(Base):
    """One browser's sign-in; ending it ends every request that carries its token."""

    __tablename__ = "sign_in"

    id: Mapped[int] = mapped_column(primary_key=True)
    #: sha256 of the token in the cookie; the token itself is never stored.
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(Instant)
    last_seen_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)


class LoginAttempt(Base):
    """A failed log-in, kept for the rate limit."""

    __tablename__ = "login_attempt"
    __table_args__ = (Index("ix_login_attempt_key_at", "key", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    #: "name:<username>" or "from:<address>".
    key: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime] = mapped_column(Instant)
