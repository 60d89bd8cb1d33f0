"""A real Slurm on this one machine: munged, slurmctld and four slurmds, without accounting."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.integration.worker.cluster import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
NODES = ("n1", "n2", "n3", "n4")
#: Debian's folders for these, which are not always in PATH.
_PATHS = "/usr/sbin:/usr/bin:/sbin:/bin"

_CONF = """\
ClusterName=grading
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
AccountingStorageType=accounting_storage/none
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
{nodes}
PartitionName=cpu Nodes=n[1-4] Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
"""
_NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 Boards=1"
    " SocketsPerBoard=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 State=UNKNOWN"
)


def missing() -> str:
    """Return why there can be no Slurm here, or nothing."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root to start jobs"
    if lacking := [name for name in PROGRAMS if shutil.which(name, path=_PATHS) is None]:
        return f"no {', '.join(lacking)} here: install Debian's packages slurm-wlm and munge"
    return ""


class Slurm:
    """The daemons, all of them ours alone: own key, own sockets, own ports."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.env = {**os.environ, "PATH": _PATHS, "SLURM_CONF": str(state / "slurm.conf")}
        self.parts: list[subprocess.Popen[bytes]] = []
        self._write()
        munge = state / "munge"
        self._start("munged", "--foreground", "--force", f"--key-file={munge / 'key'}",
                    f"--socket={munge / 'socket'}", f"--pid-file={munge / 'pid'}",
                    f"--log-file={munge / 'log'}", f"--seed-file={munge / 'seed'}")  # fmt: skip
        self._wait_for("munge's socket", (munge / "socket").exists)
        self._start("slurmctld", "-D", "-i")
        for name in NODES:
            self._start("slurmd", "-D", "-N", name)
        self._wait_for("idle nodes", lambda: self.run("sinfo", "-h", "-o", "%T") == "idle")

    def run(self, *argv: str) -> str:
        """Return what one of Slurm's commands prints; empty while the controller is not up."""
        result = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    def jobs(self) -> list[str]:
        """Return the ids of the jobs that run."""
        return self.run("squeue", "-h", "-t", "RUNNING", "-o", "%i").split()

    def end(self) -> None:
        self.run("scancel", "--user=root", "--signal=KILL", "--full")
        self.run("scancel", "--user=root")
        end = time.monotonic() + 20
        while self.run("squeue", "-h") and time.monotonic() < end:
            time.sleep(0.2)
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

    def _write(self) -> None:
        for folder in ("munge", "controller", *(f"spool-{name}" for name in NODES)):
            (self.state / folder).mkdir(parents=True)
        (self.state / "munge").chmod(0o755)
        key = self.state / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        nodes = "\n".join(_NODE.format(name=name, port=free_port()) for name in NODES)
        text = _CONF.format(state=self.state, controller=free_port(), nodes=nodes)
        (self.state / "slurm.conf").write_text(text)

    def _start(self, program: str, *words: str) -> None:
        path = shutil.which(program, path=_PATHS)
        assert path is not None
        with (self.state / f"{program}-out.log").open("ab") as log:
            self.parts.append(
                subprocess.Popen(
                    [path, *words], env=self.env, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _wait_for(self, what: str, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not done():
            dead = [part.args for part in self.parts if part.poll() is not None]
            assert not dead, f"{dead}\n{self.log()}"
            assert time.monotonic() < end, f"no {what}\n{self.log()}"
            time.sleep(0.1)
