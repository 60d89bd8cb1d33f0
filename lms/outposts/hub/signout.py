"""Ending a sign-in everywhere at the Hub: the cookie, its tokens, and what servers remember."""

from typing import Any

from jupyterhub.orm import new_token
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

#: Where a notebook server forgets who was signed in; served by lms.outposts.notebook.extension.
FORGET = "seodang/forget"
#: How long a server may take to forget before it is stopped instead, in seconds.
FORGET_SECONDS = 5.0


def retire_cookies(handler: Any, user: Any) -> None:  # noqa: ANN401
    """Make every Hub cookie of the person worthless, also copies of them.

    JupyterHub only asks the browser to drop its cookie; the value itself would stay good for two
    weeks. Other browsers of the person get a new cookie from their own sign-in at the LMS.
    """
    user.orm_user.cookie_id = new_token()
    handler.db.commit()


async def end_server_sessions(handler: Any, user: Any) -> None:  # noqa: ANN401
    """Tell the person's servers to forget who was signed in; one that does not answer is stopped.

    A server remembers a token it has checked for a while, and keeps open connections to kernels
    and terminals; deleting the token at the Hub alone would leave both.
    """
    for name, spawner in list(user.spawners.items()):
        if not spawner.ready or spawner.server is None:
            continue
        token = user.new_api_token(
            note="sign-out",
            expires_in=60,
            scopes=[f"access:servers!server={user.name}/{name}"],
        )
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
            handler.log.warning("Stopping %s: it did not forget (%s)", spawner._log_name, error)  # noqa: SLF001
            await handler.stop_single_user(user, name)
