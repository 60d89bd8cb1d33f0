"""Who a person is at the Hub: what the LMS says, asked again every minute."""

import asyncio
import time
from typing import Any

from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthLogoutHandler
from tornado.httpclient import HTTPClientError
from traitlets import Integer, Unicode

from lms.outposts.hub.signout import end_server_sessions, retire_cookies

#: An answer of `refresh_user`: a fresh model, True for "as before", False for "sign in again".
Verdict = dict[str, Any] | bool


class SignOutHandler(OAuthLogoutHandler):
    """Ends the Hub's cookies and every session of the person's servers, then returns to the LMS."""

    async def get_current_user(self) -> Any:  # noqa: ANN401
        """Return whom the cookie names, without asking the LMS.

        The LMS has ended the sign-in before it sends the browser here. Asked again it would say no,
        nobody would be signed out, and the next sign-in of the same person would revive the cookie.
        """
        if not hasattr(self, "_jupyterhub_user"):
            self._jupyterhub_user = self.get_current_user_cookie()
        return self._jupyterhub_user

    async def default_handle_logout(self) -> None:
        """End the browser's tokens first, so that a server that asks again is told no."""
        user = self.current_user
        await super().default_handle_logout()
        if user is not None:
            retire_cookies(self, user)
            await end_server_sessions(user, self.authenticator.sign_out_token, self.log)


class LmsAuthenticator(GenericOAuthenticator):
    """The LMS as OpenID Connect provider, with its groups and its sign-out."""

    logout_handler = SignOutHandler

    lms_url = Unicode(help="Address of the LMS as this process and browsers reach it.").tag(
        config=True
    )
    sign_out_token = Unicode(help="Token of the service that ends sessions.").tag(config=True)
    grace_seconds = Integer(
        600,
        help="How long people keep the Hub while the LMS does not answer.",
    ).tag(config=True)

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        #: Username -> when the LMS last said yes (monotonic seconds).
        self._confirmed: dict[str, float] = {}
        #: Username -> what the last check in the background found, until it was acted upon.
        self._refused: set[str] = set()
        self._checks: dict[str, asyncio.Task[None]] = {}

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:  # noqa: ANN401
        """Return the model of who has just signed in at the LMS."""
        model = await super().authenticate(handler, data, **kwargs)
        if model:
            self._confirmed[model["name"]] = time.monotonic()
            self._refused.discard(model["name"])
        return model

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Verdict:  # noqa: ANN401
        """Ask the LMS whether the person is still signed in; keep the old answer if it is silent.

        "Whose token is this?" is answered by the last check while the next one runs by itself:
        the LMS asks that while it serves a person, and a Hub that made it wait for a question
        back to the LMS could stop both.
        """
        if handler is not None and _only_asks_who(handler):
            if user.name in self._refused:
                return False
            self._check_later(user)
            return True
        return await self._ask(user, handler, **kwargs)

    async def _ask(self, user: Any, handler: Any, **kwargs: Any) -> Verdict:  # noqa: ANN401
        try:
            verdict: Verdict = await super().refresh_user(user, handler, **kwargs)
        except HTTPClientError as error:
            # 599: no connection or no answer in time. The LMS may be restarting.
            self.log.warning("The LMS did not answer about %s: %s", user.name, error)
            verdict = self._within_grace(user.name)
        except OSError as error:
            self.log.warning("The LMS cannot be reached about %s: %s", user.name, error)
            verdict = self._within_grace(user.name)
        else:
            if verdict:
                self._confirmed[user.name] = time.monotonic()
        if verdict:
            self._refused.discard(user.name)
        else:
            self._refused.add(user.name)
        return verdict

    def _within_grace(self, name: str) -> bool:
        return time.monotonic() - self._confirmed.setdefault(name, time.monotonic()) < (
            self.grace_seconds
        )

    def _check_later(self, user: Any) -> None:  # noqa: ANN401
        running = self._checks.get(user.name)
        if running is None or running.done():
            self._checks[user.name] = asyncio.create_task(self._check(user))

    async def _check(self, user: Any) -> None:  # noqa: ANN401
        verdict = await self._ask(user, None)
        if isinstance(verdict, dict):
            # A refreshed token must be kept, or the next check would use the old one.
            await user.save_auth_state(verdict["auth_state"])
        if not verdict:
            # Zero means "never refreshed": the very next request asks, and is refused.
            user._auth_refreshed = 0  # noqa: SLF001 - JupyterHub offers no other way to say so
            # Servers would go on believing what they were told a moment ago.
            await end_server_sessions(user, self.sign_out_token, self.log)


def _only_asks_who(handler: Any) -> bool:  # noqa: ANN401
    by_token = getattr(handler, "_token_authenticated", False)
    return bool(by_token and handler.request.path.endswith("/api/user"))


def oauth_settings(lms_url: str, hub_url: str, client_secret: str) -> dict[str, object]:
    """Return the authenticator's traits for the LMS at `lms_url`."""
    return {
        "lms_url": lms_url,
        "login_service": "Seodang",
        "client_id": "hub",
        "client_secret": client_secret,
        "authorize_url": f"{lms_url}/oauth/authorize",
        "token_url": f"{lms_url}/oauth/token",
        "userdata_url": f"{lms_url}/oauth/userinfo",
        "oauth_callback_url": f"{hub_url}/hub/oauth_callback",
        # There it says so to who has come from the LMS's own sign-out, and asks whether to sign
        # out there too who has come from JupyterLab's.
        "logout_redirect_url": f"{lms_url}/logout",
        "scope": ["openid", "profile"],
        "username_claim": "preferred_username",
        # Without it the token endpoint answers 401.
        "basic_auth": True,
        "enable_pkce": True,
        "auto_login": True,
        "allow_all": True,
        "manage_groups": True,
        "auth_state_groups_key": "oauth_user.groups",
        "enable_auth_state": True,
        "refresh_pre_spawn": True,
        # A token outlives no sign-in either.
        "auth_refresh_strict": True,
    }
