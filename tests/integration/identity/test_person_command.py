"""`lms person` on a real database file."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lms.cli.person import person as command
from lms.foundation.db import make_engine
from lms.foundation.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from lms.identity import service as identity
from lms.migrations.tables import metadata


class Shell:
    """Runs the command with a data folder of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.url = f"sqlite:///{data_dir / 'db' / 'lms.sqlite'}"
        self.env = {"LMS_DATA": str(data_dir), "LMS_DATABASE_URL": ""}

    def run(self, *argv: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(command, argv, env=self.env, input=typed)

    def json(self, *argv: str) -> dict[str, object]:
        result = self.run(*argv, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def empty(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def shell(empty: Shell) -> Shell:
    engine = make_engine(empty.url)
    metadata.create_all(engine)
    engine.dispose()
    return empty


def _opens(shell: Shell, username: str, password: str) -> bool:
    from sqlalchemy.orm import Session

    from lms.foundation.errors import LmsError

    engine = make_engine(shell.url)
    try:
        with Session(engine) as session:
            identity.authenticate(session, username, password)
    except LmsError:
        return False
    finally:
        engine.dispose()
    return True


def test_add_prints_the_password_once(shell: Shell) -> None:
    result = shell.run("add", "minseo", "--name", "김민서")
    assert result.exit_code == 0, result.output
    password = result.stdout.strip().rpartition(": ")[2]
    assert _opens(shell, "minseo", password)
    assert password not in shell.run("list").stdout


def test_add_as_json_gives_a_program_all_it_needs(shell: Shell) -> None:
    made = shell.json("add", "boss", "--admin", "--email", "boss@example.org")
    password = made.pop("password")
    assert made == {
        "username": "boss",
        "name": "boss",
        "email": "boss@example.org",
        "admin": True,
        "disabled": False,
        "os_uid": 200000,
    }
    assert _opens(shell, "boss", str(password))


def test_a_password_from_standard_input_is_not_printed(shell: Shell) -> None:
    result = shell.run("add", "minseo", "--password-stdin", typed="four plain words here\n")
    assert result.exit_code == 0, result.output
    assert "four plain" not in result.stdout
    assert _opens(shell, "minseo", "four plain words here")


def test_reset_gives_another_password(shell: Shell) -> None:
    first = str(shell.json("add", "minseo")["password"])
    second = str(shell.json("reset", "minseo")["password"])
    assert first != second
    assert not _opens(shell, "minseo", first)
    assert _opens(shell, "minseo", second)


def test_disable_and_enable_close_and_open_the_account(shell: Shell) -> None:
    password = str(shell.json("add", "minseo")["password"])
    assert shell.json("disable", "minseo")["disabled"] is True
    assert not _opens(shell, "minseo", password)
    assert shell.run("enable", "minseo").exit_code == 0
    assert _opens(shell, "minseo", password)


def test_list_narrows_by_name(shell: Shell) -> None:
    shell.run("add", "minseo", "--name", "김민서")
    shell.run("add", "jiwoo", "--name", "박지우", "--admin")
    found = shell.json("list", "지우")["people"]
    assert isinstance(found, list)
    assert [entry["username"] for entry in found] == ["jiwoo"]
    assert "admin" in shell.run("list", "jiwoo").stdout


@pytest.mark.parametrize(
    ("argv", "kind"),
    [
        (("add", "root"), ConflictError),
        (("add", "Not Fine"), InvalidError),
        (("reset", "nobody-here"), NotFoundError),
        (("disable", "boss"), ConflictError),
        (("add", "second", "--password-stdin"), InvalidError),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    shell: Shell, argv: tuple[str, ...], kind: type[Exception]
) -> None:
    shell.run("add", "boss", "--admin")
    result = shell.run(*argv, typed="")
    assert isinstance(result.exception, kind)
    assert str(result.exception).endswith(".")
    assert "\n" not in str(result.exception)


def test_without_a_database_it_says_what_to_run(empty: Shell) -> None:
    result = empty.run("list")
    assert isinstance(result.exception, UnavailableError)
    assert "lms up" in str(result.exception)
