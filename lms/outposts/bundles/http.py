"""A repository over HTTP: from any byte on, and no web page is taken for a file."""

from collections.abc import Iterator
from time import sleep

import requests
from urllib3.exceptions import HTTPError

from lms.outposts.bundles.problems import SourceError
from lms.outposts.bundles.source import PART, MissingError
from lms.protocol.sentences import sentence

_TIMEOUT = (10, 30)
_WHOLE, _PART_OF_IT, _MISSING, _BUSY = 200, 206, (403, 404, 410), (429, 503)
#: A busy server is asked again so often, after at most so many seconds each time.
_TIMES, _LONGEST_WAIT = 20, 30


class HttpSource:
    """A repository behind an address."""

    patience = 5

    def __init__(self, address: str, session: requests.Session | None = None) -> None:
        self.name = address
        self._address = address.rstrip("/")
        self._session = session or requests.Session()
        # What travels is packed already, and lengths are counted.
        self._session.headers["Accept-Encoding"] = "identity"
        #: Bytes of bodies that were read.
        self.received = 0

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()

    def read(self, path: str, start: int, length: int, whole: int) -> Iterator[bytes]:
        """Yield bytes of a file."""
        skip = 0
        with self._ask(path, {"Range": f"bytes={start}-{start + length - 1}"}) as answer:
            if answer.status_code == _WHOLE:
                # A server without Range sends all of it; a portal's page has another length.
                if answer.headers.get("Content-Length") != str(whole):
                    raise self._strange(path)
                skip = start
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise self._strange(path)
            yield from self._body(answer, skip, length)

    def _body(self, answer: requests.Response, skip: int, length: int) -> Iterator[bytes]:
        for part in self._parts(answer):
            wanted = part[skip : skip + length]
            skip = max(0, skip - len(part))
            length -= len(wanted)
            if wanted:
                yield wanted
            if not length:
                return
        raise self._broken()

    def small(self, path: str, most: int) -> bytes:
        """Return a small file."""
        with self._ask(path, {}) as answer:
            content = b""
            if "html" in answer.headers.get("Content-Type", ""):
                raise self._strange(path)
            for part in self._parts(answer):
                content += part
                if len(content) > most:
                    break
            return content

    def _parts(self, answer: requests.Response) -> Iterator[bytes]:
        # What came before a cut is given on: `iter_content` would throw it away.
        try:
            while part := answer.raw.read1(PART):
                self.received += len(part)
                yield part
        except (requests.RequestException, HTTPError, OSError) as error:
            raise self._broken() from error

    def _ask(self, path: str, headers: dict[str, str]) -> requests.Response:
        for _ in range(_TIMES):
            answer = self._ask_once(path, headers)
            if answer.status_code not in _BUSY or "Retry-After" not in answer.headers:
                break
            answer.close()
            sleep(_seconds(answer.headers["Retry-After"]))
        if answer.status_code in (_WHOLE, _PART_OF_IT):
            return answer
        with answer:
            raise self._problem(answer, path)

    def _problem(self, answer: requests.Response, path: str) -> SourceError:
        """Return what an answer without bytes means; its body, maybe a page, is not read."""
        if answer.status_code in _MISSING:
            return MissingError(
                sentence("%(source)s has no %(path)s.", source=self.name, path=path)
            )
        if answer.status_code in _BUSY:
            return SourceError(sentence("%(source)s is busy: pull again later.", source=self.name))
        return self._strange(path)

    def _ask_once(self, path: str, headers: dict[str, str]) -> requests.Response:
        try:
            return self._session.get(
                f"{self._address}/{path}",
                headers=headers,
                stream=True,
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise self._broken() from error

    def _strange(self, path: str) -> SourceError:
        return SourceError(
            sentence(
                "%(source)s answers with something else than %(path)s: sign in to the network, "
                "if it asks for that, and pull again.",
                source=self.name,
                path=path,
            )
        )

    def _broken(self) -> SourceError:
        return SourceError(sentence("The line to %(source)s broke.", source=self.name))


def _seconds(text: str) -> float:
    """Return how long a server asks to be left alone; it may also name a date, which we round."""
    return min(_LONGEST_WAIT, int(text)) if text.isascii() and text.isdigit() else _LONGEST_WAIT
