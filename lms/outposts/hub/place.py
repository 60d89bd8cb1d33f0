"""Where this Hub stands: addresses, folders and keys, as its supervisor set them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Two more ports follow the Hub's own.
LAST_PORT = 65533


class PlaceError(Exception):
    """The Hub was started without something it needs; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPlace:
    """What the Hub must know of its surroundings; named as in lms.foundation.settings."""

    data_dir: Path
    hub_port: int
    bind: str
    lms_url: str
    hub_url: str
    #: Where this machine's parts reach the LMS, if not at lms_url (LMS_INNER_URL).
    lms_inner_url: str = ""
    #: Key and certificate that the proxy serves with; None: no TLS of its own (LMS_TLS).
    certificate: Path | None = None
    #: Servers are children of the Hub instead of the broker's (LMS_SERVERS=local): for one
    #: person's machine and tests, since everyone's work then belongs to one OS user.
    local_servers: bool = False
    #: Servers are Slurm jobs (LMS_SERVERS=slurm), as hub_config/slurm/servers.toml says.
    slurm_servers: bool = False
    #: That file, or a copy of it (LMS_SLURM_SERVERS); None: the one beside the Hub's own.
    slurm_file: Path | None = None
    #: Servers are forks, which start at once (LMS_SERVER_START, "zygote" or "stock").
    forks_servers: bool = True
    #: How long the Hub believes the LMS about a person, in seconds (HUB_REFRESH_SECONDS).
    refresh_seconds: int = 60
    #: A server that nobody uses and where nothing computes ends after so many seconds, 0: never
    #: (HUB_IDLE_SECONDS).
    idle_seconds: int = 3600

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "HubPlace":
        """Read the place from `env`, with the defaults of the whole system; raises PlaceError."""
        lms_port = _number(env, "LMS_PORT", 8000, last=LAST_PORT)
        hub_port = _number(env, "HUB_PORT", 8010, last=LAST_PORT)
        return cls(
            data_dir=Path(env.get("LMS_DATA") or "data").absolute(),
            hub_port=hub_port,
            bind=env.get("LMS_BIND") or "127.0.0.1",
            lms_url=(env.get("LMS_URL") or f"http://127.0.0.1:{lms_port}").rstrip("/"),
            hub_url=(env.get("HUB_URL") or f"http://localhost:{hub_port}").rstrip("/"),
            lms_inner_url=(env.get("LMS_INNER_URL") or "").rstrip("/"),
            certificate=Path(env["LMS_TLS"]) if env.get("LMS_TLS") else None,
            local_servers=env.get("LMS_SERVERS") == "local",
            slurm_servers=env.get("LMS_SERVERS") == "slurm",
            slurm_file=Path(env["LMS_SLURM_SERVERS"]) if env.get("LMS_SLURM_SERVERS") else None,
            forks_servers=env.get("LMS_SERVER_START") != "stock",
            refresh_seconds=_number(env, "HUB_REFRESH_SECONDS", 60, last=3600),
            idle_seconds=_number(env, "HUB_IDLE_SECONDS", 3600, first=0, last=604800),
        )

    @property
    def usual_seconds(self) -> int:
        """How long a server usually takes to start; only the waiting page's bar goes by it."""
        is_forked = self.forks_servers and not (self.local_servers or self.slurm_servers)
        return 1 if is_forked else 10

    @property
    def hub_dir(self) -> Path:
        """Where the Hub keeps its database."""
        return self.data_dir / "hub"

    @property
    def homes_dir(self) -> Path:
        """One folder a learner."""
        return self.data_dir / "homes"

    @property
    def logs_dir(self) -> Path:
        """Where the notebook servers' logs go, in servers/."""
        return self.data_dir / "logs" / "servers"

    @property
    def broker_socket(self) -> Path:
        """Where the compute broker listens."""
        return self.data_dir / "run" / "broker.sock"

    @property
    def inner_hub_url(self) -> str:
        """Where the Hub itself listens, behind the proxy."""
        return f"http://127.0.0.1:{self.hub_port + 1}"

    @property
    def proxy_api_url(self) -> str:
        """Where the proxy takes the Hub's orders."""
        return f"http://127.0.0.1:{self.hub_port + 2}"

    def key(self, name: str) -> str:
        """Return the key `name` of lms.identity.keys; raises PlaceError when it is missing."""
        path = self.data_dir / "keys" / "hub" / name
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise PlaceError(
                f"The Hub's key {path} cannot be read ({error.strerror}); `lms up` makes it."
            ) from error


def hub_command(python: str, config: Path) -> tuple[str, ...]:
    """Return the command that starts the Hub."""
    return (python, "-m", "jupyterhub", "-f", str(config))


def proxy_command(python: str, place: HubPlace) -> tuple[str, ...]:
    """Return the command that starts the proxy; it wants CONFIGPROXY_AUTH_TOKEN set."""
    return (
        python,
        "-m",
        "lms.outposts.hub.proxy",
        "--ip",
        place.bind,
        "--port",
        str(place.hub_port),
        "--api-ip",
        "127.0.0.1",
        "--api-port",
        str(place.hub_port + 2),
        "--default-target",
        place.inner_hub_url,
        "--error-target",
        f"{place.inner_hub_url}/hub/error",
        "--log-level",
        "warning",
    )


def _number(env: Mapping[str, str], name: str, default: int, *, first: int = 1, last: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not first <= int(text) <= last:
        raise PlaceError(
            f"{name} is {text[:40]}; it must be a whole number from {first} to {last}."
        )
    return int(text)
