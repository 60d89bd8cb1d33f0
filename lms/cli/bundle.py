"""`lms bundle`: build, check and export signed bundles of courses, and see to their keys."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy import inspect

from lms.bootstrap import build as build_system
from lms.bootstrap import sync_signer
from lms.catalogue.course_file import read_course
from lms.catalogue.environments import wheel_files
from lms.catalogue.sealing import seal_course
from lms.centre.corrections import FILE as CORRECTIONS
from lms.centre.corrections import write_corrections
from lms.centre.keys import centre_keys, make_folders, make_private, seals_dir
from lms.centre.opening import OpeningPlace, give_codes, list_seals, open_code
from lms.centre.tickets import get_centre
from lms.cli.software import software_content
from lms.foundation import clock
from lms.foundation.db import transaction
from lms.foundation.errors import InvalidError
from lms.foundation.settings import load_settings
from lms.grading.models import RegradePlan
from lms.outposts.bundles.build import Added, Content, OnProgress, add_version, folder_content
from lms.outposts.bundles.check import check
from lms.outposts.bundles.export import export as export_to
from lms.outposts.bundles.keys import ONLINE, ROOTS, Keys
from lms.outposts.bundles.problems import BundleError
from lms.outposts.bundles.sealing import Seals
from lms.outposts.bundles.signing import Signed
from lms.outposts.bundles.store import Store
from lms.outposts.software.contents import INSTALLER, SOFTWARE
from lms.outposts.software.stick import write_installer
from lms.protocol.sentences import sentence

#: What stands for no folder of wheels.
_NONE = "none"
_FOLDER = click.Path(path_type=Path, file_okay=False)
_KEYS = click.option(
    "--keys",
    "key_folders",
    type=_FOLDER,
    multiple=True,
    help="Folder with the private keys, such as a stick; can be given again. "
    "Default: bundle-keys in the data folder.",
)


@click.group()
def bundle() -> None:
    """Build, check and export signed bundles of courses and the software for offline centres."""


@bundle.command()
@click.argument(
    "folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option("--course", help="Key of the course.")
@click.option(
    "--software",
    "course",
    flag_value=SOFTWARE,
    help="Instead of a course, the software itself, from the wheels that make wheels gathers.",
)
@click.option("--to", "place", type=_FOLDER, help="Repository to add to, if not the site's own.")
@_KEYS
@click.option(
    "--wheels",
    metavar="DIR",
    help="Folder with the wheels of the course's environment, which travel with it; none: centres "
    "get them from an index.",
)
@click.option("--needs", default="0", help="Version of the software that a centre needs at least.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def build(
    folder: Path | None,
    course: str | None,
    place: Path | None,
    key_folders: tuple[Path, ...],
    needs: str,
    *,
    wheels: str | None,
    as_json: bool,
) -> None:
    """Add what FOLDER holds to a repository as the next version of a course.

    The first time, a repository and its keys are made. The source of assignments with sealed_until
    in course.toml travels closed: lms bundle code gives what opens it, from that time on.
    """
    if course is None or (folder is None) != (course == SOFTWARE):
        raise click.UsageError("Name a FOLDER and its --course, or say --software.")
    repository = place or load_settings().repository_dir
    with _sentences(), TemporaryDirectory(prefix="bundle-") as scratch:
        keys = _keys(key_folders)
        if not Signed(repository, keys).exists():
            keys.make([*ROOTS, *ONLINE])
        if folder is None:
            content = software_content(wheels, Path(scratch))
        else:
            content = _course_content(folder, course, wheels, Path(scratch))
        with _bar("Packing", hidden=as_json) as progress:
            added = add_version(
                repository,
                course,
                replace(content, needs=needs),
                keys=keys,
                now=clock.now(),
                seals=_seals() if content.sealed else None,
                on_progress=progress,
            )
    _print_added(course, added, as_json=as_json)


def _course_content(folder: Path, course: str, wheels: str | None, scratch: Path) -> Content:
    files, sealed = seal_course(folder, folder_content(folder), scratch, today=clock.now().date())
    files |= _wheel_files(folder, wheels) | _corrections(course, scratch)
    return Content(files=files, sealed=sealed)


def _corrections(course: str, scratch: Path) -> dict[str, Path]:
    """Return what central decided of corrected assignments; nothing where there is no database."""
    system = build_system(load_settings())
    try:
        if not inspect(system.engine).has_table(RegradePlan.__tablename__):
            return {}
        with system.sessions() as session:
            content = write_corrections(session, course)
    finally:
        system.engine.dispose()
    if content is None:
        return {}
    path = scratch / CORRECTIONS
    path.write_bytes(content)
    return {CORRECTIONS: path}


def _wheel_files(folder: Path, wheels: str | None) -> dict[str, Path]:
    if wheels == _NONE or not (folder / "course.toml").is_file():
        return {}
    entry = read_course(folder, today=clock.now().date())
    if not entry.environment:
        return {}
    if wheels is None:
        raise InvalidError(
            sentence(
                "%(course)s has packages of its own, which centres cannot get from an index: name "
                "the folder of their wheels with --wheels, or say --wheels none.",
                course=entry.key,
            )
        )
    if not Path(wheels).is_dir():
        raise InvalidError(sentence("%(folder)s is not there.", folder=wheels))
    return wheel_files(folder, entry, Path(wheels))


def _print_added(course: str, added: Added, *, as_json: bool) -> None:
    facts = {
        "course": course,
        "version": added.manifest.version,
        "changed": added.changed,
        "seals": {name: values["opens"] for name, values in sorted(added.manifest.seals.items())},
        "files": len(added.manifest.entries),
        "pack_bytes": added.pack_bytes,
        "step_bytes": list(added.step_bytes),
        "manifest": added.digest,
    }
    if as_json:
        click.echo(json.dumps(facts))
    elif added.changed:
        click.echo(
            f"{course} version {added.manifest.version}: {len(added.manifest.entries)} files, "
            f"{added.pack_bytes / 1e6:.1f} MB of new packs"
        )
        for number, size in enumerate(added.step_bytes, 1):
            click.echo(f"  step from {number} before: {size / 1e3:.1f} KB")
    else:
        click.echo(f"{course} is unchanged: version {added.manifest.version} stays the newest.")


@bundle.command()
@click.argument("repository", type=_FOLDER)
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The root to trust; without it the repository's own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def verify(repository: Path, root: Path | None, *, as_json: bool) -> None:
    """Check signatures and every byte of a repository or a stick; 1 when something is damaged."""
    with _sentences():
        found = check(repository, root=root.read_bytes() if root else None, now=clock.now())
    problems = [str(problem) for problem in found.problems]
    if as_json:
        facts = {"versions": found.versions, "files": found.files, "problems": problems}
        click.echo(json.dumps(facts, ensure_ascii=False))
    else:
        for course, version in found.versions.items():
            click.echo(f"{course} version {version}")
        for line in (*found.notes, *problems):
            click.echo(line)
        click.echo(f"{found.files} files checked, {len(problems)} problems")
    sys.exit(1 if problems else 0)


@bundle.command()
@click.option("--from", "place", type=_FOLDER, help="Repository to copy, if not the site's own.")
@click.option("--to", "stick", type=_FOLDER, required=True, help="Folder on the stick.")
@click.option("--course", "courses", multiple=True, help="Only this course; can be given again.")
@click.option("--since", type=int, default=0, help="Version that the centre has already.")
def export(place: Path | None, stick: Path, courses: tuple[str, ...], since: int) -> None:
    """Write the newest versions to a stick, as much of them as it does not hold already.

    Where the software is among them, install.sh at the top of the stick installs it.
    """
    repository = place or load_settings().repository_dir
    with _sentences():
        done = export_to(repository, stick, courses=courses, since=since)
        plain = write_installer(repository, stick) if SOFTWARE in (courses or (SOFTWARE,)) else 0
    click.echo(f"{done.files} files, {(done.bytes + plain) / 1e6:.1f} MB written to {stick}")
    if (stick / INSTALLER).exists():
        click.echo(f"On a new machine: sh {stick / INSTALLER}")


@bundle.command()
@click.argument("course")
@click.option("--centre", "name", required=True, help="Name of the centre that is to open.")
@click.option("--json", "as_json", is_flag=True, help="Print the codes as JSON.")
def code(course: str, name: str, *, as_json: bool) -> None:
    """At central: the code with which a centre opens the hidden tests of COURSE.

    There is none before the opening time. It is good for that centre alone, and is written down.
    """
    system = build_system(load_settings())
    signer = sync_signer(system.settings)
    with transaction(system.sessions) as session:
        centre = get_centre(session, name)
        given = give_codes(session, centre, course, _seals(), signer, now=clock.now())
    if as_json:
        rows = [{"code": one.code, "opens": one.opens_at.isoformat()} for one in given]
        click.echo(json.dumps(rows))
        return
    for one in given:
        click.echo(f"{one.code}  (from {one.opens_at.isoformat()})")


@bundle.command("open")
@click.argument("course")
@click.argument("code")
def open_(course: str, code: str) -> None:
    """At a centre: open the hidden tests of COURSE with central's CODE and grade what waits."""
    system = build_system(load_settings())
    keys = centre_keys(system.settings)
    make_folders(keys)
    place = OpeningPlace(
        sessions=system.sessions,
        blobs=system.blobs,
        store=Store(system.settings.data_dir / "bundles"),
        signer=keys.signer(clock.now()),
    )
    open_code(place, course, code, now=clock.now())
    click.echo(f"The hidden tests of {course} are open. What was handed in is graded now.")
    for one in list_seals(place.store, course):
        if not one.is_open:
            click.echo(f"Others open at {one.opens_at.isoformat()}, with another code.")


