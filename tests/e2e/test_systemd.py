"""The units under a real systemd: a second one, in namespaces of its own, on a copy of this machine's file system.

It takes root. What is copied is only what is written to, in memory; the network is a loopback that nobody else has.
"""

import contextlib
import ctypes
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from programs import START_TIMEOUT, find_program, get, sandbox, wait_until

from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
README = (ROOT / "deploy" / "systemd" / "README.md").read_text()
KEY = "KEY-of-tests"
SERVICE, SOCKET = "telnyx-exporter.service", "telnyx-exporter.socket"
URL = "http://127.0.0.1:10142"
UNITS = Path("/etc/systemd/system")
SETTINGS, DOTENV = "/etc/telnyx-exporter/environment", "/etc/telnyx-exporter/.env"
CREDENTIAL = f"/run/credentials/{SERVICE}/api-key"
INSTALL_TIMEOUT = 300
CLONE_NEWNET = 0x40000000

BOOT = """
echo $$ >"$3/cgroup.procs"
exec unshare --mount --pid --cgroup --ipc --uts --net --fork --kill-child sh -euc '
  mount -t tmpfs tmpfs "$1"
  cd "$1"
  mkdir upper work root
  mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
  cd root
  mount -t proc proc proc
  # The kernel is shared, and so are its settings.
  mount --bind proc/sys proc/sys
  mount -o remount,bind,ro proc/sys
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=755 tmpfs dev
  for name in null zero full random urandom tty; do
    touch dev/$name
    mount --bind /dev/$name dev/$name
  done
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  mount -t tmpfs -o mode=755 tmpfs run
  mount -t tmpfs tmpfs tmp
  mkdir srv/repository
  mount --bind -o ro "$2" srv/repository
  rm -rf etc/systemd/system/* etc/telnyx-exporter opt/telnyx-exporter
  pivot_root . mnt
  umount -l /mnt
  # As the kernel leaves it: credentials are mounted by a process whose mounts must be seen here.
  mount --make-rshared /
  ip link set lo up
  exec env -i container=tests PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --unit=basic.target --show-status=no
' - "$1" "$2"
"""
"""Starts it, with a folder to mount on, the repository, and a control group."""


