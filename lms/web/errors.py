"""Errors as pages and as JSON: what happened, whose fault, what is safe, what to do next."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, current_app, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from lms.foundation.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LmsError,
    NotFoundError,
    UnavailableError,
)
from lms.web.chrome import page_before, page_path
from lms.web.dates import size
from lms.web.i18n import gettext, say

#: Kind of error -> HTTP status. The only place that knows both.
STATUSES: dict[type[LmsError], int] = {
    NotFoundError: 404,
    ForbiddenError: 403,
    ConflictError: 409,
    InvalidError: 400,
    UnavailableError: 503,
}
#: Statuses from here on are errors, and from there on ours.
_FIRST_ERROR, _OUR_FAULT = 400, 500
#: How much of a body that is too large is read and thrown away before answering: a browser that
#: is still sending shows "connection reset" instead of the page.
_DRAIN_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """What errors.html draws."""

    status: int
    title: str
    happened: str
    #: Whose fault it is and what is safe; may be empty.
    safe: str
    #: (words, address) of what to do next, the likeliest first.
    ways: tuple[tuple[str, str], ...]


def init_errors(app: Flask) -> None:
    """Answer every error with a page, or with JSON where a machine asked."""
    app.register_error_handler(LmsError, _answer_lms)
    app.register_error_handler(CSRFError, _answer_csrf)
    app.register_error_handler(RequestEntityTooLarge, _answer_too_large)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_crash)


def status_of(error: LmsError) -> int:
    """Return the HTTP status of an error's kind."""
    return next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 400)


def wants_json() -> bool:
    """Say whether the asker is a program; /oauth/authorize is where browsers come by."""
    if request.path == "/oauth/authorize":
        return False
    return request.path.startswith(("/api/", "/oauth/", "/.well-known/", "/healthz", "/metrics"))


def show_error(page: ErrorPage) -> ResponseReturnValue:
    """Answer with the page, or with JSON that says the same."""
    if wants_json():
        return jsonify({"error": {"status": page.status, "message": page.happened}}), page.status
    return render_template("errors.html", page=page), page.status


def _answer_lms(error: LmsError) -> ResponseReturnValue:
    status = status_of(error)
    return show_error(_page(status, say(error.sentence)))


def _answer_csrf(_error: CSRFError) -> ResponseReturnValue:
    return show_error(
        ErrorPage(
            status=400,
            title=gettext("This page had grown old"),
            happened=gettext(
                "The form was opened too long ago, or in another sign-in, so it was not accepted."
            ),
            safe=gettext(
                "Nothing was changed or submitted; what you submitted before is safe. "
                "A file has to be chosen again."
            ),
            ways=((gettext("Back to the page, fresh"), page_before()), _home()),
        )
    )


def _answer_too_large(_error: RequestEntityTooLarge) -> ResponseReturnValue:
    _drain()
    limit = size(current_app.config["MAX_CONTENT_LENGTH"])
    return show_error(
        ErrorPage(
            status=413,
            title=gettext("That file is too large"),
            happened=gettext("At most %(limit)s can be sent at once.", limit=limit),
            safe=gettext(
                "Nothing was submitted, and what you submitted before is safe. Large notebooks are "
                "almost always full of outputs: in JupyterLab choose Kernel, then Restart Kernel "
                "and Clear Outputs of All Cells, save, and submit again."
            ),
            ways=((gettext("Back to the assignment"), page_before()), _home()),
        )
    )


def _answer_http(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None or error.code is None or error.code < _FIRST_ERROR:
        return error
    if wants_json():
        return show_error(_page(error.code, error.description or error.name))
    response = make_response(show_error(_page(error.code, "")))
    # 405 names the allowed methods, 401 the scheme, 429 the pause.
    for name, value in error.get_headers():
        if name not in {"Content-Type", "Content-Length"}:
            response.headers[name] = value
    return response


def _answer_crash(error: Exception) -> ResponseReturnValue:
    current_app.logger.error("request failed: %s %s", request.method, request.path, exc_info=error)
    return show_error(_page(500, ""))


def _drain() -> None:
    stream = request.environ["wsgi.input"]
    left = min(request.content_length or 0, _DRAIN_BYTES)
    while left > 0 and (chunk := stream.read(min(left, 1 << 20))):
        left -= len(chunk)


def _home() -> tuple[str, str]:
    return gettext("To the home page"), "/"


def _courses() -> tuple[str, str]:
    return gettext("Find a course"), "/courses"


def _page(status: int, happened: str) -> ErrorPage:
    make = _PAGES.get(status, _PAGES[500] if status >= _OUR_FAULT else _PAGES[400])
    return make(status, happened)


def _not_found(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("There is no such page"),
        happened=happened
        or gettext("The address may be mistyped, or what it named was moved or taken away."),
        safe=gettext("Your courses and everything you submitted are where they were."),
        ways=(_home(), _courses()),
    )


def _forbidden(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("This is not open to you"),
        happened=happened or gettext("Your account may not see or do this."),
        safe=gettext("Nothing was changed."),
        ways=((gettext("Back"), page_before()), _home()),
    )


def _conflict(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("That is not possible now"),
        happened=happened,
        safe=gettext("Nothing was changed."),
        ways=((gettext("Back"), page_before()), _home()),
    )


def _invalid(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("That could not be used"),
        happened=happened or gettext("What was sent is not what this page takes."),
        safe=gettext("Nothing was changed, and what you submitted before is safe."),
        ways=((gettext("Back"), page_before()), _home()),
    )


def _too_many(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("Too many tries"),
        happened=happened or gettext("Please wait a few minutes, then try again."),
        safe=gettext("Nothing was changed."),
        ways=((gettext("Back"), page_before()), _home()),
    )


def _crashed(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("This one is on us"),
        happened=happened or gettext("Something in Seodang broke while making this page."),
        safe=gettext(
            "What you had submitted is stored and safe. We have written down what happened; "
            "you need not report it."
        ),
        ways=((gettext("Try again"), page_path()), (gettext("Service status"), "/status")),
    )


def _unavailable(status: int, happened: str) -> ErrorPage:
    return ErrorPage(
        status=status,
        title=gettext("A part of Seodang does not answer"),
        happened=happened or gettext("Please try again in a minute."),
        safe=gettext("This one is on us. Everything stored is safe, and other pages work."),
        ways=((gettext("Try again"), page_path()), (gettext("Service status"), "/status")),
    )


_PAGES: dict[int, Callable[[int, str], ErrorPage]] = {
    400: _invalid,
    403: _forbidden,
    404: _not_found,
    409: _conflict,
    410: _not_found,
    429: _too_many,
    500: _crashed,
    503: _unavailable,
}