@bundle.command()
@click.argument("repository", type=_FOLDER)
@_KEYS
@click.option("--replace", metavar="NAME", help="Key to replace, such as root-2 or timestamp.")
@click.option("--revoke-course", metavar="COURSE", help="Course whose key is lost or stolen.")
@click.option("--renew", is_flag=True, help="Sign the same content again, for its dates.")
def keys(
    repository: Path,
    key_folders: tuple[Path, ...],
    replace: str | None,
    revoke_course: str | None,
    *,
    renew: bool,
) -> None:
    """Make the keys of REPOSITORY, or replace some of them.

    Each key is a file of its own: move root-1.pem, root-2.pem and root-3.pem to separate sticks.
    Two of them must be at hand (--keys STICK --keys STICK) when a root or online key is replaced.
    """
    with _sentences():
        held = _keys(key_folders)
        signed = Signed(repository, held)
        if not signed.exists():
            held.make([*ROOTS, *ONLINE])
            signed.begin(clock.now())
        if replace:
            if replace not in (*ROOTS, *ONLINE):
                raise click.BadParameter(f"{replace} is none of {', '.join((*ROOTS, *ONLINE))}")
            signed.rotate(replace, clock.now())
        if revoke_course:
            signed.revoke_course(revoke_course, clock.now())
        if renew:
            signed.renew(clock.now())
    click.echo(f"Root version {signed.root_version()}, courses: {', '.join(signed.courses())}")


def _seals() -> Seals:
    folder = seals_dir(load_settings())
    make_private(folder)
    return Seals(folder)


def _keys(folders: tuple[Path, ...]) -> Keys:
    return Keys(*(folders or (load_settings().data_dir / "bundle-keys",)))


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        raise InvalidError(error.sentence) from error


@contextmanager
def _bar(label: str, *, hidden: bool) -> Iterator[OnProgress]:
    """Draw a bar where a person waits."""
    if hidden or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr) as bar:
        shown = 0

        def progress(done: int, whole: int) -> None:
            nonlocal shown
            at = done * 1000 // max(1, whole)
            bar.update(at - shown)
            shown = at

        yield progress
