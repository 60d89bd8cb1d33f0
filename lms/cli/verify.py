"""`lms grade --verify`: is a grade receipt genuine, and does grading again confirm it."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from lms.bootstrap import build, receipt_keys
from lms.catalogue.service import read_manifest
from lms.cli.launching import launcher_with
from lms.cli.submit import gather
from lms.exchange.models import Submission
from lms.exchange.service import read_submission
from lms.foundation.blobs import BlobStore
from lms.foundation.errors import InvalidError, LmsError, UnavailableError
from lms.foundation.settings import Settings, load_settings
from lms.foundation.signing import read_public_keys, read_signed
from lms.grading.verifying import (
    Claimed,
    check_source,
    check_submission,
    compare,
    notes,
    read_claims,
)
from lms.outposts.broker.launcher import SandboxUnavailableError
from lms.outposts.runner.errors import KernelStartError, ReleaseError
from lms.outposts.runner.grade import grade_submission
from lms.outposts.runner.source import AssignmentSource, load_source
from lms.protocol.sentences import Sentence, sentence

_META = "lms.cli.verify"
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Asked:
    """What `lms grade --verify` was asked to look at."""

    receipt: Path | None = None
    source: Path | None = None
    submission: Path | None = None
    key: Path | None = None


@dataclass(slots=True)
class Answer:
    """What was found; it holds when there are no problems."""

    record: dict[str, Any] = field(default_factory=dict)
    problems: list[Sentence] = field(default_factory=list)
    notes: list[Sentence] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Return the shape that `lms grade --verify --json` prints."""
        return {
            "ok": not self.problems,
            "problems": [str(one) for one in self.problems],
            "notes": [str(one) for one in self.notes],
            "record": self.record,
        }


def verify_options(command: Command) -> Command:
    """Add the options of a verification; what was asked is found again with `asked`."""
    path = click.Path(path_type=Path, exists=True)
    for name, text in (
        ("key", "Trust the public keys in FILE (JWK, JWK set or PEM); by default this site's."),
        ("submission", "What was handed in: a folder or a notebook; by default this site's."),
        ("source", "The instructor's folder; by default this site's release."),
        ("verify", "Check this grade receipt instead: its signature, its files, its result."),
    ):
        add = click.option(
            f"--{name}",
            # SOURCE and SUBMISSION are arguments of the command already.
            f"verify_{name}",
            type=path,
            metavar="RECEIPT" if name == "verify" else "FILE" if name == "key" else "PATH",
            expose_value=False,
            callback=_keep,
            help=text,
        )
        command = add(command)
    return command


def asked() -> Asked:
    """Return what the running command was asked to verify."""
    found = click.get_current_context().meta.setdefault(_META, Asked())
    return found if isinstance(found, Asked) else Asked()


def _keep(context: click.Context, option: click.Parameter, value: Path | None) -> None:
    wanted = context.meta.setdefault(_META, Asked())
    name = str(option.name).removeprefix("verify_")
    setattr(wanted, "receipt" if name == "verify" else name, value)


def verify(wanted: Asked, receipt: Path, *, as_json: bool) -> None:
    """Print whether the receipt holds; exits with 1 when it does not."""
    answer = _answer(wanted, receipt, load_settings())
    if as_json:
        click.echo(json.dumps(answer.to_json(), ensure_ascii=False, indent=2))
    else:
        _print(answer)
    sys.exit(1 if answer.problems else 0)


def _answer(wanted: Asked, receipt: Path, settings: Settings) -> Answer:
    answer = Answer()
    keys = _trusted(wanted, settings)
    try:
        answer.record = read_signed(receipt.read_text("utf-8"), keys)
        claimed = read_claims(answer.record)
    except (InvalidError, UnicodeDecodeError) as error:
        not_text = sentence("This is not a signed receipt.")
        answer.problems.append(error.sentence if isinstance(error, LmsError) else not_text)
        return answer
    try:
        source = _source(wanted, claimed, settings)
        files = _submission(wanted, claimed, settings)
    except LmsError as error:
        answer.problems.append(error.sentence)
        return answer
    answer.notes += notes(claimed)
    answer.problems += check_source(claimed, source.files)
    answer.problems += check_submission(claimed, files)
    if not answer.problems:
        answer.problems += _run_again(claimed, source, files, settings)
    return answer


def _trusted(wanted: Asked, settings: Settings) -> dict[str, Ed25519PublicKey]:
    if wanted.key is not None:
        return read_public_keys(wanted.key.read_text("utf-8"))
    published = receipt_keys(settings).published()
    if not published["keys"]:
        raise InvalidError(
            sentence(
                "There is no key to trust: name one with --key. A site shows its public keys at "
                "/.well-known/receipt-keys.json."
            )
        )
    return read_public_keys(json.dumps(published))


def _source(wanted: Asked, claimed: Claimed, settings: Settings) -> AssignmentSource:
    name = str(claimed.record["assignment"])
    if wanted.source is not None:
        try:
            return load_source(wanted.source)
        except ReleaseError as error:
            raise InvalidError(error.sentence) from error
    blobs = BlobStore(settings.blobs_dir)
    if claimed.digests["release"] not in blobs:
        raise InvalidError(
            sentence("This site does not have the release; name the source with --source.")
        )
    files = read_manifest(blobs, claimed.digests["release"], "instructor")
    return AssignmentSource(name=name, files=files)


def _submission(wanted: Asked, claimed: Claimed, settings: Settings) -> dict[str, bytes]:
    if wanted.submission is not None:
        return gather((wanted.submission,))
    system = build(settings)
    try:
        with system.sessions() as session:
            found = session.scalars(
                select(Submission).where(Submission.digest == claimed.digests["submission"])
            ).first()
            if found is not None:
                return read_submission(system.blobs, found)
    except SQLAlchemyError as error:
        raise UnavailableError(
            sentence("The database does not answer; name the submission with --submission.")
        ) from error
    finally:
        system.engine.dispose()
    raise InvalidError(
        sentence("This site does not have the submission; name it with --submission.")
    )


def _run_again(
    claimed: Claimed, source: AssignmentSource, files: dict[str, bytes], settings: Settings
) -> list[Sentence]:
    try:
        outcomes = grade_submission(
            source,
            files,
            limits=claimed.limits,
            launcher=launcher_with(claimed.requirements, settings),
            seed=claimed.seed,
        )
    except SandboxUnavailableError as error:
        return [sentence("No sandbox can be started here: %(problem)s", problem=str(error))]
    except (KernelStartError, ReleaseError, UnavailableError) as error:
        return [error.sentence]
    return list(compare(claimed, [outcome.result for outcome in outcomes]))


def _print(answer: Answer) -> None:
    record = answer.record
    if record:
        click.echo(
            f"{record['issuer']} · {record['offering']}/{record['assignment']}, "
            f"attempt {record['attempt']}: {record['score']:g} / {record['max_score']:g}, "
            f"{record['status'].replace('_', ' ')}, {record['integrity']}"
        )
    for note in answer.notes:
        click.echo(f"note: {note}")
    for problem in answer.problems:
        click.echo(f"problem: {problem}")
    click.echo("The receipt does not hold." if answer.problems else "The receipt holds.")
