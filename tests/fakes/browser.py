"""What a browser does with a page's form, for Flask's test client."""

import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse


def csrf_token(client: FlaskClient, page: str = "/login") -> str:
    """Return the token that the forms of `page` carry."""
    text = client.get(page, follow_redirects=True).text
    found = re.search(r'name="csrf_token" value="([^"]+)"', text)
    assert found, text
    return found[1]


def post(client: FlaskClient, path: str, page: str = "/login", **fields: str) -> TestResponse:
    """Send a form of `page` to `path`, with its token and our Origin."""
    return client.post(
        path,
        data={"csrf_token": csrf_token(client, page), **fields},
        headers={"Origin": "http://127.0.0.1:8123"},
    )
