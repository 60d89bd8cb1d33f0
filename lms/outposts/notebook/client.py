"""The exchange API of the LMS, as a notebook server or a shell speaks it."""

import io
import json
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

#: Seconds to connect, and to wait for an answer.
TIMEOUT = (5.0, 60.0)
#: An answer's archive may hold no more than this.
MAX_FILES = 10_000
MAX_BYTES = 1 << 30
#: HTTP's status for an answer without content.
NOTHING = 204


class ExchangeApiError(Exception):
    """The LMS refused or did not answer; the message is one sentence for the person."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        #: HTTP status, 0 when there was no answer.
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Student files of an assignment."""

    digest: str
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a copy of one release needs to become a later one."""

    base: str
    digest: str
    #: The later release's number.
    number: int
    #: Notebooks that differ, by path, as they were and as they are.
    old: Mapping[str, bytes]
    new: Mapping[str, bytes]
    #: New and changed files, and the digest that each had before.
    files: Mapping[str, bytes]
    data: Mapping[str, str | None]
    #: The archive that it came in.
    archive: bytes


class ExchangeApi:
    """One person's view of the exchange."""

    def __init__(self, lms_url: str, token: str = "", *, language: str = "") -> None:
        self._base = f"{lms_url.rstrip('/')}/api/exchange"
        self._http = requests.Session()
        # No .netrc, no proxy from the environment: the token goes to the LMS and nowhere else.
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"Bearer {token}"
        if language:
            # Otherwise errors come in the language that the person reads in.
            self._http.headers["Accept-Language"] = language

    def sign_in(self, username: str, password: str) -> None:
        """Get a token for a person who types a password; end it with `sign_out`."""
        body = json.dumps({"username": username, "password": password}).encode()
        answer = self._json("POST", "token", body=body, content_type="application/json")
        self._http.headers["Authorization"] = f"Bearer {answer.get('token', '')}"

    def sign_out(self) -> None:
        """End the token that `sign_in` got."""
        self._send("DELETE", "token")

    def list_courses(self) -> list[dict[str, Any]]:
        """Return the person's offerings as {key, title}."""
        return _list(self._json("GET", "courses"), "courses")

    def list_assignments(self, offering: str) -> list[dict[str, Any]]:
        """Return an offering's assignments, each with the person's own submissions."""
        return _list(self._json("GET", f"{_part(offering)}/assignments"), "assignments")

    def fetch_release(self, offering: str, assignment: str) -> Release:
        """Return the files that students get."""
        answer = self._send("GET", f"{_part(offering)}/{_part(assignment)}/release")
        return Release(digest=answer.headers.get("X-Release", ""), files=unpack_zip(answer.content))

    def fetch_correction(self, offering: str, assignment: str, since: str) -> Correction | str:
        """Return what a copy of the release `since` needs, or the current digest if nothing."""
        path = f"{_part(offering)}/{_part(assignment)}/correction?since={_part(since)}"
        answer = self._send("GET", path)
        if answer.status_code == NOTHING:
            return answer.headers.get("X-Release", "")
        return read_correction(answer.content)

    def submit(
        self, offering: str, assignment: str, files: Mapping[str, bytes], *, via: str = "notebook"
    ) -> dict[str, Any]:
        """Hand in `files` and return the receipt; the same bytes again are the same attempt."""
        return self._post_files(
            f"{_part(offering)}/{_part(assignment)}/submissions?via={quote(via)}", files
        )

    def fetch_feedback(self, offering: str, assignment: str, attempt: int) -> dict[str, bytes]:
        """Return the feedback pages of an attempt by file name."""
        path = f"{_part(offering)}/{_part(assignment)}/submissions/{attempt}/feedback"
        return unpack_zip(self._send("GET", path).content)

    def publish_release(
        self, offering: str, assignment: str, files: Mapping[str, bytes]
    ) -> dict[str, Any]:
        """Publish source/<assignment> as the next release; for instructors."""
        return self._post_files(f"{_part(offering)}/{_part(assignment)}/release", files)

    def list_received(self, offering: str, assignment: str) -> list[dict[str, Any]]:
        """Return everything handed in for an assignment; for people who grade."""
        path = f"{_part(offering)}/{_part(assignment)}/submissions"
        return _list(self._json("GET", path), "submissions")

    def fetch_submission(
        self, offering: str, assignment: str, submission_id: int
    ) -> dict[str, bytes]:
        """Return the files of one submission; for people who grade."""
        path = f"{_part(offering)}/{_part(assignment)}/submissions/{submission_id}/files"
        return unpack_zip(self._send("GET", path).content)

    def _post_files(self, path: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        body, content_type = encode_files(files)
        return self._json("POST", path, body=body, content_type=content_type)

    def _json(self, method: str, path: str, **sent: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = self._send(method, path, **sent)
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ExchangeApiError("The LMS gave an answer that could not be read.")
        return value

    def _send(
        self, method: str, path: str, *, body: bytes | None = None, content_type: str = ""
    ) -> requests.Response:
        headers = {"Content-Type": content_type} if content_type else {}
        try:
            answer = self._http.request(
                method,
                f"{self._base}/{path}",
                data=body,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ExchangeApiError(
                "The LMS does not answer. Your files are safe here; try again in a minute."
            ) from error
        if answer.status_code >= 300:  # noqa: PLR2004
            raise ExchangeApiError(_refusal(answer), answer.status_code)
        return answer


def encode_files(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Return `files` as a multipart body and its content type.

    The path travels in the field's file name, percent-encoded: multipart libraries differ in what
    they do to slashes and to letters outside ASCII.
    """
    boundary = uuid.uuid4().hex
    parts = [
        b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%s\r\n"
        % (boundary.encode(), quote(path, safe="/").encode(), content)
        for path, content in files.items()
    ]
    body = b"".join(parts) + b"--%s--\r\n" % boundary.encode()
    return body, f"multipart/form-data; boundary={boundary}"


def unpack_zip(content: bytes) -> dict[str, bytes]:
    """Return the regular files of an archive by path; raises ExchangeApiError on a strange one."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            too_big = sum(entry.file_size for entry in entries) > MAX_BYTES
            if too_big or len(entries) > MAX_FILES or not all(map(_is_plain, entries)):
                raise ExchangeApiError("The LMS sent an archive that cannot be unpacked safely.")
            return {entry.filename: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, ValueError) as error:
        raise ExchangeApiError("The LMS sent an archive that could not be read.") from error


def read_correction(archive: bytes) -> Correction:
    """Return the correction in an archive; raises ExchangeApiError on a strange one."""
    members = unpack_zip(archive)
    try:
        contents = json.loads(members["correction.json"])
        notebooks: list[str] = contents["notebooks"]
        data: dict[str, str | None] = contents["data"]
        return Correction(
            base=str(contents["from"]),
            digest=str(contents["to"]),
            number=int(contents["number"]),
            old={path: members[f"old/{path}"] for path in notebooks},
            new={path: members[f"new/{path}"] for path in notebooks},
            files={path: members[f"new/{path}"] for path in data},
            data=data,
            archive=archive,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExchangeApiError("The LMS sent a correction that could not be read.") from error


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    parts = entry.filename.split("/")
    return not ("\\" in entry.filename or any(part in {"", ".", ".."} for part in parts))


def _refusal(answer: requests.Response) -> str:
    try:
        said = json.loads(answer.content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = None
    if isinstance(said, str) and said:
        return said
    return f"The LMS answered with an error ({answer.status_code}); try again in a minute."


def _part(text: str) -> str:
    return quote(text, safe="")


def _list(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = value.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ExchangeApiError("The LMS gave an answer that could not be read.")
    return items
