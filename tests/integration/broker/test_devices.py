"""A leased device, simulated here by a file that says so, is open to its lease's kernel alone."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from lms.outposts.broker.client import BrokerRefusedError, BrokerUnavailableError
from lms.outposts.broker.lease_client import LeaseClient
from lms.outposts.broker.processes import ProcessName
from tests.integration.broker.conftest import LEARNER_A, LEARNER_B
from tests.integration.broker.test_broker import until
from tests.integration.broker.test_server_kernels import Kernel
from tests.integration.broker.test_server_zygote import Place, Server, place

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="devices are kept apart by root"),
]

NODE = "/dev/seodang-gpu-0"
#: Starts a kernel from within a server as the provisioner does, and holds its line in `held`.
START = """
import json, os, socket
from lms.outposts.kernels.joined import start_joined
from lms.outposts.kernels.open import Connection
from lms.protocol.broker import ServerKernelRequest
def leased(lease, env={}):
    place, (ours, theirs) = Connection(), socket.socketpair()
    wanted = ServerKernelRequest(connection_file=str(place.path), env={**os.environ, **env},
        cwd=os.getcwd(), lease=lease)
    process = start_joined(os.environ['LMS_KERNEL_BROKER'], wanted, theirs)
    ours.recv(1)
    return process, place
node = '/dev/seodang-gpu-0'
def pass_on(line, file):
    socket.send_fds(line, [b'x'], [file]); os.close(file)
def told(place, source):
    from jupyter_client import BlockingKernelClient
    client = BlockingKernelClient(); client.load_connection_file(str(place.path))
    client.start_channels(); said = []
    client.execute_interactive(source, timeout=60, output_hook=lambda m: said.append(
        m['content'].get('text', '') or m['content'].get('ename', '')))
    client.stop_channels()
    return ''.join(said).strip()
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    with place() as one:
        yield one


@pytest.fixture
def leases(shared: Place) -> Iterator[LeaseClient]:
    client = LeaseClient(shared.broker.socket)
    yield client
    for lease in client.leases():
        client.revoke(lease.lease, "the test is over")


@pytest.fixture
def kernel(shared: Place) -> Iterator[Kernel]:
    """A kernel without a lease, in a person's server."""
    server: Server = shared.start("a", LEARNER_A)
    kernel = Kernel.start(server)
    assert kernel.run(START) == ""
    yield kernel
    shared.client.stop_server("a", now=True)


def grant(leases: LeaseClient, lease: str = "one", uid: int = LEARNER_A, number: int = 0) -> None:
    leases.grant(lease, uid=uid, devices=[f"SIMULATED-{number}"], until=time.time() + 600)


def test_a_device_opens_with_its_lease_and_never_without(
    kernel: Kernel, leases: LeaseClient
) -> None:
    grant(leases)
    read = f"print(open({NODE!r}).read())"
    assert kernel.run(f"import os; os.environ['CUDA_VISIBLE_DEVICES'] = '0'; {read}") == (
        "FileNotFoundError"
    )
    path = "os.path.join(os.environ['LMS_KERNEL_BROKER'], '../../../servers/devices/seodang-gpu-0')"
    assert kernel.run(f"open({path})").endswith("Error")
    assert kernel.run("process, place_ = leased('one')") == ""
    said = kernel.run(f"print(told(place_, {read!r}))")
    assert said == "Simulated GPU SIMULATED-0: computes nothing, only for trying out"
    assert kernel.run("print(told(place_, 'import os; print(os.environ[\"LMS_GPU\"])'))") == (
        "Simulated GPU SIMULATED-0"
    )
    # The kernel beside it has none, nor does one that gives itself the variables.
    assert kernel.run(read) == "FileNotFoundError"
    assert (
        kernel.run("p2, k2 = leased('', {'LMS_LEASE': 'one', 'NVIDIA_VISIBLE_DEVICES': 'all'})")
        == ""
    )
    assert kernel.run(f"print(told(k2, {read!r}))") == "FileNotFoundError"
    assert len(leases.leases()[0].kernels) == 1


