"""Ending a sign-in everywhere at the Hub: the cookie, its tokens, and what servers remember."""

import hashlib
import hmac
from typing import Any

from jupyterhub.orm import new_token
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

#: Name of the Hub's service, and role, in whose name servers are told to forget.
SERVICE = "sign-out"
#: Where a notebook server forgets who was signed in; served by lms.outposts.notebook.extension.
FORGET = "seodang/forget"
#: How long a server may take to forget before it is stopped instead, in seconds.
FORGET_SECONDS = 5.0


def sign_out_token(cookie_secret: str) -> str:
    """Return the service's token: the same at every start, and known to the Hub alone."""
    return hmac.new(cookie_secret.encode(), SERVICE.encode(), hashlib.sha256).hexdigest()


def retire_cookies(handler: Any, user: Any) -> None:  # noqa: ANN401
    """Make every Hub cookie of the person worthless, also copies of them.

    JupyterHub only asks the browser to drop its cookie; the value itself would stay good for two
    weeks. Other browsers of the person get a new cookie from their own sign-in at the LMS.
    """
    user.orm_user.cookie_id = new_token()
    handler.db.commit()


async def end_server_sessions(user: Any, token: str, log: Any) -> None:  # noqa: ANN401
    """Tell the person's servers to forget who was signed in; one that does not answer is stopped.

    A server remembers a token it has checked for a while, and keeps open connections to kernels
    and terminals; deleting the token at the Hub alone would leave both.
    """
    for name, spawner in list(user.spawners.items()):
        if not spawner.ready or spawner.server is None:
            continue
        request = HTTPRequest(
            spawner.server.url + FORGET,
            method="POST",
            body=b"",
            headers={"Authorization": f"token {token}"},
            connect_timeout=FORGET_SECONDS,
            request_timeout=FORGET_SECONDS,
        )
        try:
            await AsyncHTTPClient().fetch(request)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the session must end
            log.warning("Stopping the server of %s: it did not forget (%s)", user.name, error)
            await user.stop(name)
