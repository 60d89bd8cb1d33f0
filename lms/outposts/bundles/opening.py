"""Opening a seal at a centre: a code, what it opens here, and what is wrong with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lms.outposts.bundles import codes
from lms.outposts.bundles.manifest import Manifest
from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.sealing import Seal
from lms.outposts.bundles.store import Store
from lms.protocol.sentences import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class SealState:
    """A seal of a course that stands here."""

    course: str
    seal: str
    opens_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The centre that opens: what its codes are made for, and what it shares with central.

    There is a shared secret for each key that central has had.
    """

    centre: str
    name: str
    shared: Sequence[bytes]


def seals_of(store: Store, course: str) -> list[SealState]:
    """Return the seals of the version that stands, the earliest to open first."""
    manifest = _stands(store, course)
    if manifest is None:
        return []
    found = [
        SealState(
            course=course,
            seal=seal.name,
            opens_at=seal.opens_at,
            is_open=store.key_of(seal.name) is not None,
        )
        for seal in _seals(manifest)
    ]
    return sorted(found, key=lambda one: one.opens_at)


def open_seal(store: Store, box: Box, course: str, text: str) -> SealState:
    """Open what a code opens of a course; doing it twice changes nothing.

    Raises BundleError with what is wrong with the code.
    """
    code = codes.read_code(text)
    if not code.is_of_centre(box.centre):
        raise BundleError(
            sentence(
                "This code was made for another centre: ask central for the one of “%(name)s”.",
                name=box.name,
            )
        )
    manifest = _stands(store, course)
    if manifest is None:
        raise BundleError(
            sentence("%(course)s is not installed here: pull it first.", course=course)
        )
    seal = next((one for one in _seals(manifest) if code.is_of_seal(one.name)), None)
    if seal is None:
        raise _other(store, course, code)
    key = _try(seal, course, box, code)
    if key is None:
        raise BundleError(
            sentence(
                "The code does not open the hidden tests of %(course)s: ask central for a new one. "
                "If it stays so, let this centre join with a new ticket.",
                course=course,
            )
        )
    store.keep_key(seal.name, key)
    return SealState(course=course, seal=seal.name, opens_at=seal.opens_at, is_open=True)


def _try(seal: Seal, course: str, box: Box, code: codes.Code) -> bytes | None:
    for shared in box.shared:
        over = codes.mask(shared, course, seal.name, box.centre)
        key = seal.open(code.secret(over), course)
        if key is not None:
            return key
    return None


def _other(store: Store, course: str, code: codes.Code) -> BundleError:
    for other in store.courses():
        manifest = _stands(store, other)
        if manifest and any(code.is_of_seal(one.name) for one in _seals(manifest)):
            return BundleError(
                sentence("This code opens %(other)s, not %(course)s.", other=other, course=course)
            )
    return BundleError(
        sentence(
            "This code belongs to another course, or to another version of %(course)s than stands "
            "here: pull the newest one first.",
            course=course,
        )
    )


def _stands(store: Store, course: str) -> Manifest | None:
    stands = store.installed(course)
    return store.manifest(stands.digest) if stands else None


def _seals(manifest: Manifest) -> Iterable[Seal]:
    return [Seal.from_json(name, values) for name, values in manifest.seals.items()]
