"""A kernel's way to a GPU: asks the LMS for a lease, waits its turn, beats, and gives it back.

Blocking, so a provisioner calls it from a thread. Whose lease it is follows from the token of the
notebook server; the LMS decides, the broker obeys, and nothing here opens a device.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import requests

#: Seconds to connect, and to wait for an answer.
TIMEOUT = (5.0, 30.0)
#: How often a waiting kernel asks where it stands, and a running one says that it runs, in seconds.
LOOK_SECONDS, BEAT_SECONDS = 1.0, 10.0
#: How long the LMS may be away while one waits, in seconds; it forgets a wish after three minutes.
PATIENCE_SECONDS = 150.0
#: HTTP's status from which on a fault is the server's.
_OUR_FAULT = 500


class LeaseError(Exception):
    """No GPU: the LMS refused or did not answer; the message is one sentence for the person."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        #: HTTP status, 0 when there was no answer.
        self.status = status

    @property
    def is_from_lms(self) -> bool:
        """Whether the message is the LMS's own, in the person's language."""
        return self.status != 0


class LeaseEndedError(LeaseError):
    """The lease is over; the message says why."""

    @property
    def is_from_lms(self) -> bool:
        """The LMS says why, always."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """What the LMS says of a lease."""

    id: str
    #: "waiting", "granted" or "ended".
    state: str
    #: A sentence in the person's language: the place in the queue, or why it ended.
    text: str
    position: int | None
    offers: tuple[dict[str, Any], ...]
    simulated: bool
    devices: tuple[str, ...] = ()
    #: When it ends at the latest, None while that is not known.
    until: datetime | None = None
    #: How long the wait probably is, None when nobody can tell.
    expected_wait_seconds: int | None = None
    #: How long it may compute nothing.
    idle_seconds_allowed: int | None = None
    #: The language of `text` and of the offers: "ko" or "en"; empty when not known.
    language: str = ""

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """Read an answer of the LMS."""
        return cls(
            id=str(answer["id"]),
            state=str(answer["state"]),
            text=str(answer.get("text", "")),
            position=answer.get("position"),
            offers=tuple(answer.get("offers", ())),
            simulated=answer.get("simulated") is True,
            devices=tuple(str(one) for one in answer.get("devices") or ()),
            until=datetime.fromisoformat(str(until)) if (until := answer.get("until")) else None,
            expected_wait_seconds=answer.get("expected_wait_seconds"),
            idle_seconds_allowed=answer.get("idle_seconds_allowed"),
            language=str(answer.get("language", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuChoice:
    """A GPU profile that the person may take."""

    key: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelChoices:
    """What a person's notebook server offers."""

    #: GPU profiles; none on a machine without GPUs.
    profiles: tuple[GpuChoice, ...] = ()
    #: Kernels of the environments of the person's courses, by name; None: those of all.
    environments: frozenset[str] | None = None


class LeaseApi:
    """One person's leases."""

    def __init__(self, lms_url: str, token: str, *, timeout: tuple[float, float] = TIMEOUT) -> None:
        self._timeout = timeout
        self._base = f"{lms_url.rstrip('/')}/api/leases"
        self._http = requests.Session()
        # No .netrc, no proxy from the environment: the token goes to the LMS and nowhere else.
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, profile: str, kernel_id: str, offering: str | None = None) -> LeaseView:
        """Ask for a lease; the same kernel asking again gets the one it has."""
        body = {"profile": profile, "kernel_id": kernel_id, "offering": offering}
        return LeaseView.of(self._send("POST", "", body))

    def look(self, lease: str) -> LeaseView:
        """Return where the lease stands."""
        return LeaseView.of(self._send("GET", f"/{lease}"))

    def beat(self, lease: str, *, busy: bool) -> str:
        """Say whether the kernel computes; returns the warning to show, empty when there is none.

        Raises LeaseEndedError when the lease is over.
        """
        answer = self._send("POST", f"/{lease}/beat", {"busy": busy})
        if answer.get("state") != "granted":
            raise LeaseEndedError(str(answer.get("text", "")))
        return str(answer.get("text", ""))

    def give_back(self, lease: str) -> None:
        """End the lease; one that has ended already is no error."""
        self._send("DELETE", f"/{lease}")

    def choices(self) -> KernelChoices:
        """Return what the person may choose a kernel from."""
        answer = self._send("GET", "/profiles")
        profiles = answer["profiles"] if answer.get("reason") is None else []
        kernels = answer.get("kernels")
        return KernelChoices(
            profiles=tuple(GpuChoice(key=one["key"], title=one["title"]) for one in profiles),
            environments=None if kernels is None else frozenset(map(str, kernels)),
        )

    def _send(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = self._http.request(
                method, self._base + path, json=body, timeout=self._timeout, allow_redirects=False
            )
            given = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise LeaseError("The LMS does not answer, so no GPU can be asked for now.") from error
        if not isinstance(given, dict):
            raise LeaseError("The LMS gave an answer that is not understood.")
        if not answer.ok:
            problem = given.get("error")
            message = problem.get("message") if isinstance(problem, dict) else None
            raise LeaseError(str(message or "The LMS gave no lease."), answer.status_code)
        return given


def wait_for(
    api: LeaseApi,
    lease: LeaseView,
    tell: Callable[[LeaseView], None],
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> LeaseView:
    """Return the lease once it is granted; `tell` hears each change of what the person is told.

    Raises LeaseError when it ends instead, or when the LMS stays away. When it is wanted no longer,
    it is given back.
    """
    said: tuple[object, ...] = ()
    answered_at = time.monotonic()
    while lease.state == "waiting":
        if not is_wanted():
            api.give_back(lease.id)
            raise LeaseError("Nobody waits for this GPU any more.")
        if (lease.text, lease.offers) != said:
            said = (lease.text, lease.offers)
            tell(lease)
        time.sleep(LOOK_SECONDS)
        try:
            lease, answered_at = api.look(lease.id), time.monotonic()
        except LeaseError as error:
            passing = error.status in {0, *range(_OUR_FAULT, _OUR_FAULT + 100)}
            if not passing or time.monotonic() - answered_at > PATIENCE_SECONDS:
                raise
    if lease.state != "granted":
        raise LeaseEndedError(lease.text)
    return lease
