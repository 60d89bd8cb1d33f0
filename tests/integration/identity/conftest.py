"""The whole application over an empty database, and people to sign in as."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from lms.bootstrap import System, build
from lms.cli.wsgi import make_application
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.settings import Settings
from lms.identity import passwords
from lms.identity import service as identity
from lms.identity.keys import load_web_keys
from lms.identity.scopes import SYSTEM
from lms.web.database import db
from tests.fakes.browser import post
from tests.fakes.clock import Clock

PASSWORD = "four plain words here"


@pytest.fixture(autouse=True)
def cheap_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash in a millisecond; the real parameters have a test of their own."""
    monkeypatch.setattr(
        passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    )


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch, now: datetime) -> Clock:
    """A clock that tests move; the whole application reads it."""
    ticking = Clock(now)
    monkeypatch.setattr(clock, "now", ticking)
    return ticking


@pytest.fixture(scope="session")
def made_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys made once: finding primes takes longer than a test."""
    data_dir = tmp_path_factory.mktemp("keys")
    load_web_keys(Settings(data_dir=data_dir))
    return data_dir / "keys"


@pytest.fixture
def system(engine: Engine, tmp_path: Path, made_keys: Path) -> Iterator[System]:
    """The system on the empty database."""
    shutil.copytree(made_keys, tmp_path / "data" / "keys")
    settings = Settings(
        data_dir=tmp_path / "data",
        lms_port=8123,
        hub_port=8223,
        lms_url="http://127.0.0.1:8123",
        hub_url="http://localhost:8223",
        database_url=engine.url.render_as_string(hide_password=False),
    )
    system = build(settings)
    yield system
    system.engine.dispose()


MakeApp = Callable[..., Flask]


@pytest.fixture
def make_app(system: System, ticking: Clock) -> Iterator[MakeApp]:
    """Make applications over the database, with settings of their own; the Hub seems to answer."""
    made: list[tuple[System, Flask]] = []

    def make_app(*, lms_url: str = "", hub_url: str = "") -> Flask:
        mine = system.settings
        wired = build(
            replace(mine, lms_url=lms_url or mine.lms_url, hub_url=hub_url or mine.hub_url)
        )
        app = make_application(wired)
        app.testing = True
        app.extensions["lms_hub_check"] = lambda _settings: None
        made.append((wired, app))
        return app

    yield make_app
    for wired, app in made:
        wired.engine.dispose()
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """The application."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser that has not signed in."""
    return app.test_client()


@dataclass
class People:
    """Makes accounts whose password is PASSWORD."""

    system: System

    def add(self, username: str, *, is_admin: bool = False, name: str = "") -> int:
        """Add a person and return their id."""
        with transaction(self.system.sessions) as session:
            person, _ = identity.add_person(
                session,
                username,
                name or username.title(),
                actor=SYSTEM,
                now=clock.now(),
                uids=self.system.settings.uids,
                password=PASSWORD,
                is_admin=is_admin,
            )
            return person.id


@pytest.fixture
def people(system: System, ticking: Clock) -> People:
    """A way to make accounts."""
    return People(system)


SignInPage = Callable[..., FlaskClient]


@pytest.fixture
def sign_in(app: Flask) -> SignInPage:
    """Open a new browser and sign in through the page."""

    def sign_in(username: str, password: str = PASSWORD) -> FlaskClient:
        client = app.test_client()
        answer = post(client, "/login", username=username, password=password)
        assert answer.status_code == 302, answer.text
        return client

    return sign_in
