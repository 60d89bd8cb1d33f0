"""Backup and restore: the database as portable rows, the blobs, the keys, in one archive.

The rows are written by table and column, not in a database's own format: a backup of SQLite can be
restored into PostgreSQL, which is also how a site moves. Restoring needs the revision that the
backup was made with; the caller migrates further afterwards.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, DateTime, Engine, MetaData, Table, insert, select, text

from lms.foundation.errors import ConflictError, InvalidError
from lms.protocol.sentences import sentence

FORMAT = 1
_CHUNK = 1 << 20
_ROWS = 500
_SPOOL_BYTES = 16 << 20
#: How files are named while a part still writes them.
_UNFINISHED = (".new-", ".health-")
_VERSION_TABLE = "alembic_version"


@dataclass(slots=True)
class Contents:
    """What an archive holds; the last member of the archive says so."""

    created_at: str
    revision: str
    rows: dict[str, int] = field(default_factory=dict)
    #: Digest of each member by name.
    members: dict[str, str] = field(default_factory=dict)


def write_backup(
    target: Path,
    engine: Engine,
    folders: dict[str, Path],
    *,
    now: datetime,
    progress: Callable[[str], None] = lambda _name: None,
) -> Contents:
    """Write database and `folders` (by name in the archive) to `target`; it appears when whole.

    The database is read in one transaction, before the folders: blobs are only ever added, so all
    that the rows name is there. Raises ConflictError when `target` exists.
    """
    if target.exists():
        raise ConflictError(
            sentence("%(file)s exists already; choose another name.", file=str(target))
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _private(partial) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            contents = _write_members(archive, engine, folders, now, progress)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return contents


def read_backup(
    source: Path,
    engine: Engine,
    folders: dict[str, Path],
    migrate: Callable[[str], None],
    *,
    progress: Callable[[str], None] = lambda _name: None,
) -> Contents:
    """Restore `source` into an empty database and empty folders.

    `migrate` brings the database to a revision. Every member is checked against its digest before
    anything is written. Raises InvalidError for a file that is no backup or is damaged.
    """
    contents = check_backup(source)
    with tarfile.open(source, "r:gz") as archive:
        migrate(contents.revision)
        _restore_rows(archive, engine, contents, progress)
    with tarfile.open(source, "r:gz") as archive:
        for member in archive:
            name, _, path = member.name.partition("/")
            if name in folders and member.isfile():
                progress(member.name)
                _restore_file(archive, member, folders[name] / path)
    return contents


def check_backup(source: Path) -> Contents:
    """Read the whole archive and compare every digest; raises InvalidError."""
    try:
        document, seen = _read_members(source)
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError) as error:
        raise _damaged(source, str(error)) from error
    if document.get("format") != FORMAT:
        raise _damaged(source, "contents.json")
    contents = Contents(
        created_at=document["created_at"],
        revision=document["revision"],
        rows=document["rows"],
        members=document["members"],
    )
    for name in contents.members.keys() | seen.keys():
        if contents.members.get(name) != seen.get(name):
            raise _damaged(source, name)
    return contents


def _read_members(source: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return contents.json, empty when it is missing, and the digest of every other member."""
    document: dict[str, Any] = {}
    seen: dict[str, str] = {}
    with gzip.open(source) as whole, tarfile.open(fileobj=whole, mode="r:") as archive:
        for member in archive:
            stream = archive.extractfile(member) if _is_safe(member) else None
            if stream is None:
                raise _damaged(source, member.name)
            if member.name == "contents.json":
                document = json.load(stream)
            else:
                seen[member.name] = _digest(stream)
        # tarfile stops at its end mark; gzip compares its checksum only at the end of the file.
        while whole.read(_CHUNK):
            pass
    return document, seen


