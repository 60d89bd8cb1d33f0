"""The line to central: HTTP that is believed only when its answer is signed."""

from dataclasses import dataclass

import requests

from lms.foundation.errors import ConflictError, UnavailableError
from lms.protocol.sentences import sentence

HEADER = "X-Seodang-Centre"
#: What an answer of ours is sent as; a captive portal's page is not.
CONTENT_TYPE = "application/vnd.seodang.sync"
_SECONDS = 60
_OUR_FAULT, _ERROR = 500, 400
_MAX_ANSWER = 64 << 20


@dataclass(slots=True)
class HttpLine:
    """Asks central at its address."""

    url: str

    def call(self, method: str, path: str, body: bytes, header: str) -> bytes:
        """Return the answer; raises UnavailableError, or ConflictError with central's sentence."""
        try:
            answer = requests.request(
                method,
                f"{self.url}{path}",
                data=body,
                headers={
                    HEADER: header,
                    "Content-Type": "application/octet-stream",
                    # As this command speaks.
                    "Accept-Language": "en",
                },
                timeout=_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _unreachable(type(error).__name__) from error
        if _ERROR <= answer.status_code < _OUR_FAULT:
            raise ConflictError(sentence("Central says: %(what)s", what=_message(answer)))
        if answer.status_code >= _OUR_FAULT or len(answer.content) > _MAX_ANSWER:
            raise _unreachable(str(answer.status_code))
        if answer.headers.get("Content-Type", "").split(";")[0] != CONTENT_TYPE:
            raise UnavailableError(
                sentence(
                    "Something between here and central answers in its place, such as a log-in "
                    "page of the network. Open the network's page once, then try again."
                )
            )
        return answer.content


def _unreachable(why: str) -> UnavailableError:
    return UnavailableError(
        sentence(
            "Central cannot be reached (%(why)s). Nothing is lost: try again later, or carry it "
            "on a stick with --to FOLDER.",
            why=why,
        )
    )


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)