def test_a_leased_kernel_s_own_time_tells_how_long_it_is_idle(
    kernel: Kernel, leases: LeaseClient
) -> None:
    grant(leases)
    assert kernel.run("process, place_ = leased('one')") == ""
    time.sleep(1)
    assert leases.leases()[0].kernels[0].idle_seconds is None
    assert kernel.run("print(told(place_, 'print(sum(range(30_000_000)) > 0)'))") == "True"
    time.sleep(0.5)
    assert leases.leases()[0].kernels[0].idle_seconds == 0
    time.sleep(2)
    idle = leases.leases()[0].kernels[0].idle_seconds
    assert idle is not None
    assert idle > 1.9


@pytest.mark.parametrize("lease", ["none", "theirs", "../one"])
def test_a_lease_of_nobody_or_of_another_gives_no_kernel(
    kernel: Kernel, leases: LeaseClient, lease: str
) -> None:
    grant(leases, "theirs", LEARNER_B)
    said = kernel.run(f"try: leased({lease!r})\nexcept Exception as error: print(error)")
    assert "lease" in said, said


@pytest.mark.parametrize(
    "way",
    [
        f"kept = open(root + '{NODE}')",
        "kept = os.open(root, os.O_PATH)",
        "a, b = socket.socketpair(); pass_on(a, os.open(root + node, 0))",
        # The first thread ends, and with it the files that /proc shows of the process.
        (
            "kept = open(root + node); open('/tmp/holds', 'w').close()\n"
            "import ctypes, threading, time\n"
            "threading.Thread(target=time.sleep, args=(600,)).start()\n"
            "ctypes.CDLL(None).syscall({'x86_64': 60}.get(os.uname().machine, 93), 0)"
        ),
        *(
            pytest.param(way, marks=pytest.mark.slow)
            for way in (
                f"kept = os.open(root + '{NODE}', os.O_PATH)",
                "kept = os.open(root + '/dev', os.O_PATH)",
                "import mmap; kept = mmap.mmap(os.open(root + node, 0), 0, prot=mmap.PROT_READ)",
                "os.chdir(root)",
            )
        ),
    ],
)
def test_who_reached_into_a_leased_kernel_ends_with_the_lease(
    kernel: Kernel, leases: LeaseClient, way: str
) -> None:
    grant(leases)
    assert kernel.run("process, place_ = leased('one')") == ""
    assert kernel.run("pid = int(told(place_, 'import os; print(os.getpid())'))") == ""
    thief = (
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    root = f'/proc/{target}/root'\n"
        + "".join(f"    {line}\n" for line in way.split("\n"))
        + "    open('/tmp/holds', 'w').close()\n    import time; time.sleep(600); os._exit(0)\n"
        "import time\n"
        "while not os.path.exists('/tmp/holds'): time.sleep(0.05)\n"
        "thief = pid"
    )
    assert kernel.run("target = pid\n" + thief) == ""
    began = time.monotonic()
    leases.revoke("one", "the time is over")
    assert time.monotonic() - began < 3
    alive = "print(os.waitpid(thief, os.WNOHANG)[1])"
    assert kernel.run(alive) == "9"
    assert leases.leases() == []
    assert kernel.run("print(process.wait(10) is not None)") == "True"


@pytest.mark.parametrize("keeps", ["file", "mapping"])
def test_who_was_handed_a_device_by_another_person_ends_with_the_lease(
    shared: Place, kernel: Kernel, leases: LeaseClient, keeps: str
) -> None:
    friend = Kernel.start(shared.start("b", LEARNER_B))
    try:
        grant(leases)
        address = f"\\0seodang-{os.getpid()}-{keeps}"
        # Sockets without a path know no walls between people.
        take = (
            "import mmap, os, socket, time\n"
            f"line = socket.socket(socket.AF_UNIX); line.bind('{address}'); line.listen()\n"
            "thief = os.fork()\n"
            "if thief == 0:\n"
            "    there, _ = line.accept()\n"
            "    _, (file,), _, _ = socket.recv_fds(there, 1, 1)\n"
            f"    if {keeps!r} == 'mapping':\n"
            "        kept = mmap.mmap(file, 0, prot=mmap.PROT_READ); os.close(file)\n"
            "    open('/tmp/holds', 'w').close(); time.sleep(600); os._exit(0)"
        )
        assert friend.run(take) == ""
        assert kernel.run("process, place_ = leased('one')") == ""
        give = (
            "import os, socket; line = socket.socket(socket.AF_UNIX)\n"
            f"line.connect('{address}'); socket.send_fds(line, [b'x'], [os.open({NODE!r}, 0)])"
        )
        assert kernel.run(f"print(told(place_, {give!r}))") == ""
        wait = "while not os.path.exists('/tmp/holds'): time.sleep(0.05)"
        assert friend.run(wait) == ""
        leases.revoke("one", "the time is over")
        assert friend.run("print(os.waitpid(thief, os.WNOHANG)[1])") == "9"
    finally:
        shared.client.stop_server("b", now=True)


