"""Forms that came after their sign-in had ended: sealed, and carried through the log-in page."""

from dataclasses import dataclass
from typing import Any

from flask import current_app, request, session
from itsdangerous import BadData, URLSafeTimedSerializer

from lms.identity import service as identity
from lms.identity.access import SIGN_IN_KEY
from lms.web.database import session as database_session

#: Longer texts are not carried: the log-in page must stay sendable.
_LONGEST_CHARACTERS = 200_000
_KEPT_SECONDS = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptForm:
    """A form to be sent again by its owner's own click."""

    path: str
    fields: tuple[tuple[str, str], ...]
    #: Files cannot be carried: no page may choose them for a person.
    had_files: bool


def keep_form() -> str:
    """Return this request's form, sealed; empty when there is nothing worth carrying."""
    fields = [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name != "csrf_token" and "password" not in name and value
    ]
    length = sum(len(name) + len(value) for name, value in fields)
    if request.path.startswith("/account/password") or not 0 < length <= _LONGEST_CHARACTERS:
        return ""
    token = session.get(SIGN_IN_KEY)
    owner = identity.owner_of(database_session(), token) if isinstance(token, str) else None
    return _seal().dumps(
        {
            "path": request.full_path.rstrip("?"),
            "fields": fields,
            "had_files": any(file.filename for file in request.files.values()),
            "owner": owner,
        }
    )


def read_kept(sealed: str, *, for_person: int) -> KeptForm | None:
    """Return the sealed form if it was this person's, or nobody's that we know of."""
    if not sealed:
        return None
    try:
        kept: dict[str, Any] = _seal().loads(sealed, max_age=_KEPT_SECONDS)
    except BadData:
        return None
    if kept["owner"] not in {None, for_person}:
        return None
    return KeptForm(
        path=kept["path"],
        fields=tuple((name, value) for name, value in kept["fields"]),
        had_files=kept["had_files"],
    )


def _seal() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="kept-form")
