"""`lms submit`: hand in files from a shell, in a notebook server or anywhere else."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from lms.foundation.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    LmsError,
    NotFoundError,
    UnavailableError,
)
from lms.foundation.settings import load_settings
from lms.outposts.notebook.client import ExchangeApi, ExchangeApiError
from lms.outposts.notebook.folders import FolderError, read_folder
from lms.outposts.notebook.place import find_place
from lms.protocol.sentences import sentence

#: HTTP status -> kind of error; everything else from 400 is InvalidError, from 500 Unavailable.
KINDS: dict[int, type[LmsError]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
}


@click.command()
@click.argument("offering")
@click.argument("assignment")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, readable=True)
)
@click.option("--json", "as_json", is_flag=True, help="Print the receipt as JSON.")
@click.option("--server", help="Address of the LMS; by default LMS_URL, or the one on this host.")
@click.option("--username", help="Who submits, outside a notebook server; asked for if missing.")
def submit(
    offering: str,
    assignment: str,
    files: tuple[Path, ...],
    *,
    as_json: bool,
    server: str | None,
    username: str | None,
) -> None:
    """Hand in FILES (or a folder's files) as the next attempt at ASSIGNMENT of OFFERING.

    In a notebook server the server's own sign-in counts; elsewhere a username and a password are
    asked for. The same files handed in again are the same attempt.
    """
    with saying():
        content = gather(files)
        with signed_in(server, username) as api:
            receipt = api.submit(offering, assignment, content, via="command")
    if as_json:
        click.echo(json.dumps(receipt, ensure_ascii=False, indent=2))
        return
    click.echo(
        f"Attempt {receipt['attempt']} at {offering}/{assignment}, "
        f"received {receipt['submitted_at']}{' (late)' if receipt['late'] else ''}"
        f"{', handed in before' if receipt['duplicate'] else ''}.\n"
        f"{receipt['digest']}\n{receipt['url']}"
    )


def gather(files: tuple[Path, ...]) -> dict[str, bytes]:
    """Return the files by the path they are handed in under; raises InvalidError on two alike."""
    content: dict[str, bytes] = {}
    for path in files:
        found = read_folder(path) if path.is_dir() else {path.name: path.read_bytes()}
        for name in found:
            if name in content:
                raise InvalidError(
                    sentence("Two files are named “%(name)s”. Keep one and send again.", name=name)
                )
        content |= found
    return content


@contextmanager
def signed_in(server: str | None, username: str | None) -> Iterator[ExchangeApi]:
    """Yield the API as this notebook server's person, else as who types a password."""
    place = find_place()
    if place.token and place.lms_url and server is None and username is None:
        yield ExchangeApi(place.lms_url, place.token, language="en")
        return
    url = server or load_settings().lms_url
    name = username or click.prompt("Username", err=True)
    api = ExchangeApi(url, language="en")
    api.sign_in(name, click.prompt("Password", hide_input=True, err=True))
    try:
        yield api
    finally:
        api.sign_out()


@contextmanager
def saying() -> Iterator[None]:
    """Turn what the LMS or a folder refuses into an error of ours."""
    try:
        yield
    except ExchangeApiError as error:
        unanswered = error.status == 0 or error.status >= 500  # noqa: PLR2004
        kind = UnavailableError if unanswered else KINDS.get(error.status, InvalidError)
        raise kind(sentence("%(message)s", message=str(error))) from error
    except FolderError as error:
        raise InvalidError(sentence("%(message)s", message=str(error))) from error