def stop_keeper(shared: Place) -> int:
    """Let the keeper of the only leased kernel stand still, so that its end takes long."""
    folder = shared.broker.data / "run" / "servers" / "kernels"
    abouts = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    (about,) = [about for about in abouts if about["lease"]]
    os.kill(about["pid"], signal.SIGSTOP)
    return int(about["first"])


def is_alive(pid: int) -> bool:
    return ProcessName.of(pid) is not None


def test_a_slow_revoke_keeps_nobody_waiting_and_two_are_one(
    shared: Place, kernel: Kernel, leases: LeaseClient
) -> None:
    grant(leases)
    assert kernel.run("process, place_ = leased('one')") == ""
    first = stop_keeper(shared)
    ended: list[float] = []

    def revoke() -> None:
        leases.revoke("one", "the time is over")
        ended.append(time.monotonic())

    threads = [threading.Thread(target=revoke) for _ in range(2)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    asked = time.monotonic()
    assert shared.client.probe().ok
    # No kernel comes under the lease any more, and nobody else gets its device yet.
    with pytest.raises(BrokerRefusedError, match="granted to others"):
        grant(leases, "two", LEARNER_B)
    said = kernel.run("try: leased('one')\nexcept Exception as error: print(error)")
    assert "there is no such lease, or it has ended" in said
    assert time.monotonic() - asked < 2
    assert ended == []
    for thread in threads:
        thread.join(20)
    assert len(ended) == 2
    assert min(ended) - began > 2
    assert not is_alive(first)
    grant(leases, "two", LEARNER_B)


def test_a_revoke_is_finished_by_the_next_broker(
    shared: Place, kernel: Kernel, leases: LeaseClient
) -> None:
    grant(leases)
    assert kernel.run("process, place_ = leased('one')") == ""
    first = stop_keeper(shared)
    lost: list[Exception] = []

    def revoke() -> None:
        try:
            leases.revoke("one", "the time is over")
        except BrokerUnavailableError as error:
            lost.append(error)

    thread = threading.Thread(target=revoke)
    thread.start()
    time.sleep(0.5)
    shared.broker.kill()
    thread.join(20)
    assert len(lost) == 1
    assert is_alive(first)
    shared.broker.start()
    until(lambda: leases.leases() == [])
    assert not is_alive(first)


def test_who_kills_the_own_kernel_has_lost_nothing(kernel: Kernel, leases: LeaseClient) -> None:
    grant(leases)
    assert kernel.run("process, place_ = leased('one')") == ""
    assert kernel.run("pid = int(told(place_, 'import os; print(os.getpid())'))") == ""
    until(lambda: len(leases.leases()[0].kernels) == 1)
    assert kernel.run("os.kill(pid, 9)") == ""
    until(lambda: leases.leases()[0].kernels == ())
    # Not "lost", for which the hours are given back.
    assert leases.leases()[0].ended == "exited"


def test_a_device_is_granted_once_and_the_grants_outlive_the_broker(
    shared: Place, leases: LeaseClient
) -> None:
    grant(leases)
    grant(leases)  # again changes nothing
    with pytest.raises(BrokerRefusedError, match="granted to others"):
        grant(leases, "two", LEARNER_B)
    with pytest.raises(BrokerRefusedError, match="no device"):
        grant(leases, "two", LEARNER_B, number=7)
    grant(leases, "two", LEARNER_B, number=1)
    shared.broker.kill()
    shared.broker.start()
    assert [lease.lease for lease in leases.leases()] == ["one", "two"]
    leases.revoke("one", "")
    leases.revoke("unknown", "")
    grant(leases, "three", LEARNER_B)
    leases.grant("three", uid=LEARNER_B, devices=["SIMULATED-0"], until=time.time() - 1)
    until(lambda: [lease.lease for lease in leases.leases()] == ["two"])


def test_the_devices_are_simulated_and_say_so(leases: LeaseClient) -> None:
    devices = leases.inventory().devices
    assert [device.id for device in devices] == ["SIMULATED-0", "SIMULATED-1"]
    assert all(device.simulated for device in devices)
