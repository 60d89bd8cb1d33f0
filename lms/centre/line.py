"""The line to central: HTTP that is believed only when its answer is signed."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from lms.centre.sending import sign_request
from lms.foundation.errors import ConflictError, UnavailableError
from lms.foundation.signing import Signer
from lms.outposts.bundles.http import HttpSource
from lms.outposts.bundles.problems import SourceError
from lms.protocol.sentences import sentence

HEADER = "X-Seodang-Centre"
#: What an answer of ours is sent as; a captive portal's page is not.
CONTENT_TYPE = "application/vnd.seodang.sync"
_SECONDS = 60
_OUR_FAULT, _ERROR, _FORBIDDEN = 500, 400, 403
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
        except requests.exceptions.SSLError as error:
            raise _untrusted() from error
        except requests.Timeout as error:
            raise _silent() from error
        except requests.RequestException as error:
            raise _unreachable(type(error).__name__) from error
        if _ERROR <= answer.status_code < _OUR_FAULT and (said := _said(answer)) is not None:
            raise ConflictError(sentence("Central says: %(what)s", what=said))
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


class CentralBundles(HttpSource):
    """Central's signed repository, as a centre may read it."""

    def __init__(self, url: str, centre: str, signer: Signer) -> None:
        session = requests.Session()
        session.auth = _Auth(signer, centre)
        session.headers["Accept-Language"] = "en"
        super().__init__(f"{url}/api/sync/{centre}/bundles", session)
        self.name = url

    def _problem(self, answer: requests.Response, path: str) -> SourceError:
        if answer.status_code == _FORBIDDEN:
            return SourceError(sentence("Central says: %(what)s", what=_message(answer)))
        return super()._problem(answer, path)


class _Auth(AuthBase):
    """Signs each request of a session as a centre's."""

    def __init__(self, signer: Signer, centre: str) -> None:
        self._signer, self._centre = signer, centre

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header by which central knows who asks."""
        path = urlsplit(request.url or "").path
        method = request.method or "GET"
        request.headers[HEADER] = sign_request(self._signer, self._centre, method, str(path))
        return request


def _unreachable(why: str) -> UnavailableError:
    return UnavailableError(
        sentence(
            "Central cannot be reached (%(why)s). Nothing is lost: try again later, or carry it "
            "on a stick with --to FOLDER.",
            why=why,
        )
    )


def _untrusted() -> UnavailableError:
    return UnavailableError(
        sentence(
            "Whoever answers at central's address cannot show that it is central: its certificate "
            "is not accepted. Set this machine's clock if it is wrong; else something between here "
            "and central answers in its place. Nothing was sent."
        )
    )


def _silent() -> UnavailableError:
    return UnavailableError(
        sentence(
            "Central has not answered within %(seconds)s seconds. Nothing is lost: the next try "
            "goes on where this one stopped.",
            seconds=_SECONDS,
        )
    )


def _said(answer: requests.Response) -> str | None:
    """Return central's own sentence; None when something else has answered."""
    try:
        return str(answer.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return None


def _message(answer: requests.Response) -> str:
    return _said(answer) or str(answer.status_code)