class Machine:
    """What runs under the second systemd, which is the process `init` of this machine."""

    def __init__(self, init):
        self._init = init
        self._network = Path(f"/proc/{init}/ns/net")

    def run(self, *command, text="", check=True, timeout=START_TIMEOUT, network=("--net",)):
        """Run a command there, with this input, and return what it prints."""
        namespaces = ("--mount", "--pid", "--cgroup", "--ipc", "--uts", *network)
        there = ("nsenter", f"--target={self._init}", *namespaces, "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        options = {"capture_output": True, "text": True, "timeout": timeout}
        done = subprocess.run((*there, *command), check=False, input=text, **options)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def follow(self, section, **options):
        """Run the commands in a section of the README, as they are."""
        _, text = README.split(f"\n## {section}\n")
        blocks = re.findall(r"^```sh\n(.*?)^```", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
        return self.run("sh", "-euxc", "".join(("cd /srv/repository\n", *blocks)), **options)

    def write(self, path, text):
        """Write a file."""
        self.run("tee", str(path), text=text)

    def show(self, unit, name):
        """Return a property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def log(self, unit):
        """Return what a unit has logged."""
        return self.run("journalctl", f"--unit={unit}", "--output=cat")

    def read(self, name):
        """Return a file in `/proc` about the exporter."""
        return self.run("cat", f"/proc/{self.show(SERVICE, 'MainPID')}/{name}")

    @contextlib.contextmanager
    def network(self):
        """Give new sockets of this thread the machine's network."""
        with Path("/proc/thread-self/ns/net").open() as here, self._network.open() as there:
            enter(there)
            try:
                yield
            finally:
                enter(here)

    def get(self, path):
        """Get a page from the exporter."""
        with self.network():
            return get(URL + path)

    def serves(self):
        """Tell whether the exporter has a snapshot to show."""
        return "telnyx_up 1.0" in self.get("/metrics").splitlines()


def enter(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


def remove(group):
    """Remove a control group, with those in it; `OSError` while there still is a process in one."""
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()
    return True


@contextlib.contextmanager
def control_group():
    """Give a group of its own in the unified hierarchy, wherever that is mounted."""
    (mounted, *_) = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/self/mounts").read_text(), re.MULTILINE)
    group = Path(mounted, f"telnyx-exporter-tests-{os.getpid()}")
    group.mkdir()
    try:
        yield group
    finally:
        wait_until(lambda: remove(group), "the end of the control group")


@contextlib.contextmanager
def booted(folder):
    """Boot a machine, and end it with everything in it."""
    with control_group() as group, (folder / "console").open("wb") as console:
        command = ("sh", "-euc", BOOT, "-", str(folder), str(ROOT), str(group))
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            (init,) = wait_until(lambda: children.read_text().split(), f"a new process, see {console.name}")
            wait_until(lambda: Path(f"/proc/{init}/comm").read_text() == "systemd\n", f"systemd, see {console.name}")
            machine = Machine(init)
            wait_until(
                lambda: machine.run("systemctl", "is-active", "basic.target", check=False) == "active\n", "the boot"
            )
            yield machine
        finally:
            process.kill()
            process.wait(START_TIMEOUT)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Return a machine on which the README's commands have been run, with a Telnyx on its loopback."""
    for name in ("systemctl", "nsenter", "pivot_root", "ip"):
        find_program(name)
    allowed = subprocess.run((find_program("unshare"), "--mount", "--net", "true"), check=False).returncode == 0
    if not allowed and not os.environ.get("CI"):
        pytest.skip("needs root, for namespaces")
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(booted(tmp_path_factory.mktemp("machine")))
        with machine.network():
            url = stack.enter_context(sandbox(Account(3, step=None), KEY))
        machine.run("mkdir", str(Path(SETTINGS).parent))
        machine.settings = f"TELNYX_BASE_URL={url.replace('127.0.0.1', 'localhost')}\n"  # a name, to be resolved
        machine.write(SETTINGS, machine.settings)
        machine.follow("Install", text=f"{KEY}\n", timeout=INSTALL_TIMEOUT, network=())  # this machine's, for pip
        wait_until(machine.serves, "a scrape")
        yield machine


@pytest.fixture
def service(machine):
    """Return the machine with the exporter running as it was installed."""
    machine.write(SETTINGS, machine.settings)
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "restart", SERVICE)
    wait_until(machine.serves, "a scrape")
    return machine


def test_installed_as_the_readme_says_it_serves(machine):
    """The key reaches Telnyx, the unit is one that systemd finds nothing wrong with, and it starts with the machine."""
    machine.run("systemd-analyze", "verify", SERVICE)
    assert machine.run("systemctl", "is-enabled", SERVICE) == "enabled\n"
    looked = machine.follow("Look")
    assert all(seen in looked for seen in ("active (running)", "msg=refreshed connections=3", "telnyx_up 1.0"))


def test_process_metrics_are_there(machine):
    """What prometheus-client reads in /proc is not hidden from it."""
    (started,) = re.findall(r"^process_start_time_seconds (\S+)", machine.get("/metrics"), re.MULTILINE)
    assert abs(time.time() - float(started)) < START_TIMEOUT


def test_user_is_nobody_with_no_capabilities(machine):
    """It runs as a user that systemd made up, with no capabilities and no way to get any."""
    status = dict(line.split(":\t", 1) for line in machine.read("status").splitlines() if ":\t" in line)
    assert all(61184 <= int(user) <= 65519 for user in status["Uid"].split())
    assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_key_is_the_services_alone(machine):
    """The key is in a file that only the service has, and not where lists of processes, units or logs show it."""
    assert machine.run("cat", CREDENTIAL) == f"{KEY}\n"
    assert machine.run("stat", "--format=%a", "/etc/telnyx-exporter/api-key") == "600\n"
    shown = (machine.read("environ"), machine.read("cmdline"), machine.run("systemctl", "show", SERVICE))
    assert all("api-key" in text for text in (shown[0], shown[2]))
    assert KEY not in "".join((*shown, machine.log(SERVICE)))


ATTEMPTS = {
    "writes": 'next(name for name, *_ in os.walk("/") if name[:6] != "/proc/" and os.access(name, os.W_OK))',
    "homes": 'os.listdir("/home/somebody")',
    "processes": 'os.stat("/proc/1")',
    "core dumps": "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    "code made of data": "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "Unix sockets": "socket.socket(socket.AF_UNIX)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "namespaces": 'call("unshare", 0x10000000)',
    "set-user-ID": 'os.fchmod(os.memfd_create("x"), 0o4755)',
    "personality": 'call("personality", 8)',
    "priority": "os.nice(0)",
    "root": 'os.chroot("/")',
}
"""What an exporter need not do, as Python that raises when it is refused."""

PROBE = """
import ctypes, json, mmap, os, resource, socket, sys

def call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

results = {}
for name, attempt in json.load(open(sys.argv[1])).items():
    try:
        exec(attempt)
        results[name] = "done"
    except (OSError, ValueError, StopIteration):
        results[name] = "refused"
print(json.dumps(results))
"""
"""Makes the attempts in a file and prints what became of them."""


@pytest.fixture(scope="module")
def probe(machine):
    """Return the command that makes the attempts."""
    machine.run("install", "-d", "/home/somebody")
    machine.write("/opt/probe.py", PROBE)
    machine.write("/opt/attempts.json", json.dumps(ATTEMPTS))
    return "/opt/telnyx-exporter/bin/python /opt/probe.py /opt/attempts.json"


@pytest.fixture(scope="module")
def confined(machine, probe):
    """Return what became of the attempts under the settings of the service, all but its command and how that is run."""
    unit = machine.run("cat", str(UNITS / SERVICE))
    for name, value in {"ExecStart": probe, "Type": "oneshot", "RestartForceExitStatus": ""}.items():
        unit, count = re.subn(f"^{name}=.*$", f"{name}={value}", unit, flags=re.MULTILINE)
        assert count == 1
    machine.write(UNITS / "probe.service", f"{unit}\n[Service]\nStandardOutput=truncate:/run/probe\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "probe")
    return json.loads(machine.run("cat", "/run/probe"))


@pytest.fixture(scope="module")
def unconfined(machine, probe):
    """Return what became of them in a service without settings."""
    return json.loads(machine.run("systemd-run", "--quiet", "--wait", "--pipe", *probe.split()))


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_what_it_need_not_do_it_may_not(attempt, confined, unconfined):
    """Each is refused to the exporter, and is not without the unit's settings."""
    assert (confined[attempt], unconfined[attempt]) == ("refused", "done")


def test_reload_reads_the_settings_it_may(service):
    """What `.env` beside the other settings says goes from a reload on, in the same process."""
    before = service.show(SERVICE, "MainPID")
    assert "\npython_info" in service.get("/metrics")
    service.write(DOTENV, "TELNYX_EXPORTER_METRICS__DENY=python_info\n")
    try:
        service.run("systemctl", "reload", SERVICE)
        wait_until(lambda: "\npython_info" not in service.get("/metrics"), "the reload")
    finally:
        service.run("rm", DOTENV)
    assert (service.show(SERVICE, "MainPID"), service.show(SERVICE, "NRestarts")) == (before, "0")


def test_a_new_key_takes_a_restart(service):
    """A credential is copied when the service starts, and not at a reload."""
    service.write("/etc/telnyx-exporter/api-key", "KEY-of-tomorrow\n")
    try:
        service.run("systemctl", "reload", SERVICE)
        assert service.run("cat", CREDENTIAL) == f"{KEY}\n"
        service.run("systemctl", "restart", SERVICE)
        assert service.run("cat", CREDENTIAL) == "KEY-of-tomorrow\n"
        wait_until(lambda: 'reason="unauthorized"} 1.0' in service.get("/metrics"), "Telnyx refusing the key")
    finally:
        service.write("/etc/telnyx-exporter/api-key", f"{KEY}\n")


def test_stop_is_quick_and_orderly(service):
    """It ends by itself, with status 0, within five seconds."""
    started = time.monotonic()
    service.run("systemctl", "stop", SERVICE)
    assert time.monotonic() - started < 5
    names = ("ActiveState", "Result", "ExecMainCode", "ExecMainStatus")
    assert [service.show(SERVICE, name) for name in names] == ["inactive", "success", "1", "0"]


def test_a_bad_setting_is_final(service):
    """The exporter ends with status 2 and a line that says why, and is not started again."""
    service.write(SETTINGS, "TELNYX_EXPORTER_CACHE__TTL=never\n")
    service.run("systemctl", "restart", SERVICE)
    wait_until(lambda: service.show(SERVICE, "ActiveState") == "failed", "the end")
    assert (service.show(SERVICE, "ExecMainStatus"), service.show(SERVICE, "NRestarts")) == ("2", "0")
    assert "telnyx-exporter: TELNYX_EXPORTER_CACHE__TTL='never': must be a duration" in service.log(SERVICE)


def test_a_crash_is_not(service):
    """What ends in any other way is started again."""
    service.run("kill", "-KILL", service.show(SERVICE, "MainPID"))
    wait_until(lambda: service.show(SERVICE, "SubState") == "auto-restart", "waiting for the next start")
    assert service.show(SERVICE, "Result") == "signal"


@pytest.fixture
def activated(machine):
    """Return the machine as the README's commands leave it for socket activation: listening, with no exporter."""
    machine.write(SETTINGS, machine.settings)
    machine.run("systemctl", "reset-failed")
    machine.follow("Socket activation")
    yield machine
    machine.run("systemctl", "disable", "--now", SOCKET)
    machine.run("rm", "-r", str(UNITS / f"{SERVICE}.d"))
    machine.run("systemctl", "daemon-reload")


def test_the_socket_starts_it(activated):
    """The first scrape starts the exporter, which serves on the socket that was there before it."""
    assert activated.show(SERVICE, "ActiveState") == "inactive"
    activated.run("systemd-analyze", "verify", SERVICE, SOCKET)
    wait_until(activated.serves, "a scrape")
    assert activated.show(SERVICE, "ActiveState") == "active"
    assert activated.read("environ").count("LISTEN_FDS=1") == 1


def test_the_socket_stays_while_it_restarts(activated):
    """A scrape in the middle of a restart waits for it, and is answered."""
    wait_until(activated.serves, "a scrape")
    before = activated.show(SERVICE, "MainPID")
    activated.run("systemctl", "restart", "--no-block", SERVICE)
    deadline = time.monotonic() + START_TIMEOUT
    while activated.show(SERVICE, "MainPID") in {before, "0"}:
        assert activated.serves()
        assert time.monotonic() < deadline
    assert activated.serves()


def test_the_socket_does_not_start_a_bad_setting_for_ever(activated):
    """Clients that wait make a loop of it, which systemd ends."""
    activated.write(SETTINGS, "TELNYX_EXPORTER_CACHE__TTL=never\n")
    with activated.network(), contextlib.suppress(OSError):
        get(URL)
    wait_until(lambda: activated.show(SOCKET, "Result") == "service-start-limit-hit", "the end of it")
