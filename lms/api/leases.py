"""Leases for machines: a kernel asks for a GPU, looks where its wish stands, beats, gives it back.

The kernel's provisioner speaks it with the token of the person's notebook server, as the exchange
does; cookies count for nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from flask_babel import get_locale, gettext
from sqlalchemy.orm import Session

from lms.api.bearers import bearer_actor, bearer_username
from lms.api.database import reading, transaction
from lms.catalogue import service as catalogue
from lms.catalogue.environments import kernels_of
from lms.compute import ledger, service, waiting, words
from lms.compute.models import Lease
from lms.compute.profiles import terms
from lms.compute.rules import WARNING, Cause, Ending, LeaseState
from lms.foundation import clock
from lms.foundation.errors import InvalidError
from lms.identity.access import machine
from lms.identity.models import Person
from lms.identity.scopes import Actor
from lms.protocol.sentences import Sentence, sentence

bp = Blueprint("leases", __name__, url_prefix="/api/leases")

_MAX_NAME = 64


@contextmanager
def _acting(*, writing: bool = False) -> Iterator[tuple[Session, Person, Actor]]:
    # The Hub is asked before a connection is taken: it may be slow.
    username = bearer_username()
    with transaction() if writing else reading() as session:
        yield (session, *bearer_actor(session, username))


@bp.get("/profiles")
@machine
def list_profiles() -> ResponseReturnValue:
    """Return the GPU profiles that the person may take, their price, the hours left, and kernels.

    `kernels` are those of the environments of the person's courses; null: all.
    """
    offering = request.args.get("offering") or None
    with _acting() as (session, person, actor):
        offering_id = _offering(session, offering)
        now = clock.now()
        hours = ledger.allowance(session, terms(), person.id, offering_id)
        left = max(0.0, hours - ledger.used(session, person.id, offering_id, now=now))
        groups = service.groups_of(session, actor)
        reason = service.no_devices_reason(session)
        kernels = None if actor.is_admin else sorted(kernels_of(session, actor.roles))
        profiles = [
            {
                "key": one.key,
                "title": one.title[person.locale],
                "gpu": one.need.value,
                "price": one.price,
                "cap_seconds": int(one.cap.total_seconds()),
                "idle_seconds_allowed": int(one.idle.total_seconds()),
            }
            for one in terms().profiles.values()
            if one.is_open_to(groups)
        ]
    return jsonify(
        profiles=profiles,
        kernels=kernels,
        hours_a_week=hours,
        hours_left=round(left, 4),
        reason=None if reason is None else reason.to_json(),
        text="" if reason is None else _say(reason),
    )


@bp.get("")
@machine
def list_leases() -> ResponseReturnValue:
    """Return the person's leases that wait or run."""
    with _acting() as (session, person, _actor):
        now = clock.now()
        leases = [_lease(session, one, now) for one in service.list_own(session, person.id)]
    return jsonify(leases=leases)


@bp.post("")
@machine
def ask() -> ResponseReturnValue:
    """Ask for a lease; it may be granted at once or wait."""
    with _acting(writing=True) as (session, _person, actor):
        given, now = _body(), clock.now()
        offering = None if given.get("offering") is None else _name(given, "offering")
        wish = service.Wish(
            profile=_name(given, "profile"),
            kernel_id=_name(given, "kernel_id"),
            offering_id=_offering(session, offering),
        )
        lease = service.request(session, wish, terms=terms(), actor=actor, now=now)
        answer = _lease(session, lease, now)
    return jsonify(answer), 201


@bp.get("/<lease_id>")
@machine
def show(lease_id: str) -> ResponseReturnValue:
    """Return where the lease stands; asking is what keeps a wish alive."""
    with _acting() as (session, person, actor):
        now = clock.now()
        lease = service.get_lease(session, lease_id, actor=actor)
        stale = lease.person_id == person.id and service.touch(lease, now=now)
        answer = _lease(session, lease, now)
        session.rollback()
    if stale:
        with _acting(writing=True) as (session, _person, actor):
            service.touch(service.get_lease(session, lease_id, actor=actor), now=now)
    return jsonify(answer)