def _write_members(
    archive: tarfile.TarFile,
    engine: Engine,
    folders: dict[str, Path],
    now: datetime,
    progress: Callable[[str], None],
) -> Contents:
    contents = Contents(created_at=now.isoformat(), revision="")
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        contents.revision = connection.scalar(text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608 - a constant
        for table in _tables(connection):
            progress(f"rows/{table.name}")
            lines = list(_dump(connection, table))
            contents.rows[table.name] = len(lines)
            data = "".join(lines).encode()
            _add(archive, contents, f"rows/{table.name}.jsonl", io.BytesIO(data), len(data))
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink() and not path.name.startswith(_UNFINISHED):
                member = f"{name}/{path.relative_to(folder).as_posix()}"
                progress(member)
                _add_file(archive, contents, member, path)
    document = {"format": FORMAT, **{f: getattr(contents, f) for f in Contents.__slots__}}
    data = json.dumps(document, indent=1).encode()
    _add(archive, Contents("", ""), "contents.json", io.BytesIO(data), len(data))
    return contents


def _add_file(archive: tarfile.TarFile, contents: Contents, name: str, path: Path) -> None:
    """Add a copy: a file that people work on may change between its digest and its bytes."""
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as copy:
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, copy, _CHUNK)
        except FileNotFoundError:
            return
        size = copy.tell()
        copy.seek(0)
        _add(archive, contents, name, copy, size)


def _add(
    archive: tarfile.TarFile, contents: Contents, name: str, stream: IO[bytes], size: int
) -> None:
    contents.members[name] = _digest(stream)
    stream.seek(0)
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    archive.addfile(info, stream)


def _tables(connection: Connection) -> list[Table]:
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != _VERSION_TABLE]


def _dump(connection: Connection, table: Table) -> Iterator[str]:
    order = list(table.primary_key.columns)
    for row in connection.execute(select(table).order_by(*order)).mappings():
        yield json.dumps({key: _plain(value) for key, value in row.items()}) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        # SQLite gives naive instants, which are UTC: see lms.foundation.db.Instant.
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _restore_rows(
    archive: tarfile.TarFile,
    engine: Engine,
    contents: Contents,
    progress: Callable[[str], None],
) -> None:
    with engine.connect().execution_options(sqlite_begin="IMMEDIATE") as connection:
        for table in _tables(connection):
            if connection.execute(select(table).limit(1)).first() is not None:
                raise ConflictError(
                    sentence("The database is not empty; restore into an empty one.")
                )
        for table in _tables(connection):
            if table.name not in contents.rows:
                continue
            progress(f"rows/{table.name}")
            stream = archive.extractfile(f"rows/{table.name}.jsonl")
            if stream is not None:
                _insert(connection, table, stream)
        connection.commit()


def _insert(connection: Connection, table: Table, stream: IO[bytes]) -> None:
    batch: list[dict[str, Any]] = []
    for line in stream:
        row = json.loads(line)
        batch.append({name: _typed(table, name, value) for name, value in row.items()})
        if len(batch) == _ROWS:
            connection.execute(insert(table), batch)
            batch = []
    if batch:
        connection.execute(insert(table), batch)
    if connection.dialect.name == "postgresql" and _has_numbers(table):
        # Rows came with their ids: the next one must not collide.
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('\"{table.name}\"', 'id'), "  # noqa: S608
                f'(SELECT coalesce(max(id), 0) + 1 FROM "{table.name}"), false)'
            )
        )


def _has_numbers(table: Table) -> bool:
    """Say whether the database numbers the table's rows by itself."""
    return "id" in table.columns and table.columns["id"].type.python_type is int


def _typed(table: Table, name: str, value: object) -> object:
    kind = table.columns[name].type
    if not isinstance(value, str):
        return bool(value) if value is not None and kind.python_type is bool else value
    if isinstance(kind, DateTime):
        moment = datetime.fromisoformat(value)
        return moment if kind.timezone else moment.replace(tzinfo=None)
    return date.fromisoformat(value) if kind.python_type is date else value


def _restore_file(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    stream = archive.extractfile(member)
    if stream is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _private(path) as file:
        while chunk := stream.read(_CHUNK):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _private(path: Path) -> IO[bytes]:
    # Archives and keys hold secrets: nobody else may read them, not even for a moment.
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b")


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _is_safe(member: tarfile.TarInfo) -> bool:
    name = member.name
    return member.isfile() and not name.startswith("/") and ".." not in name.split("/")


def _damaged(source: Path, what: str) -> InvalidError:
    return InvalidError(
        sentence(
            "%(file)s is not a whole backup (%(what)s). Nothing was changed; use another one.",
            file=str(source),
            what=what[:120],
        )
    )
