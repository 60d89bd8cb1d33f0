"""The parts of a running system: what each is started with, sees and may write."""

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import requests

from lms.cli.certificate import authority_of
from lms.foundation.resources import resource_dir
from lms.foundation.settings import Settings, process_environment
from lms.foundation.supervisor import Part
from lms.outposts.broker.client import BrokerClient, BrokerUnavailableError
from lms.outposts.broker.view import View, can_use_views

#: What of our own environment the parts inherit; the rest stays here.
_INHERITED = ("LANG", "LC_ALL", "TZ", "PATH", "TMPDIR", "SLURM_CONF")
_SECONDS = 3
#: Requests that one web process answers at once.
_THREADS = 8


def part_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of every part: settings made absolute, nothing secret."""
    ours = process_environment()
    env = {name: ours[name] for name in _INHERITED if name in ours}
    env |= {name: value for name, value in ours.items() if name.startswith(("LMS_", "HUB_"))}
    return env | {
        "LMS_DATA": str(settings.data_dir),
        "LMS_PORT": str(settings.lms_port),
        "HUB_PORT": str(settings.hub_port),
        "LMS_BIND": settings.bind,
        "LMS_URL": settings.lms_url,
        "HUB_URL": settings.hub_url,
        **_tls_environment(settings),
        "HOME": str(settings.run_dir),
        "PYTHONUNBUFFERED": "1",
    }


def make_parts(settings: Settings) -> list[Part]:
    """Return the parts in the order they start: broker, proxy, Hub, web, worker, maybe sync."""
    env = part_environment(settings)
    parts = [
        _broker(settings, env),
        _proxy(settings, env),
        _hub(settings, env),
        _web(settings, env),
        _worker(settings, env),
    ]
    if settings.has_certificate:
        parts += [_inside(settings, env), _authority_page(settings, env)]
    return [*parts, _sync(settings, env)] if settings.sync_minutes else parts


def _tls_environment(settings: Settings) -> dict[str, str]:
    if not settings.has_certificate:
        return {}
    return {
        "LMS_INNER_URL": settings.lms_inner_url,
        "LMS_TLS": str(settings.tls_dir / "server.pem"),
    }


def used_ports(settings: Settings) -> dict[int, str]:
    """Return the ports that the parts listen on, and which setting moves each."""
    hub, lms = settings.hub_port, settings.lms_port
    ours = (lms, lms + 1, lms + 2) if settings.has_certificate else (lms,)
    return {**dict.fromkeys(ours, "LMS_PORT"), **dict.fromkeys((hub, hub + 1, hub + 2), "HUB_PORT")}


def is_free(bind: str, port: int) -> bool:
    """Say whether `port` can be listened on."""
    with socket.socket() as probe:
        # As the servers do: a port that an ended connection still lingers on is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError:
            return False
    return True


def _broker(settings: Settings, env: dict[str, str]) -> Part:
    path = settings.run_dir / "broker.sock"

    def ready() -> str | None:
        try:
            BrokerClient(path).probe()
        except BrokerUnavailableError as error:
            return str(error)
        return None

    argv = (sys.executable, "-m", "lms.cli", "broker")
    return Part(name="broker", argv=argv, env=env, ready=ready)


def _proxy(settings: Settings, env: dict[str, str]) -> Part:
    from lms.outposts.hub.place import HubPlace, proxy_command

    place = HubPlace.from_env(env)
    port = settings.hub_port + 2
    return Part(
        name="proxy",
        argv=proxy_command(sys.executable, place),
        env={**env, "CONFIGPROXY_AUTH_TOKEN": place.key("proxy_token")},
        view=_view(settings, settings.uids.proxy, read=_tls_folder(settings)),
        ready=_listens(port),
    )


def _hub(settings: Settings, env: dict[str, str]) -> Part:
    from lms.outposts.hub.place import hub_command

    config = resource_dir("hub_config")
    return Part(
        name="hub",
        argv=hub_command(sys.executable, config / "jupyterhub_config.py"),
        env=env,
        view=_view(
            settings,
            settings.uids.hub,
            write=(settings.data_dir / "hub",),
            read=(settings.keys_dir / "hub", settings.run_dir),
        ),
        cwd=settings.data_dir / "hub",
        ready=_answers(f"http://127.0.0.1:{settings.hub_port + 1}/hub/health"),
        ready_seconds=120,
    )


def _tls_folder(settings: Settings) -> tuple[Path, ...]:
    return (settings.tls_dir,) if settings.has_certificate else ()


def _inside(settings: Settings, env: dict[str, str]) -> Part:
    """Serve the pages once more, without TLS, for the Hub and the servers of this machine."""
    port = settings.lms_port + 2
    return replace(
        _web(settings, env),
        name="inside",
        argv=_gunicorn(f"127.0.0.1:{port}", 1),
        ready=_listens(port),
    )


def _authority_page(settings: Settings, env: dict[str, str]) -> Part:
    authority, port = authority_of(settings), settings.lms_port + 1
    return Part(
        name="certificate",
        argv=(
            *(sys.executable, "-m", "lms.outposts.tls.page", settings.bind, str(port)),
            *(str(authority.certificate), authority.fingerprint(), settings.lms_url),
        ),
        env=env,
        view=_view(settings, settings.uids.proxy, read=_tls_folder(settings)),
        ready=_listens(port, settings.host),
    )


def _gunicorn(bind: str, processes: int, *more: str) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "gunicorn", "lms.cli.wsgi:application()"),
        *("--bind", bind, "--workers", str(processes)),
        # Who sends or reads slowly, as a centre on a thin line, keeps a thread and not the site.
        *("--worker-class", "gthread", "--threads", str(_THREADS)),
        *("--no-control-socket", "--timeout", "120", "--graceful-timeout", "5"),
        *more,
    )


def _web(settings: Settings, env: dict[str, str]) -> Part:
    pair = str(settings.tls_dir / "server.pem")
    tls = ("--certfile", pair, "--keyfile", pair) if settings.has_certificate else ()
    bind = f"{settings.bind}:{settings.lms_port}"
    argv = _gunicorn(bind, settings.web_processes, *tls)
    return Part(
        name="web",
        argv=argv,
        env=env,
        view=_view(
            settings,
            settings.uids.web,
            write=(settings.data_dir / "db", settings.blobs_dir, settings.bundles_dir),
            read=(
                settings.keys_dir / "web",
                settings.environments_dir,
                settings.keys_dir / "public",
                settings.repository_dir,
                *_tls_folder(settings),
            ),
        ),
        ready=_listens(settings.lms_port, settings.host),
    )


def _worker(settings: Settings, env: dict[str, str]) -> Part:
    return Part(
        name="worker",
        argv=(sys.executable, "-m", "lms.cli", "worker"),
        env=env,
        view=_view(
            settings,
            settings.uids.worker,
            write=(settings.data_dir / "db", settings.blobs_dir),
            read=(settings.run_dir, settings.keys_dir / "grading", settings.environments_dir),
        ),
    )


def _sync(settings: Settings, env: dict[str, str]) -> Part:
    # It does what the operator's own `lms centre sync` does, and like that in no view of its own:
    # courses, their packages and the centre's keys lie in the folders of several parts.
    command = ("-m", "lms.cli", "centre", "sync", "--watch")
    return Part(
        name="sync",
        argv=(sys.executable, *command, "--every", str(settings.sync_minutes)),
        env=env,
    )


def _view(
    settings: Settings, uid: int, *, write: tuple[Path, ...] = (), read: tuple[Path, ...] = ()
) -> View | None:
    if not can_use_views():
        return None
    return View(uid=uid, gid=settings.uids.service_gid, read_write=write, read_only=read)


def _listens(port: int, host: str = "127.0.0.1") -> Callable[[], str | None]:
    def ready() -> str | None:
        with socket.socket() as client:
            client.settimeout(_SECONDS)
            code = client.connect_ex((host, port))
        return None if code == 0 else f"port {port} does not answer: {os.strerror(code)}"

    return ready


def _answers(url: str) -> Callable[[], str | None]:
    def ready() -> str | None:
        try:
            requests.get(url, timeout=_SECONDS).raise_for_status()
        except requests.RequestException as error:
            return f"{url} does not answer: {type(error).__name__}"
        return None

    return ready
