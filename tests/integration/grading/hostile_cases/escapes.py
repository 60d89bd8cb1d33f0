"""Looks out of a sandbox that was entered by a fork: what the fork inherited, and ways out.

Each prints FOUND if it found something, and goes on with a wrong answer.
"""

# Programs stand here as literals, a line of theirs a line of ours where it fits.
# ruff: noqa: E501

_LIBC = (
    "import ctypes, os, stat\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "libc.syscall.restype = ctypes.c_long\n"
)

SPIES: dict[str, str] = {
    "folders left open": (
        "import os, stat\nfor name in os.listdir('/proc/self/fd'):\n    try:\n"
        "        mode = os.fstat(int(name)).st_mode\n"
        "        link = os.readlink(f'/proc/self/fd/{name}')\n    except OSError:\n"
        "        continue\n    if stat.S_ISDIR(mode):\n        print('FOUND', link)\n"
    ),
    "files left open": (
        "import os, stat\nfor name in os.listdir('/proc/self/fd'):\n    try:\n"
        "        mode = os.fstat(int(name)).st_mode\n"
        "        link = os.readlink(f'/proc/self/fd/{name}')\n    except OSError:\n"
        "        continue\n    if stat.S_ISREG(mode) and not link.startswith(\n"
        "            ('/memfd:', os.getcwd(), '/tmp', os.environ.get('HOME', '/tmp'))):\n"
        "        print('FOUND', link)\n"
    ),
    "secrets in memory": (
        "import re\n"
        "memory = open('/proc/self/mem', 'rb', 0)\n"
        "for line in open('/proc/self/maps'):\n"
        "    where, rights = line.split()[:2]\n"
        "    if 'r' not in rights or '[v' in line:\n        continue\n"
        "    start, end = (int(part, 16) for part in where.split('-'))\n"
        "    try:\n        memory.seek(start)\n        held = memory.read(end - start)\n"
        "    except (OSError, ValueError, OverflowError):\n        continue\n"
        "    if re.search(rb'HUNTER[2]', held):\n"
        "        print('FOUND', line)\n"
    ),
    "the first environment": (
        "import os\nfor pid in ('self', '1', str(os.getppid())):\n    try:\n"
        "        text = open(f'/proc/{pid}/environ').read()\n    except OSError:\n        continue\n"
        "    for word in ('LMS_', 'TOKEN', 'SECRET', 'PASSWORD', 'DATABASE', 'postgres'):\n"
        "        if word in text:\n            print('FOUND', pid, word)\n"
    ),
    "capabilities": (
        "for line in open('/proc/self/status'):\n"
        "    name, _, value = line.partition(':')\n"
        "    if name in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb') and int(value, 16):\n"
        "        print('FOUND', line)\n"
        "    if name == 'NoNewPrivs' and value.strip() != '1':\n        print('FOUND', line)\n"
        "    if name == 'Seccomp' and value.strip() != '2':\n        print('FOUND', line)\n"
    ),
    "root": (
        "import os\nfor become in (os.setuid, os.setgid, os.seteuid, os.setegid):\n    try:\n"
        "        become(0)\n        print('FOUND', become)\n    except OSError:\n        pass\n"
        "try:\n    os.setgroups([0])\n    print('FOUND groups')\nexcept OSError:\n    pass\n"
    ),
    "a namespace of its own": (
        _LIBC + "if libc.unshare(0x10000000 | 0x20000) == 0:\n"
        "    os.makedirs('/tmp/m', exist_ok=True)\n"
        "    if libc.mount(b'none', b'/tmp/m', b'tmpfs', 0, None) == 0:\n"
        "        print('FOUND mount')\n"
        "    if libc.mount(b'/', b'/tmp/m', None, 4096, None) == 0:\n        print('FOUND bind')\n"
    ),
    "mounts": (
        _LIBC + "for a in ((b'none', b'/tmp', b'tmpfs', 0), (b'proc', b'/proc', b'proc', 0),"
        " (b'none', b'/', None, 32 | 4096)):\n"
        "    if libc.mount(*a, None) == 0:\n        print('FOUND', a)\n"
        "if libc.umount2(b'/proc', 2) == 0:\n    print('FOUND umount')\n"
    ),
    "another root": (
        "import os\nfor path in ('/tmp', '/proc/1/root', '/proc/self/root/..'):\n    try:\n"
        "        os.chroot(path)\n        print('FOUND', path)\n    except OSError:\n        pass\n"
    ),
    "devices": (
        "import os, stat\nfor kind, number in ((stat.S_IFBLK, (8, 0)), (stat.S_IFCHR, (1, 1))):\n"
        "    try:\n        os.mknod('/tmp/device', 0o600 | kind, os.makedev(*number))\n"
        "        print('FOUND', number)\n    except OSError:\n        pass\n"
        "for name in ('mem', 'kmem', 'kmsg', 'sda', 'vda', 'fuse', 'kvm', 'loop0'):\n    try:\n"
        "        open(f'/dev/{name}', 'rb').close()\n        print('FOUND', name)\n"
        "    except OSError:\n        pass\n"
    ),
    "its parent's memory": (
        _LIBC + "for pid in {os.getppid(), 1} - {0, os.getpid()}:\n"
        "    if libc.ptrace(16, pid, 0, 0) == 0:\n        print('FOUND ptrace', pid)\n"
        "    try:\n        open(f'/proc/{pid}/mem', 'r+b').close()\n        print('FOUND mem', pid)\n"
        "    except OSError:\n        pass\n"
        "    try:\n        os.listdir(f'/proc/{pid}/fd')\n        print('FOUND fds', pid)\n"
        "    except OSError:\n        pass\n"
    ),
    "rare system calls": (
        _LIBC + "calls = {'io_uring_setup': 425, 'bpf': 321, 'userfaultfd': 323,\n"
        "    'perf_event_open': 298, 'keyctl': 250, 'add_key': 248, 'kexec_load': 246,\n"
        "    'init_module': 175, 'open_by_handle_at': 304, 'ptrace_traceme': 101,\n"
        "    'process_vm_readv': 310, 'setns': 308, 'pivot_root': 155, 'reboot': 169,\n"
        "    'swapon': 167, 'sethostname': 170, 'settimeofday': 164, 'personality': -1}\n"
        "for name, number in calls.items():\n"
        "    if number > 0 and libc.syscall(number, *[ctypes.c_long(0)] * 6) >= 0:\n"
        "        print('FOUND', name)\n"
    ),
    "the system's switches": (
        "import glob\nfor path in ('/proc/sys/kernel/core_pattern', '/proc/sysrq-trigger',\n"
        "        '/proc/sys/vm/overcommit_memory', '/proc/1/oom_score_adj',\n"
        "        *glob.glob('/sys/fs/cgroup/*/cgroup.procs'),\n"
        "        *glob.glob('/sys/fs/cgroup/cgroup.procs')):\n    try:\n"
        "        open(path, 'r+').close()\n        print('FOUND', path)\n"
        "    except OSError:\n        pass\n"
    ),
    "sockets of others": (
        "import os, socket, stat\n"
        "for folder, below, names in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys')):\n        below[:] = []\n        continue\n"
        "    for name in names:\n        path = os.path.join(folder, name)\n        try:\n"
        "            seen = os.lstat(path)\n"
        "            if stat.S_ISSOCK(seen.st_mode) and seen.st_uid != os.getuid():\n"
        "                socket.socket(socket.AF_UNIX).connect(path)\n"
        "                print('FOUND', path)\n        except OSError:\n            pass\n"
    ),
    "sockets without a path": (
        "import socket\nfor line in open('/proc/net/unix').readlines()[1:]:\n"
        "    name = line.split()[-1]\n    if name.startswith('@'):\n        try:\n"
        "            socket.socket(socket.AF_UNIX).connect('\\0' + name[1:])\n"
        "            print('FOUND', name)\n        except OSError:\n            pass\n"
    ),
    "the clock and the name": (
        "import socket, time\ntry:\n    time.clock_settime(time.CLOCK_REALTIME, 0)\n"
        "    print('FOUND clock')\nexcept OSError:\n    pass\n"
        "try:\n    socket.sethostname('mine')\n    print('FOUND name')\nexcept OSError:\n    pass\n"
    ),
    "higher limits": (
        "import resource\nfor name in ('RLIMIT_FSIZE', 'RLIMIT_NOFILE', 'RLIMIT_NPROC',"
        " 'RLIMIT_CORE'):\n    kind = getattr(resource, name)\n"
        "    soft, hard = resource.getrlimit(kind)\n    if hard == resource.RLIM_INFINITY:\n"
        "        continue\n    try:\n        resource.setrlimit(kind, (hard + 1, hard + 1))\n"
        "        print('FOUND', name)\n    except (OSError, ValueError):\n        pass\n"
        "import os\ntry:\n    os.nice(-5)\n    print('FOUND nice')\nexcept OSError:\n    pass\n"
    ),
    "programs with rights": (
        "import os, stat\nfor folder in ('/usr/bin', '/bin', '/usr/sbin', '/usr/lib'):\n"
        "    for name in os.listdir(folder) if os.path.isdir(folder) else ():\n        try:\n"
        "            seen = os.stat(f'{folder}/{name}')\n        except OSError:\n"
        "            continue\n        if seen.st_mode & stat.S_ISUID and os.access(folder, os.W_OK):\n"
        "            print('FOUND', name)\n"
    ),
    "what the last one left": (
        "import os\nfor folder in ('/tmp', '/dev/shm', '/var/tmp', os.getcwd(),"
        " os.environ.get('HOME', '/tmp')):\n"
        "    if os.path.exists(f'{folder}/left-behind'):\n        print('FOUND', folder)\n"
    ),
}

#: What a run leaves for the next one to find.
LITTER = (
    "import os\nfor folder in ('/tmp', '/dev/shm', '/var/tmp', os.getcwd(),"
    " os.environ.get('HOME', '/tmp')):\n"
    "    try:\n        open(f'{folder}/left-behind', 'w').write('x')\n    except OSError:\n        pass\n"
)
#: The name of a process that wants to outlive its run.
DAEMON_NAME = "hostile-daemon"
DAEMON = (
    "import ctypes, os, signal, time\n"
    "if os.fork() == 0:\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n"
    f"    ctypes.CDLL(None).prctl(15, b'{DAEMON_NAME}', 0, 0, 0)\n"
    "    for number in range(1, 64):\n        try:\n"
    "            signal.signal(number, signal.SIG_IGN)\n        except (OSError, ValueError):\n"
    "            pass\n"
    "    while True:\n        time.sleep(1)\n"
)
