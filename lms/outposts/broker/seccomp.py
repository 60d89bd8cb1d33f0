"""The system calls a sandbox may not make, and the filter program that says so.

Default allow: a deny list of calls that reach the kernel's inside, other processes, mounts or
namespaces. Numbers are a table per machine; a machine without one has no filter, and the probe
says so.
"""

import errno
import struct

#: Each denied call with its number on x86_64 and aarch64; None where the machine lacks it.
DENIED: dict[str, tuple[int | None, int | None]] = {
    # mounts and roots
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # the kernel's inside
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "memfd_secret": (447, 447),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    # the machine
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
}

#: Memory that belongs to no process: only a control group can count it, so without one these are
#: denied as well.
HIDDEN_MEMORY: tuple[str, ...] = ("memfd_create", "shmget")
_HIDDEN_NUMBERS = {"memfd_create": (319, 279), "shmget": (29, 194)}

_MACHINES = ("x86_64", "aarch64")
_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_SOCKET = {"x86_64": 41, "aarch64": 198}
_IOCTL = {"x86_64": 16, "aarch64": 29}

#: mount, cgroup, uts, ipc, user, pid and net namespaces, and time's (which clone cannot ask for).
_NEW_NAMESPACES = 0x7E02_0000
#: Typing into the terminal of whoever started us; changing the mark by which a file system's quota
#: counts a file, which its owner may.
_REQUESTS = (0x5412, 0x541C, 0x401C_5820, 0x4008_6602)
#: Local, IPv4, IPv6 and netlink (getifaddrs); above all not vsock, which ignores net namespaces.
_FAMILIES = (1, 2, 10, 16)

_KILL = 0x8000_0000
_ALLOW = 0x7FFF_0000
_ERRNO = 0x0005_0000
_X32 = 0x4000_0000

_LOAD, _JEQ, _JGE, _JSET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _FIRST_ARGUMENT_AT, _SECOND_ARGUMENT_AT = 0, 4, 16, 24

Instruction = tuple[int, int, int, int]

#: What was built before; a zygote's forks find theirs here.
_built: dict[tuple[str, tuple[str, ...]], bytes] = {}


def is_supported(machine: str) -> bool:
    """Tell whether there is a call table for `machine`."""
    return machine in _MACHINES


def denied_numbers(machine: str) -> tuple[int, ...]:
    """Return the numbers of the denied calls on `machine`; raises ValueError on an unknown one."""
    if not is_supported(machine):
        raise ValueError(f"no system call table for {machine}")
    column = _MACHINES.index(machine)
    numbers = (pair[column] for pair in DENIED.values())
    return tuple(number for number in numbers if number is not None)


def build_program(machine: str, more: tuple[str, ...] = ()) -> bytes:
    """Return the filter for `machine` as classic BPF; raises ValueError on an unknown machine.

    `more` names calls of HIDDEN_MEMORY to deny as well.
    """
    if (machine, more) not in _built:
        _built[machine, more] = _build(machine, more)
    return _built[machine, more]


def _build(machine: str, more: tuple[str, ...]) -> bytes:
    denied = [*denied_numbers(machine)]
    denied += [_HIDDEN_NUMBERS[name][_MACHINES.index(machine)] for name in more]
    refuse = _ERRNO | errno.EPERM
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JEQ, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":  # the x32 calls have other numbers under the same architecture
        program += [(_JGE, 0, 1, _X32), (_RETURN, 0, 0, refuse)]
    for number in denied:
        program += [(_JEQ, 0, 1, number), (_RETURN, 0, 0, refuse)]
    # clone3 hides its flags behind a pointer; without it libc falls back to clone.
    program += [(_JEQ, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    program += _argument_rules(machine, refuse)
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _argument_rules(machine: str, refuse: int) -> list[Instruction]:
    clone: list[Instruction] = [
        (_JEQ, 0, 4, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JSET, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    families: list[Instruction] = [(_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
    for family in _FAMILIES:
        families += [(_JEQ, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    families.append((_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT))
    sockets: list[Instruction] = [(_JEQ, 0, len(families), _SOCKET[machine]), *families]
    requests: list[Instruction] = [(_LOAD, 0, 0, _SECOND_ARGUMENT_AT)]
    for request in _REQUESTS:
        requests += [(_JEQ, 0, 1, request), (_RETURN, 0, 0, refuse)]
    requests.append((_RETURN, 0, 0, _ALLOW))
    ioctls: list[Instruction] = [(_JEQ, 0, len(requests), _IOCTL[machine]), *requests]
    return [*clone, *sockets, *ioctls]
