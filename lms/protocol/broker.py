"""What the grading worker and the Hub ask of the compute broker, and what it answers."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from lms.protocol.grading import Limits
from lms.protocol.sentences import Sentence

#: What a zygote's fork can run; the empty one is executed afresh.
PROGRAMS = ("", "kernel", "cells")

_MAX_WORDS = 256
_MAX_WORD_BYTES = 32768
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SERVER_NAME = re.compile(r"[A-Za-z0-9._-]{0,64}")


class Verdict(StrEnum):
    """Why a sandbox ended."""

    #: Its program ended by itself, whatever its exit code.
    EXITED = "exited"
    #: Whoever started it asked for the end.
    KILLED = "killed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    OUTPUT_EXCEEDED = "output_exceeded"
    DISK_EXCEEDED = "disk_exceeded"
    #: Whoever started it went away.
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRequest:
    """A kernel to run in a sandbox: one notebook's, used once."""

    #: What to execute, such as `(sys.executable, "-m", "ipykernel_launcher", "-f", …)`; with a
    #: `program`, the words it is given.
    argv: tuple[str, ...]
    #: Empty: execute `argv` in a fresh interpreter. Else a program that a fork of the zygote runs:
    #: "kernel" is a Jupyter kernel, "cells" takes cells over the channel.
    program: str = ""
    #: What a zygote's fork seeds its random generators with.
    seed: int = 0
    #: The environment whose packages come before the default ones, as a digest; empty: none.
    environment: str = ""
    #: Added to the few variables a sandbox has; HOME and TMPDIR stay the sandbox's own.
    env: dict[str, str] = field(default_factory=dict)
    #: The caller's folder for connection file and sockets: the same path inside, and writable.
    connection_dir: str
    #: Folder whose regular files are copied to where the kernel starts.
    files_dir: str | None = None
    limits: Limits = field(default_factory=Limits)

    def to_json(self) -> dict[str, object]:
        """Return the request as JSON values."""
        limits = {name: getattr(self.limits, name) for name in Limits.__dataclass_fields__}
        return {
            "argv": list(self.argv),
            "program": self.program,
            "seed": self.seed,
            "environment": self.environment,
            "env": self.env,
            "connection_dir": self.connection_dir,
            "files_dir": self.files_dir,
            "limits": limits,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a request; raises ValueError on anything that is not one."""
        given = _object(value)
        return cls(
            argv=_words(given.get("argv")),
            program=_program(given.get("program", "")),
            seed=_number(given.get("seed", 0)),
            environment=check_environment(given.get("environment", "")),
            env=_env(given.get("env")),
            connection_dir=_path(given.get("connection_dir")),
            files_dir=None if given.get("files_dir") is None else _path(given.get("files_dir")),
            limits=_limits(given.get("limits")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one person's notebook server may use; 0 means no limit."""

    memory_bytes: int = 4 << 30
    processes: int = 1024
    #: The size of its private /tmp, which is memory.
    scratch_bytes: int = 1 << 30
    #: Of 100 for one processor.
    cpu_percent: int = 0
    #: What the person's home may hold; measured where the file system has no quotas.
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """A notebook server to run as its learner."""

    username: str
    #: JupyterHub's name for it, empty for a person's default server.
    server_name: str = ""
    uid: int
    #: `argv[0]` names a program of our environment, such as `jupyterhub-singleuser`.
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    #: `$LMS_DATA/homes/<username>`; made when it is missing.
    home: str
    limits: ServerLimits = field(default_factory=ServerLimits)

    def to_json(self) -> dict[str, object]:
        """Return the request as JSON values."""
        limits = {name: getattr(self.limits, name) for name in ServerLimits.__dataclass_fields__}
        return {
            "username": self.username,
            "server_name": self.server_name,
            "uid": self.uid,
            "argv": list(self.argv),
            "env": self.env,
            "home": self.home,
            "limits": limits,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a request; raises ValueError on anything that is not one."""
        given = _object(value)
        limits = _object(given.get("limits"))
        return cls(
            username=check_username(given.get("username")),
            server_name=check_server_name(given.get("server_name", "")),
            uid=_number(given.get("uid")),
            argv=_words(given.get("argv")),
            env=_env(given.get("env")),
            home=_path(given.get("home")),
            limits=ServerLimits(
                **{name: _number(limits[name]) for name in _names(limits, ServerLimits)}
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerKernelRequest:
    """A kernel for a learner's running server, asked for from inside it."""

    #: Where it shall listen, as a path inside the server's sandbox.
    connection_file: str
    env: dict[str, str] = field(default_factory=dict)
    cwd: str
    #: Whose devices it gets; empty for none.
    lease: str = ""
    #: Digest of the packages it has; empty for the service's own.
    environment: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the request as JSON values."""
        return {name: getattr(self, name) for name in ServerKernelRequest.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a request; raises ValueError on anything that is not one."""
        given = _object(value)
        return cls(
            connection_file=_path(given.get("connection_file")),
            env=_env(given.get("env")),
            cwd="/" if given.get("cwd") == "/" else _path(given.get("cwd")),
            lease=_word(given.get("lease", "")),
            environment=check_environment(given.get("environment", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """Whether a notebook server runs; `exit_code` and `verdict` are None while it does."""

    running: bool
    #: The keeper's pid, or 0 when nothing is known of such a server.
    pid: int = 0
    exit_code: int | None = None
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, object]:
        """Return the state as JSON values."""
        return {
            "running": self.running,
            "pid": self.pid,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a state; raises ValueError on anything that is not one."""
        given = _object(value)
        code, verdict = given.get("exit_code"), given.get("verdict")
        return cls(
            running=given.get("running") is True,
            pid=_number(given.get("pid")),
            exit_code=code if isinstance(code, int) else None,
            verdict=None if verdict is None else Verdict(str(verdict)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxReport:
    """What this machine offers to sandboxes; `missing` says in sentences what it lacks."""

    namespaces: bool
    seccomp: bool
    #: "v1", "v2" or "none" (then a watchdog looks after memory).
    cgroups: str
    #: Whether every run and learner has an OS user of its own.
    own_uids: bool
    missing: tuple[Sentence, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether untrusted code may run here at all."""
        return self.namespaces and self.seccomp

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON values."""
        return {
            "namespaces": self.namespaces,
            "seccomp": self.seccomp,
            "cgroups": self.cgroups,
            "own_uids": self.own_uids,
            "missing": [reason.to_json() for reason in self.missing],
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Rebuild a report; raises ValueError on anything that is not one."""
        given = _object(value)
        missing = given.get("missing")
        if not isinstance(missing, list):
            raise ValueError("missing must be a list")  # noqa: TRY004 - documented kind
        return cls(
            namespaces=given.get("namespaces") is True,
            seccomp=given.get("seccomp") is True,
            cgroups=str(given.get("cgroups")),
            own_uids=given.get("own_uids") is True,
            missing=tuple(Sentence.from_json(reason) for reason in missing),
        )


def check_username(value: object) -> str:
    """Return `value` when it can name a folder and nothing else; raises ValueError otherwise."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("username must be letters, digits and . _ @ -, at most 64")
    return value


def check_server_name(value: object) -> str:
    """Return `value` when it can name a server; raises ValueError otherwise."""
    if not isinstance(value, str) or not _SERVER_NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError("server_name must be letters, digits and . _ -, at most 64")
    return value


def check_environment(value: object) -> str:
    """Return `value` when it can name an environment or none; raises ValueError otherwise."""
    if not isinstance(value, str) or not (value == "" or _DIGEST.fullmatch(value)):
        raise ValueError("environment must be sha256: and 64 hexadecimal digits, or empty")
    return value


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("a request is an object")  # noqa: TRY004 - documented kind
    return value


def _program(value: object) -> str:
    if value not in PROGRAMS:
        raise ValueError(f"program must be one of {', '.join(PROGRAMS[1:])}, or empty")
    return str(value)


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_WORDS:
        raise ValueError(f"argv must be a list of 1 to {_MAX_WORDS} words")
    return tuple(_word(word) for word in value)


def _word(value: object) -> str:
    if not isinstance(value, str) or "\0" in value or len(value.encode()) > _MAX_WORD_BYTES:
        raise ValueError(f"a word is text without NUL, at most {_MAX_WORD_BYTES} bytes")
    return value


def _env(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MAX_WORDS:
        raise ValueError(f"env must be an object of at most {_MAX_WORDS} names")
    for name in value:
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ValueError("a variable's name is text without = and NUL")
    return {name: _word(text) for name, text in value.items()}


def _path(value: object) -> str:
    path = _word(value).rstrip("/")
    if not path.startswith("/") or any(part in {".", ".."} for part in path.split("/")):
        raise ValueError("a path must be absolute and without . and ..")
    return path


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError("a number must be whole and not negative")
    return value


def _names(given: dict[str, object], kind: type[Limits | ServerLimits]) -> list[str]:
    unknown = set(given) - set(kind.__dataclass_fields__)
    if unknown:
        raise ValueError(f"unknown limits: {', '.join(sorted(unknown))}")
    return sorted(given)


def _limits(value: object) -> Limits:
    given = _object(value)
    limits = Limits(**{name: _number(given[name]) for name in _names(given, Limits)})
    # 0 would mean no limit at all.
    if not all(getattr(limits, name) for name in Limits.__dataclass_fields__):
        raise ValueError("every limit must be more than 0")
    return limits
