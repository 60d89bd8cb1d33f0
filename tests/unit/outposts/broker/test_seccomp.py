"""The filter program, run by an interpreter of its own for both machines; only one is here."""

import errno
import re
import struct
from pathlib import Path

import pytest

from lms.outposts.broker import seccomp

MACHINES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKET = {"x86_64": 41, "aarch64": 198}
IOCTL = {"x86_64": 16, "aarch64": 29}
OPENAT = {"x86_64": 257, "aarch64": 56}
KILL, ALLOW = "kill", "allow"


def judge(
    machine: str,
    number: int,
    *arguments: int,
    architecture: int | None = None,
    more: tuple[str, ...] = (),
) -> str:
    """Run the filter as the kernel would and return what it decides."""
    given = [*arguments, *[0] * (6 - len(arguments))]
    audit = MACHINES[machine] if architecture is None else architecture
    data = struct.pack("=iIQ6Q", number, audit, 0, *given)
    program = seccomp.build_program(machine, more)
    accumulator = at = 0
    while True:
        code, yes, no, value = struct.unpack_from("HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("I", data, value)
        elif code == 0x15:
            at += yes if accumulator == value else no
        elif code == 0x35:
            at += yes if accumulator >= value else no
        elif code == 0x45:
            at += yes if accumulator & value else no
        else:
            assert code == 0x06
            return _action(value)


def _action(value: int) -> str:
    if value >> 16 == 0x5:
        return errno.errorcode[value & 0xFFFF]
    return {0x8000_0000: KILL, 0x7FFF_0000: ALLOW}[value]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_denied_call_gets_eperm(machine: str) -> None:
    assert {judge(machine, number) for number in seccomp.denied_numbers(machine)} == {"EPERM"}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("architecture", [0x4000_0003, 0, 0xC000_00F3])
def test_calls_of_another_architecture_end_the_process(machine: str, architecture: int) -> None:
    assert judge(machine, 1, architecture=architecture) == KILL


def test_x32_calls_are_refused_on_x86_64() -> None:
    assert judge("x86_64", 0x4000_0000 | 1) == "EPERM"


@pytest.mark.parametrize("machine", MACHINES)
def test_ordinary_work_is_allowed(machine: str) -> None:
    assert judge(machine, OPENAT[machine]) == ALLOW
    threads = 0x3D0F00  # what pthread_create asks of clone
    assert judge(machine, CLONE[machine], threads) == ALLOW
    assert judge(machine, CLONE[machine], 17) == ALLOW  # fork
    for family in (1, 2, 10, 16):
        assert judge(machine, SOCKET[machine], family) == ALLOW
    assert judge(machine, IOCTL[machine], 0, 0x5413) == ALLOW  # the terminal's size


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_of_a_new_namespace_is_refused(machine: str, bit: int) -> None:
    assert judge(machine, CLONE[machine], 1 << bit | 17) == "EPERM"


@pytest.mark.parametrize("machine", MACHINES)
def test_clone3_is_unknown_so_that_libc_uses_clone(machine: str) -> None:
    assert judge(machine, 435) == "ENOSYS"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", [17, 38, 40])  # packet, alg, vsock
def test_other_socket_families_are_unknown(machine: str, family: int) -> None:
    assert judge(machine, SOCKET[machine], family, 1) == "EAFNOSUPPORT"


@pytest.mark.parametrize("machine", MACHINES)
def test_terminal_injection_is_refused(machine: str) -> None:
    for request in (0x5412, 0x401C5820, 0x40086602):
        assert judge(machine, IOCTL[machine], 0, request) == "EPERM"
    assert judge(machine, IOCTL[machine], 0, 0x541C) == "EPERM"


def test_unknown_machine_has_no_filter() -> None:
    assert not seccomp.is_supported("riscv64")
    with pytest.raises(ValueError, match="riscv64"):
        seccomp.build_program("riscv64")


@pytest.mark.parametrize(("machine", "numbers"), [("x86_64", (319, 29)), ("aarch64", (279, 194))])
def test_hidden_memory_is_denied_only_where_asked(machine: str, numbers: tuple[int, int]) -> None:
    assert [judge(machine, number) for number in numbers] == [ALLOW, ALLOW]
    strict = seccomp.HIDDEN_MEMORY
    assert [judge(machine, number, more=strict) for number in numbers] == ["EPERM", "EPERM"]


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    pattern = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    official = {name: int(number) for name, number in re.findall(pattern, header.read_text())}
    column = 0 if machine == "x86_64" else 1
    ours = {name: numbers[column] for name, numbers in seccomp.DENIED.items()}
    # A call younger or older than the headers is not in them.
    wrong = {
        name: (number, official[name])
        for name, number in ours.items()
        if name in official and number != official[name]
    }
    assert wrong == {}
    assert len(set(ours) & set(official)) >= 45
