"""What the Hub must know of a Slurm cluster for notebook servers: hub_config/slurm/servers.toml."""

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lms.outposts.hub.place import HubPlace, PlaceError
from lms.outposts.hub.profiles import is_open_to

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,-]{0,63}")
_WORDS = ("partition", "qos", "account")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the jobs of some people ask Slurm for; empty: the cluster's default."""

    #: Patterns of the LMS's group names; empty means everyone.
    groups: tuple[str, ...] = ()
    partition: str = ""
    qos: str = ""
    account: str = ""
    #: The job's time limit.
    minutes: int = 480


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmPlace:
    """The cluster as the Hub must know it."""

    #: Where nodes reach the Hub itself, with its port: the Hub listens behind its proxy.
    hub_url: str
    terms: tuple[Terms, ...]
    #: A Python on the nodes that has Seodang; empty: this machine's path.
    python: str = ""
    #: How long a start may wait in Slurm's queue.
    queue_seconds: int = 600

    def terms_for(self, groups: Iterable[str]) -> Terms:
        """Return the first terms that are for somebody in `groups`."""
        names = list(groups)
        return next((one for one in self.terms if is_open_to(names, one.groups)), Terms())


def read_slurm_place(path: Path, place: HubPlace) -> SlurmPlace:
    """Read servers.toml; raises PlaceError with one sentence about what is wrong in it."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlaceError(f"{path} cannot be read: {error}.") from error
    everyone = {key: table[key] for key in (*_WORDS, "minutes") if key in table}
    offered = [_terms({**everyone, **one}, path) for one in table.get("for", ())]
    hub_url = str(table.get("hub_url") or place.inner_hub_url).rstrip("/")
    if not table.get("one_machine"):
        _refuse_loopback("hub_url", hub_url, path)
        _refuse_loopback("LMS_URL", place.lms_url, path)
    return SlurmPlace(
        hub_url=hub_url,
        terms=(*offered, _terms(everyone, path)),
        python=str(table.get("python", "")),
        queue_seconds=_whole(table, "queue_seconds", 600, path),
    )


def _terms(table: Mapping[str, Any], path: Path) -> Terms:
    if unknown := set(table) - {field.name for field in fields(Terms)}:
        raise PlaceError(f"{path} has {min(unknown)}, which no job can ask for.")
    for key in _WORDS:
        if table.get(key) and not _NAME.fullmatch(str(table[key])):
            raise PlaceError(f"{path}: {key} is not a name that Slurm knows.")
    return Terms(
        groups=tuple(map(str, table.get("groups", ()))),
        minutes=_whole(table, "minutes", 480, path),
        **{key: str(table.get(key, "")) for key in _WORDS},
    )


def _whole(table: Mapping[str, Any], key: str, default: int, path: Path) -> int:
    number = table.get(key, default)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise PlaceError(f"{path}: {key} must be a whole number of at least 1.")
    return number


def _refuse_loopback(name: str, url: str, path: Path) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"} or not host:
        raise PlaceError(f"{name} is no address that starts with http:// or https://.")
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost" or host.endswith(".localhost")
    if is_here:
        raise PlaceError(
            f"{name} is {url}, which the cluster's nodes cannot reach; name an address of this "
            f"machine there, or set one_machine = true in {path} if all nodes are this machine."
        )
