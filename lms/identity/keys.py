"""The secrets that parts share, made once in the data folder and readable by one part each.

`keys/web` belongs to the web pages, `keys/hub` to the Hub; what both must know lies in both.
"""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from joserfc.jwk import RSAKey

from lms.foundation.settings import Settings

_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class WebKeys:
    """What the web pages know."""

    #: Signs the session cookie.
    session_secret: str
    #: Signs identity tokens (RS256); a private JWK as JSON.
    oidc_signing_key: str
    #: Shows the Hub's API that we ask.
    hub_api_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubKeys:
    """What the Hub knows; the proxy gets its token from here too."""

    #: The Hub's secret as our OAuth client.
    client_secret: str
    #: Signs the Hub's cookies; 64 hexadecimal digits.
    cookie_secret: str
    #: Encrypts the tokens that the Hub keeps for people; 64 hexadecimal digits.
    auth_state_key: str
    #: Shared by Hub and proxy.
    proxy_token: str
    #: The same as WebKeys.hub_api_token.
    lms_api_token: str


def ensure_keys(settings: Settings) -> tuple[WebKeys, HubKeys]:
    """Return all keys, making what is missing; as root, hand each folder to its part's uid."""
    web, hub = load_web_keys(settings), _load_hub_keys(settings)
    gid = settings.uids.service_gid
    _hand_over(settings.keys_dir / "web", settings.uids.web, gid)
    _hand_over(settings.keys_dir / "hub", settings.uids.hub, gid)
    return web, hub


def load_web_keys(settings: Settings) -> WebKeys:
    """Return the keys of the web pages, making what is missing."""
    folder = _folder(settings.keys_dir / "web")
    return WebKeys(
        session_secret=_ensure(folder / "session_secret"),
        oidc_signing_key=_ensure_signing_key(folder / "oidc_signing_key.json"),
        hub_api_token=_ensure(folder / "hub_api_token"),
    )


def _load_hub_keys(settings: Settings) -> HubKeys:
    folder = _folder(settings.keys_dir / "hub")
    shared = (settings.keys_dir / "web" / "hub_api_token").read_text()
    if _ensure(folder / "lms_api_token", shared) != shared:
        _write(folder / "lms_api_token", shared)
    return HubKeys(
        client_secret=_ensure(folder / "client_secret"),
        cookie_secret=_ensure(folder / "cookie_secret"),
        auth_state_key=_ensure(folder / "auth_state_key"),
        proxy_token=_ensure(folder / "proxy_token"),
        lms_api_token=shared,
    )


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    if os.access(path, os.W_OK):
        _chmod(path, 0o700)
    return path


def _chmod(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)


def _ensure(path: Path, value: str | None = None) -> str:
    """Return the file's text; make it from `value`, or at random, if it is not there."""
    if not path.exists():
        _write(path, value or secrets.token_hex(_SECRET_BYTES))
    return path.read_text()


def _ensure_signing_key(path: Path) -> str:
    if not path.exists():
        key = RSAKey.generate_key(2048, private=True, auto_kid=True)
        _write(path, json.dumps(key.as_dict(private=True)))
    return path.read_text()


def _write(path: Path, text: str) -> None:
    # Whole or not at all: a half-written secret would be kept for ever.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _hand_over(folder: Path, uid: int, gid: int) -> None:
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.iterdir()):
        if path.stat().st_uid != uid:
            os.chown(path, uid, gid)
