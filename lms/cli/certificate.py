"""`lms centre certificate`, and how the certificate is kept good while `lms up` runs."""

import os
import socket
import threading
from urllib.parse import urlsplit

import click
from sqlalchemy.exc import SQLAlchemyError

from lms.bootstrap import build
from lms.centre.tickets import find_self
from lms.foundation import clock
from lms.foundation.errors import ConflictError, InvalidError, LmsError
from lms.foundation.settings import Settings, load_settings
from lms.migrations.run import current_revision
from lms.outposts.bundles.clock import Clock
from lms.outposts.bundles.disk import Disk
from lms.outposts.tls.authority import EARLIEST, Authority, OtherNamesError, Times
from lms.protocol.sentences import sentence

_DAY = 24 * 3600.0


@click.command()
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Another name or address of the box; can be given again. Those of LMS_URL and HUB_URL "
    "are in it anyway.",
)
@click.option("--again", is_flag=True, help="Make a new authority, which laptops must trust anew.")
def certificate(hosts: tuple[str, ...], *, again: bool) -> None:
    """On the box: make its own authority and a certificate for its names and addresses.

    lms up then serves by TLS where LMS_URL and HUB_URL are https addresses, renews the certificate
    by itself, and hands the authority out on a plain page, one port above LMS_PORT.
    """
    settings = load_settings()
    authority = authority_of(settings)
    wanted = [*own_hosts(settings), *hosts]
    try:
        if again or not authority.exists():
            authority.begin(socket.gethostname(), wanted, times(settings))
        else:
            authority.renew(wanted, times(settings))
    except (OtherNamesError, ValueError) as error:
        raise _other_names(error) from error
    click.echo(f"Certificate for {', '.join(dict.fromkeys(wanted))}.")
    click.echo(f"Authority for the laptops: {authority.certificate}")
    click.echo(f"Its fingerprint, for the printed sheet:\n  {authority.fingerprint()}")
    if not settings.has_certificate:
        click.echo("It is used once LMS_URL and HUB_URL begin with https://.", err=True)


def authority_of(settings: Settings) -> Authority:
    """Return the box's authority, where only those may read it who need it."""
    own, served = settings.keys_dir / "authority", settings.tls_dir
    for folder in (own, served):
        folder.mkdir(parents=True, exist_ok=True)
    own.chmod(0o700)
    # Also what a restored backup gave back to root alone.
    modes = {served: 0o750, served / "server.pem": 0o640, served / "authority.pem": 0o644}
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode)
            if os.geteuid() == 0:
                os.chown(path, 0, settings.uids.service_gid)
    return Authority(own, served)


def own_hosts(settings: Settings) -> list[str]:
    """Return the names or addresses that browsers know the box by."""
    hosts = [urlsplit(url).hostname for url in (settings.lms_url, settings.hub_url)]
    return [host for host in dict.fromkeys(hosts) if host]


def times(settings: Settings) -> Times:
    """Return the newest signed time that this machine has seen, and what its clock says."""
    signed = Clock(settings.data_dir / "bundles" / "clock.json", Disk()).newest()
    system = build(settings)
    if current_revision(system.engine) is not None:
        with system.sessions() as session:
            me = find_self(session)
            signed = signed if me is None else max(signed, me.signed_at)
    system.engine.dispose()
    now = clock.now()
    # Where nothing was ever signed, as at central, the machine's clock is all there is.
    return Times(signed=signed if signed > EARLIEST else now, machine=now)


def renew(settings: Settings) -> None:
    """Renew the certificate if it is time; raises ConflictError for a host it may not name."""
    if not settings.has_certificate:
        return
    if urlsplit(settings.hub_url).scheme != "https":
        raise InvalidError(
            sentence("LMS_URL is an https address and HUB_URL is not: make both https.")
        )
    try:
        authority_of(settings).renew(own_hosts(settings), times(settings))
    except OtherNamesError as error:
        raise _other_names(error) from error


def keep_renewed(settings: Settings) -> None:
    """Look once a day for as long as this process lives; servers take the new one up themselves."""

    def look() -> None:
        while not threading.Event().wait(_DAY):
            try:
                renew(settings)
            except (LmsError, OSError, SQLAlchemyError) as error:
                # There are months left: tomorrow is another day.
                click.echo(f"the certificate could not be renewed: {error}", err=True)

    if settings.has_certificate:
        threading.Thread(target=look, daemon=True).start()


def _other_names(error: Exception) -> ConflictError:
    return ConflictError(
        sentence(
            "The box's authority may not name %(names)s. Make a new one with lms centre "
            "certificate --again; laptops must trust it anew.",
            names=str(error),
        )
    )
