"""A real Slurm on this one machine: munged, slurmctld and four slurmds.

With `gpus` each node has four GPUs, which are simulated: device files that can be opened and that
compute nothing. With `accounting` there are slurmdbd and its database too, and limits are enforced.
"""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb-admin")
NODES = ("n1", "n2", "n3", "n4")
GPUS_A_NODE = 4
#: Debian's folders for these, which are not always in PATH.
PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"

_CONF = """\
ClusterName=seodang
SlurmctldHost=localhost
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={state}/munge/socket
StateSaveLocation={state}/controller
SlurmctldPidFile={state}/slurmctld.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdSpoolDir={state}/spool-%n
SlurmdPidFile={state}/slurmd-%n.pid
SlurmdLogFile={state}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=5,batch_sched_delay=0
SlurmctldTimeout=30
SlurmdTimeout=15
KillWait=3
DefMemPerCPU=100
{more}
{nodes}
PartitionName=cpu Nodes=n[1-4] Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
"""
_NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 Boards=1"
    " SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 {gres} State=UNKNOWN"
)
_NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={accounting}
AccountingStoragePass={state}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations,limits,qos
PriorityType=priority/multifactor
PriorityDecayHalfLife=0
PriorityUsageResetPeriod=WEEKLY
"""
_DATABASE_CONF = """\
AuthType=auth/munge
AuthInfo=socket={state}/munge/socket
DbdHost=localhost
DbdPort={accounting}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
LogFile={state}/slurmdbd.log
PidFile={state}/slurmdbd.pid
"""


def missing(*, accounting: bool = False) -> str:
    """Return why there can be no Slurm here, or nothing."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root to start jobs"
    programs = PROGRAMS + (ACCOUNTING if accounting else ())
    if lacking := [name for name in programs if shutil.which(name, path=PATHS) is None]:
        packages = "slurm-wlm, munge, slurmdbd and mariadb-server"
        return f"no {', '.join(lacking)} here: install Debian's packages {packages}"
    return ""


