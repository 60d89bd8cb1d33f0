"""What a launcher tells the keeper to build: one JSON object, checked before it gets here."""

from typing import Literal, TypedDict


class Bind(TypedDict):
    """A host path that appears at the same path inside."""

    path: str
    writable: bool
    #: A missing source is left out instead of ending the launch.
    optional: bool


class Joining(TypedDict):
    """Whose sandbox a program joins, whose view its paths are in, and what it may have."""

    #: Put the program into the sandbox that has this first process (0: build one); whose keeper is
    #: `joins_keeper`.
    joins: int
    joins_keeper: int
    #: The lease whose devices the program has (empty: none), and their nodes on this machine.
    lease: str
    devices: list[str]
    #: Enter this process's mount namespace first (0: stay); the caller of the broker may live in
    #: a view of its own, and paths mean what they mean there.
    caller_pid: int
    caller_uid: int


class Spec(Joining):
    """One sandbox; the keeper trusts every field."""

    argv: list[str]
    #: What a zygote's fork runs instead of executing `argv` (empty: execute it).
    program: str
    #: What such a fork seeds its random generators with.
    seed: int
    env: dict[str, str]
    #: Where the program starts; made inside when it lies on the sandbox's own disk.
    cwd: str
    umask: int
    #: How the program's user is called inside, and its home.
    user: str
    home: str
    uid: int
    gid: int
    groups: list[int]
    #: First and one past the last uid to lease from instead of `uid`; equal: no lease.
    lease_first: int
    lease_end: int
    #: Not root: an own user namespace in which the one user there is appears as `uid`.
    user_namespace: bool
    network: bool
    terminals: bool
    #: False only where the operator allows grading without a sandbox.
    isolated: bool
    #: The caller hears of the start only: the sandbox lives on by itself.
    detached: bool
    binds: list[Bind]
    #: Folder that holds connection file and sockets (empty: none).
    connection_dir: str
    #: Folder whose regular files are copied into `cwd` (empty: none).
    files_dir: str
    scratch_bytes: int
    #: 0 means no limit.
    memory_bytes: int
    #: The keeper found no control group and counts what processes hold.
    watched_memory: bool
    processes: int
    #: Of 100 for one processor; 0 means no limit. Whatever it is, all share alike.
    cpu_percent: int
    wall_seconds: int
    output_bytes: int
    file_bytes: int
    #: Over the memory limit: end the whole sandbox, or the largest process in it.
    on_memory: Literal["end", "largest"]
    #: "capture": keep the tail and count; "inherit": the keeper's own; else append to this log.
    output: str
    #: Seconds between the polite signal and the end.
    grace_seconds: float
    #: Where the final report is written as well (empty: nowhere); the folder must exist.
    report_path: str
    #: Where the keeper says which process it is, for who comes later; only one keeper at a time
    #: can have a path (empty: nowhere).
    state_path: str


def blank_spec() -> Spec:
    """Return a sandbox with no program, no limits and no way out, for launchers to fill in."""
    return Spec(
        **Joining(joins=0, joins_keeper=0, lease="", devices=[], caller_pid=0, caller_uid=0),
        argv=[],
        program="",
        seed=0,
        env={},
        cwd="/",
        umask=0o077,
        user="nobody",
        home="/",
        uid=65534,
        gid=65534,
        groups=[],
        lease_first=0,
        lease_end=0,
        user_namespace=False,
        network=False,
        terminals=False,
        isolated=True,
        detached=False,
        binds=[],
        connection_dir="",
        files_dir="",
        scratch_bytes=0,
        memory_bytes=0,
        watched_memory=False,
        processes=0,
        cpu_percent=0,
        wall_seconds=0,
        output_bytes=0,
        file_bytes=0,
        on_memory="end",
        output="capture",
        grace_seconds=0,
        report_path="",
        state_path="",
    )
