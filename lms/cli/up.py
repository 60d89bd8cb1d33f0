"""`lms up`: prepare the data folder, start every part, keep them running, end them all."""

import threading
from pathlib import Path

import click
import requests

from lms.cli.certificate import keep_renewed, renew
from lms.cli.parts import is_free, make_parts, used_ports
from lms.cli.prepare import credentials_path, prepare
from lms.foundation.errors import ConflictError, InvalidError
from lms.foundation.settings import Settings, load_settings
from lms.foundation.supervisor import Event, Stage, Supervisor
from lms.identity.keys import ensure_keys
from lms.protocol.sentences import sentence

_STAGES = {
    Stage.STARTING: "starting",
    Stage.READY: "ready",
    Stage.CRASHED: "ended",
    Stage.STOPPED: "stopped",
}


@click.command()
@click.option(
    "--courses",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Load this folder of courses first (default: ./courses where there is one).",
)
@click.option("--demo", is_flag=True, help="Also make a demo teacher and a demo student.")
def up(courses: Path | None, *, demo: bool) -> None:
    """Start web pages, Hub, proxy, broker and grading worker; Ctrl-C ends them all.

    Everything that must be kept lies in LMS_DATA (default ./data). A second start keeps it.
    """
    settings = load_settings()
    _check_urls(settings)
    if courses is None and Path("courses").is_dir():
        courses = Path("courses")
    # The proxy's and the Hub's parts name their keys, so these come before the parts.
    settings.keys_dir.mkdir(parents=True, exist_ok=True)
    ensure_keys(settings)

    def before_start() -> None:
        _check_ports(settings)
        click.echo(f"preparing {settings.data_dir}")
        prepare(settings, courses, demo=demo)
        renew(settings)
        keep_renewed(settings)
        # From here on nothing of an earlier run answers in our place.
        threading.Thread(target=_announce, args=(settings,), daemon=True).start()

    supervisor = Supervisor(
        make_parts(settings),
        settings.run_dir,
        settings.logs_dir,
        say=_say,
        before_start=before_start,
        after_stop=lambda: _end_servers(settings),
    )
    supervisor.run()
    click.echo("everything has stopped; the data is kept in " + str(settings.data_dir))


def _check_urls(settings: Settings) -> None:
    lms, hub = (_host(url) for url in (settings.lms_url, settings.hub_url))
    if lms == hub:
        raise InvalidError(
            sentence(
                "LMS_URL and HUB_URL are both on %(host)s; they need two host names, because "
                "cookies ignore ports. Locally use 127.0.0.1 and localhost.",
                host=lms,
            )
        )


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""


def _check_ports(settings: Settings) -> None:
    for port, variable in used_ports(settings).items():
        if not is_free(settings.bind, port):
            raise ConflictError(
                sentence(
                    "Port %(port)s is in use by another program; "
                    "stop that, or set %(variable)s to another port.",
                    port=port,
                    variable=variable,
                )
            )


def _say(event: Event) -> None:
    text = f"  {event.part:8} {_STAGES[event.stage]}"
    if event.stage is Stage.CRASHED:
        text += f" with exit code {event.exit_code}, again in {event.wait_seconds:g} s"
    click.echo(text)


def _announce(settings: Settings) -> None:
    """Say where it is once all parts work."""
    inner = settings.lms_inner_url if settings.has_certificate else ""
    url = f"{inner or f'http://{settings.host}:{settings.lms_port}'}/healthz"
    pause = threading.Event()
    while not pause.wait(0.5):
        try:
            answer = requests.get(url, timeout=5, headers={"Host": _netloc(settings.lms_url)})
        except requests.RequestException:
            continue
        if answer.ok:
            break
    path = credentials_path(settings)
    click.echo(f"\nSeodang is up: {settings.lms_url}\n")
    if path.exists():
        click.echo(f"Logins (also in {path}):")
        for line in path.read_text("utf-8").splitlines():
            click.echo(f"  {line}")
    click.echo("\nCtrl-C ends everything; the data is kept.", color=True)


def _netloc(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).netloc


def _end_servers(settings: Settings) -> None:
    """End the notebook servers, which outlive the Hub and the broker but not `lms up`."""
    from lms.outposts.broker.servers import end_servers

    end_servers(settings.run_dir / "servers")