class Slurm:
    """The daemons, all of them ours alone: own key, own sockets, own ports."""

    def __init__(self, state: Path, *, gpus: bool = False, accounting: bool = False) -> None:
        self.state = state
        self.env = {**os.environ, "PATH": PATHS, "SLURM_CONF": str(state / "slurm.conf")}
        self.munge_socket = state / "munge" / "socket"
        self.parts: list[subprocess.Popen[bytes]] = []
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = _free_ports(len(NODES) + 3)
        self._write(gpus=gpus, accounting=accounting)
        try:
            self._start_all(accounting=accounting)
        except BaseException:
            self._end_parts()
            raise

    def _start_all(self, *, accounting: bool) -> None:
        munge = self.state / "munge"
        self._start("munged", "--foreground", "--force", f"--key-file={munge / 'key'}",
                    f"--socket={munge / 'socket'}", f"--pid-file={munge / 'pid'}",
                    f"--log-file={munge / 'log'}", f"--seed-file={munge / 'seed'}")  # fmt: skip
        self._wait_for("munge's socket", self.munge_socket.exists)
        if accounting:
            self._start_accounting()
        self._start("slurmctld", "-D", "-i")
        for name in NODES:
            self.start_node(name)
        self._wait_for("idle nodes", lambda: self.run("sinfo", "-h", "-o", "%T") == "idle")

    def start_node(self, name: str) -> None:
        """Start the daemon of one node."""
        self.nodes[name] = self._start("slurmd", "-D", "-N", name)

    def run(self, *argv: str) -> str:
        """Return what one of Slurm's commands prints; empty while the controller is not up."""
        result = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    def jobs(self, *, states: str = "RUNNING") -> list[str]:
        """Return the ids of the jobs that run."""
        return self.run("squeue", "-h", "-t", states, "-o", "%i").split()

    def wait_for_no_jobs(self) -> None:
        """Cancel what there is, and wait until it is gone."""
        self.run("scancel", "--user=root", "--signal=KILL", "--full")
        self.run("scancel", "--user=root")
        end = time.monotonic() + 20
        while self.run("squeue", "-h") and time.monotonic() < end:
            time.sleep(0.1)

    def end(self) -> None:
        self.wait_for_no_jobs()
        self._end_parts()

    def _end_parts(self) -> None:
        for part in reversed(self.parts):
            part.terminate()
        for part in reversed(self.parts):
            try:
                part.wait(15)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()

    def log(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.state.glob("*.log")))

    def _write(self, *, gpus: bool, accounting: bool) -> None:
        for folder in ("munge", "controller", "dev", *(f"spool-{name}" for name in NODES)):
            (self.state / folder).mkdir(parents=True)
        (self.state / "munge").chmod(0o755)
        key = self.state / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        controller, dbd, database, *ports = self._ports
        places = {"state": self.state, "accounting": dbd, "database": database}
        more = [(_ACCOUNTING if accounting else _NO_ACCOUNTING).format(**places)]
        if gpus:
            more.append("GresTypes=gpu")
            self._write_gpus()
        gres = f"Gres=gpu:simulated:{GPUS_A_NODE}" if gpus else ""
        nodes = "\n".join(
            _NODE.format(name=name, port=port, gres=gres)
            for name, port in zip(NODES, ports, strict=True)
        )
        conf = _CONF.format(
            state=self.state, controller=controller, nodes=nodes, more="\n".join(more)
        )
        (self.state / "slurm.conf").write_text(conf)
        database_conf = self.state / "slurmdbd.conf"
        database_conf.write_text(_DATABASE_CONF.format(**places))
        database_conf.chmod(0o600)

    def _write_gpus(self) -> None:
        for number in range(GPUS_A_NODE):
            # The null device, under another name.
            os.mknod(self.state / "dev" / f"nvidia{number}", 0o666 | 0o020000, os.makedev(1, 3))
        devices = f"{self.state}/dev/nvidia[0-{GPUS_A_NODE - 1}]"
        (self.state / "gres.conf").write_text(
            f"NodeName=n[1-4] Name=gpu Type=simulated File={devices}\n"
        )

    def _start_accounting(self) -> None:
        data = self.state / "database"
        data.mkdir()
        shutil.chown(data, "mysql")
        # MariaDB does not run as root; where `state` lies must let others pass.
        self.state.chmod(0o711)
        common = ["--no-defaults", f"--datadir={data}", "--user=mysql"]
        subprocess.run(
            ["mariadb-install-db", *common, "--skip-test-db", "--skip-name-resolve"],
            env=self.env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        socket_ = data / "socket"
        self._start("mariadbd", *common, f"--socket={socket_}", "--bind-address=127.0.0.1",
                    f"--port={self._ports[2]}", "--skip-grant-tables",
                    "--innodb-flush-log-at-trx-commit=0")  # fmt: skip
        ping = ("mariadb-admin", "--no-defaults", f"--socket={socket_}", "ping")
        self._wait_for("database", lambda: "alive" in self.run(*ping))
        self._start("slurmdbd", "-D")
        # Limits on GPUs are taken only once the controller has registered them.
        self._wait_for("slurmdbd", lambda: "Cluster" in self.run("sacctmgr", "list", "cluster"))
        self.run("sacctmgr", "-i", "add", "cluster", "seodang")

    def _start(self, program: str, *words: str) -> "subprocess.Popen[bytes]":
        path = shutil.which(program, path=PATHS)
        assert path is not None
        with (self.state / f"{program}-out.log").open("ab") as log:
            part = subprocess.Popen(
                [path, *words], env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.parts.append(part)
        return part

    def _wait_for(self, what: str, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not done():
            dead = [part.args for part in self.parts if part.poll() is not None]
            assert not dead, f"{dead}\n{self.log()}"
            assert time.monotonic() < end, f"no {what}\n{self.log()}"
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
