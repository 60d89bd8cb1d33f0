"""Every setting of the system, read once from the environment; nothing else reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lms.foundation.errors import InvalidError
from lms.protocol.sentences import sentence

#: What grading may be computed on; the first is the default.
EXECUTORS = ("processes", "threads", "dask", "slurm")
SERVER_STARTS = ("zygote", "stock")
#: Addresses that stand for all addresses of the machine.
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104


@dataclass(frozen=True, slots=True, kw_only=True)
class Uids:
    """Reserved OS user ids; none of them stands in /etc/passwd. Used where we run as root."""

    #: Group shared by the parts that share the database and the blobs.
    service_gid: int = 190000
    web: int = 190001
    hub: int = 190002
    worker: int = 190003
    proxy: int = 190004
    #: First and one past the last uid of people's notebook servers.
    learner_first: int = 200000
    learner_end: int = 290000
    #: First and one past the last uid of grading runs.
    run_first: int = 300000
    run_end: int = 301000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an operator can set, with its default; see docs/reference/settings.md."""

    #: Where everything that must be kept lives (LMS_DATA).
    data_dir: Path
    #: Port of the web pages (LMS_PORT).
    lms_port: int = 8000
    #: Port of the Hub's proxy; the two ports after it serve inside (HUB_PORT).
    hub_port: int = 8010
    #: Address that the web pages and the proxy listen on (LMS_BIND).
    bind: str = "127.0.0.1"
    #: Address of the web pages as people's browsers see it (LMS_URL).
    lms_url: str = ""
    #: Address of the Hub as people's browsers see it; another host name than lms_url (HUB_URL).
    hub_url: str = ""
    #: Address at which the pages themselves reach a Hub on another machine (LMS_HUB_INNER_URL).
    hub_inner_url: str = ""
    #: SQLAlchemy URL; empty means SQLite in data_dir (LMS_DATABASE_URL).
    database_url: str = ""
    #: Gunicorn worker processes (LMS_WEB_PROCESSES).
    web_processes: int = 2
    #: Grading runs at once (LMS_GRADING_RUNS).
    grading_runs: int = 2
    #: What computes them: "processes", "threads", "dask" or "slurm" (LMS_GRADING_EXECUTOR).
    grading_executor: str = "processes"
    #: Address of the Dask scheduler, for the executor "dask" (LMS_DASK_SCHEDULER).
    dask_scheduler: str = ""
    #: What each Slurm job asks for, for the executor "slurm" (LMS_SLURM_FILE).
    slurm_file: Path | None = None
    #: How notebook servers start: "zygote" forks them, "stock" executes each (LMS_SERVER_START).
    server_start: str = "zygote"
    #: GPUs to make up instead of looking for real ones, "4" or "4x2" (LMS_SIMULATED_GPUS).
    simulated_gpus: str = ""
    #: Leases that share one whole GPU by turns (LMS_GPU_TIME_SLICES).
    gpu_time_slices: int = 1
    #: What a scraper of /metrics shows that is not on this machine (LMS_METRICS_TOKEN).
    metrics_token: str = ""
    #: Grade without a sandbox where there is none; marks every result (LMS_UNSAFE_GRADING).
    unsafe_grading: bool = False
    #: Minutes between a centre's syncs under `lms up`; 0: none (LMS_SYNC_MINUTES).
    sync_minutes: int = 0
    #: Hours until an unused sign-in ends (LMS_SESSION_HOURS).
    session_hours: int = 12
    #: Largest accepted upload in bytes (LMS_MAX_UPLOAD_BYTES).
    max_upload_bytes: int = 64 << 20
    uids: Uids = field(default_factory=Uids)

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read the settings from `env`; raises InvalidError naming the variable that is wrong."""
        lms_port = _port(env, "LMS_PORT", 8000)
        hub_port = _port(env, "HUB_PORT", 8010)
        return cls(
            data_dir=Path(env.get("LMS_DATA") or "data").absolute(),
            lms_port=lms_port,
            hub_port=hub_port,
            bind=env.get("LMS_BIND") or "127.0.0.1",
            lms_url=(env.get("LMS_URL") or f"http://127.0.0.1:{lms_port}").rstrip("/"),
            hub_url=(env.get("HUB_URL") or f"http://localhost:{hub_port}").rstrip("/"),
            hub_inner_url=(env.get("LMS_HUB_INNER_URL") or "").rstrip("/"),
            database_url=env.get("LMS_DATABASE_URL") or "",
            web_processes=_number(env, "LMS_WEB_PROCESSES", 2, low=1, high=256),
            grading_runs=_number(env, "LMS_GRADING_RUNS", 2, low=1, high=256),
            grading_executor=_one_of(env, "LMS_GRADING_EXECUTOR", EXECUTORS),
            dask_scheduler=env.get("LMS_DASK_SCHEDULER") or "",
            slurm_file=Path(env["LMS_SLURM_FILE"]) if env.get("LMS_SLURM_FILE") else None,
            server_start=_one_of(env, "LMS_SERVER_START", SERVER_STARTS),
            simulated_gpus=env.get("LMS_SIMULATED_GPUS", "").strip(),
            gpu_time_slices=_number(env, "LMS_GPU_TIME_SLICES", 1, low=1, high=64),
            metrics_token=env.get("LMS_METRICS_TOKEN", "").strip(),
            unsafe_grading=env.get("LMS_UNSAFE_GRADING") == "1",
            sync_minutes=_number(env, "LMS_SYNC_MINUTES", 0, low=0, high=1440),
            session_hours=_number(env, "LMS_SESSION_HOURS", 12, low=1, high=24 * 30),
            max_upload_bytes=_number(env, "LMS_MAX_UPLOAD_BYTES", 64 << 20, low=1024, high=1 << 40),
        )

    @property
    def host(self) -> str:
        """Where our own parts reach what listens on `bind`: every address includes loopback."""
        return "127.0.0.1" if self.bind in _EVERYWHERE else self.bind

    @property
    def tls_dir(self) -> Path:
        """What servers read of the box's own certificate."""
        return self.keys_dir / "tls"

    @property
    def has_certificate(self) -> bool:
        """Whether our own parts serve by TLS, with the certificate of `lms centre certificate`."""
        return self.lms_url.startswith("https:") and (self.tls_dir / "server.pem").exists()

    @property
    def lms_inner_url(self) -> str:
        """Where parts of this machine reach the web pages: never by TLS of our own."""
        return f"http://127.0.0.1:{self.lms_port + 2}" if self.has_certificate else self.lms_url

    @property
    def hub_health_url(self) -> str:
        """Where the Hub says that it is there; on this machine by way of its proxy."""
        here = f"http://{self.host}:{self.hub_port}"
        if self.has_certificate:
            here = f"http://127.0.0.1:{self.hub_port + 1}"
        return f"{self.hub_inner_url or here}/hub/health"

    @property
    def hub_api_url(self) -> str:
        """Where the Hub says whose a token is; on this machine past its proxy."""
        return f"{self.hub_inner_url or f'http://127.0.0.1:{self.hub_port + 1}'}/hub/api"

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'db' / 'lms.sqlite'}"

    @property
    def blobs_dir(self) -> Path:
        """Where bytes lie by digest."""
        return self.data_dir / "blobs"

    @property
    def keys_dir(self) -> Path:
        """Where each part's secrets lie, one folder a part."""
        return self.data_dir / "keys"

    @property
    def cluster_keys_dir(self) -> Path:
        """Where the certificates of the grading cluster lie."""
        return self.keys_dir / "grading" / "cluster"

    @property
    def run_dir(self) -> Path:
        """Sockets and process files; nothing in it outlives a restart of the machine."""
        return self.data_dir / "run"

    @property
    def environments_dir(self) -> Path:
        """What courses' environments are built into, one folder each."""
        return self.data_dir / "environments"

    @property
    def repository_dir(self) -> Path:
        """Where central's signed bundles lie; centres read it over the line."""
        return self.data_dir / "repository"

    @property
    def bundles_dir(self) -> Path:
        """Where a centre's courses lie as they came, in signed bundles."""
        return self.data_dir / "bundles"

    @property
    def logs_dir(self) -> Path:
        """One log a part."""
        return self.data_dir / "logs"

    @property
    def homes_dir(self) -> Path:
        """One folder a learner."""
        return self.data_dir / "homes"


def load_settings() -> Settings:
    """Return the settings of this process."""
    return Settings.from_env(os.environ)


def process_environment() -> dict[str, str]:
    """Return a copy of this process's environment, to hand on to a child."""
    return dict(os.environ)


def _number(env: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise InvalidError(
            sentence(
                "%(name)s is %(value)s; it must be a whole number from %(low)s to %(high)s.",
                name=name,
                value=text[:40],
                low=low,
                high=high,
            )
        )
    return int(text)


def _one_of(env: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    text = env.get(name, "").strip() or allowed[0]
    if text not in allowed:
        raise InvalidError(
            sentence(
                "%(name)s is %(value)s; it must be one of %(allowed)s.",
                name=name,
                value=text[:40],
                allowed=", ".join(allowed),
            )
        )
    return text


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    # Two more ports follow the Hub's own.
    return _number(env, name, default, low=1, high=65533)