@bp.delete("/<lease_id>")
@machine
def give_up(lease_id: str) -> ResponseReturnValue:
    """End the lease: the kernel was shut down, or nobody wishes for it any more."""
    with _acting(writing=True) as (session, _person, actor):
        now = clock.now()
        lease = service.give_up(session, lease_id, actor=actor, now=now)
        answer = _lease(session, lease, now)
    return jsonify(answer)


@bp.post("/<lease_id>/beat")
@machine
def beat(lease_id: str) -> ResponseReturnValue:
    """Take the notebook's word on whether its kernel computes; answer when the lease ends."""
    with _acting(writing=True) as (session, _person, actor):
        busy, now = _body().get("busy"), clock.now()
        if not isinstance(busy, bool):
            raise InvalidError(sentence("A beat says “busy”, true or false."))
        lease, ending = service.beat(session, lease_id, busy=busy, actor=actor, now=now)
        answer = _warning(lease, ending, now)
    return jsonify(answer)


# --- shapes ---


def _warning(lease: Lease, ending: Ending | None, now: datetime) -> dict[str, object]:
    if ending is None:
        text = words.ended(lease.cause) if lease.state == LeaseState.ENDED else None
        return {
            "state": lease.state,
            "ends_in_seconds": 0,
            "text": "" if text is None else _say(text),
        }
    seconds = max(0, int((ending.at - now).total_seconds()))
    near = ending.at - now <= WARNING
    return {
        "state": lease.state,
        "ends_in_seconds": seconds,
        "cause": ending.cause.value,
        "text": _say(words.ends_soon(ending.cause, seconds)) if near else "",
    }


def _lease(session: Session, lease: Lease, now: datetime) -> dict[str, object]:
    answer: dict[str, object] = {
        "id": lease.id,
        "state": shown_state(lease),
        "profile": lease.profile,
        "position": None,
        "expected_wait_seconds": None,
        "reason": None,
        "text": "",
        "offers": [],
        "until": None if lease.until is None else lease.until.isoformat(),
        "idle_seconds_allowed": lease.idle_seconds_allowed,
        "simulated": lease.simulated,
        "devices": lease.devices if shown_state(lease) == LeaseState.GRANTED else [],
        "language": _language(),
    }
    if lease.state == LeaseState.ENDED:
        return answer | _told(words.ended(lease.cause)) | {"cause": Cause(lease.cause or "").value}
    if shown_state(lease) == LeaseState.GRANTED:
        return answer
    if lease.state == LeaseState.GRANTED:
        return answer | _told(words.PREPARED) | {"position": 0, "expected_wait_seconds": 0}
    place = waiting.standing(session, lease, terms=terms(), now=now)
    return answer | {
        "position": place.position,
        "expected_wait_seconds": place.expected_wait_seconds,
        "offers": [one.to_json() | {"text": _say(one.text)} for one in place.offers],
        "reason": place.reason.to_json(),
        "text": _say(words.in_queue(place.position, place.expected_wait_seconds))
        + " "
        + _say(place.reason),
    }


def shown_state(lease: Lease) -> str:
    """Return the state as a kernel needs it: granted once the broker knows of it."""
    if lease.state == LeaseState.GRANTED and lease.started_at is None:
        return LeaseState.WAITING.value
    return lease.state


def _language() -> str:
    """Return the language that `text` is written in."""
    locale = get_locale()
    return "ko" if locale is None else locale.language


def _told(reason: Sentence) -> dict[str, object]:
    return {"reason": reason.to_json(), "text": _say(reason)}


def _say(text: Sentence) -> str:
    return str(gettext(text.template, **text.facts))


def _offering(session: Session, key: str | None) -> int | None:
    return None if key is None else catalogue.get_offering(session, key).id


def _body() -> dict[str, object]:
    given = request.get_json(silent=True)
    if not isinstance(given, dict):
        raise InvalidError(sentence("The request needs a JSON object as its body."))
    return given


def _name(given: dict[str, object], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise InvalidError(
            sentence(
                "“%(key)s” must be a text of 1 to %(most)s characters.", key=key, most=_MAX_NAME
            )
        )
    return value
