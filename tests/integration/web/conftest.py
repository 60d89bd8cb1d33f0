"""The whole application over a small school, and browsers of its people."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from lms.bootstrap import System
from lms.foundation import clock
from lms.identity import service as identity
from lms.identity.access import SIGN_IN_KEY
from lms.identity.models import Person
from tests.factories.school import School, make_school
from tests.fakes.clock import Clock
from tests.integration.identity.conftest import (  # noqa: F401 - fixtures
    app,
    cheap_hashing,
    made_keys,
    make_app,
    system,
    ticking,
)

Browser = Callable[..., FlaskClient]


@pytest.fixture
def school(system: System, ticking: Clock) -> School:  # noqa: F811
    """A small school with something in every state."""
    with system.sessions() as session:
        return make_school(session, system.blobs, clock.now())


@pytest.fixture
def browse(app: Flask, system: System, school: School) -> Browser:  # noqa: F811
    """Open a browser, nobody's or that of a person who has signed in."""

    def browse(person: Person | None = None, language: str = "en") -> FlaskClient:
        client = app.test_client()
        client.environ_base["HTTP_ACCEPT_LANGUAGE"] = language
        if person is None:
            return client
        with system.sessions() as session:
            mine = session.get_one(Person, person.id)
            mine.locale = language
            token = identity.start_sign_in(
                session, mine, now=clock.now(), hours=12, address="127.0.0.1"
            )
            session.commit()
        with client.session_transaction() as cookie:
            cookie[SIGN_IN_KEY] = token
        return client

    return browse
