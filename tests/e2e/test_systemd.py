"""The units under a real systemd: a second instance, in separate namespaces, on a copy of this machine's file system.

The tests need root. The file system is copied on write, in memory. The network is a separate loopback interface.
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
KEYS = "/etc/telnyx-exporter/keys"
CREDENTIAL = f"/run/credentials/{SERVICE}/api-key"
LONG_TIMEOUT = 300
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
  # Protect the kernel settings, which are shared with this machine.
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
  # Share mounts, as after a real boot: another process mounts the credentials, and they must be visible here.
  mount --make-rshared /
  ip link set lo up
  exec env -i container=tests PATH=/usr/sbin:/usr/bin /lib/systemd/systemd --unit=basic.target --show-status=no
' - "$1" "$2"
"""
"""A shell script that starts it. Its arguments are a folder to mount on, the repository, and a control group."""


class Machine:
    """The system under the second systemd. `init` is the process id of that systemd on this machine."""

    def __init__(self, init):
        self._init = init
        self._network = Path(f"/proc/{init}/ns/net")

    def run(self, *command, text="", check=True, timeout=START_TIMEOUT, network=("--net",)):
        """Run a command in the namespaces with this input, and return its standard output."""
        namespaces = ("--mount", "--pid", "--cgroup", "--ipc", "--uts", *network)
        enter = ("nsenter", f"--target={self._init}", *namespaces, "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
        options = {"capture_output": True, "text": True, "timeout": timeout}
        result = subprocess.run((*enter, *command), check=False, input=text, **options)
        assert result.returncode == 0 or not check, f"{command}: {result.stdout}{result.stderr}"
        return result.stdout

    def run_readme_section(self, section, **options):
        """Run the commands in a section of the README, unchanged."""
        _, text = README.split(f"\n## {section}\n")
        blocks = re.findall(r"^```sh\n(.*?)^```", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
        return self.run("sh", "-euxc", "".join(("cd /srv/repository\n", *blocks)), **options)

    def write(self, path, text):
        """Write a file."""
        self.run("tee", str(path), text=text)

    def unit_property(self, unit, name):
        """Return a property of a unit."""
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def log(self, unit):
        """Return the log of a unit."""
        return self.run("journalctl", f"--unit={unit}", "--output=cat")

    def read_proc(self, name):
        """Return a file in the `/proc` folder of the exporter."""
        return self.run("cat", f"/proc/{self.unit_property(SERVICE, 'MainPID')}/{name}")

    @contextlib.contextmanager
    def network(self):
        """Create new sockets of this thread in the network of the machine."""
        with Path("/proc/thread-self/ns/net").open() as original, self._network.open() as network:
            enter_network(network)
            try:
                yield
            finally:
                enter_network(original)

    def get(self, path):
        """Get a page from the exporter."""
        with self.network():
            return get(URL + path)

    def is_up(self):
        """Return whether the exporter serves a snapshot."""
        return "telnyx_up 1.0" in self.get("/metrics").splitlines()


def enter_network(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


def remove_control_group(group):
    """Remove a control group and those in it, and return True. Raises `OSError` while one of them has a process."""
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()
    return True


@contextlib.contextmanager
def control_group():
    """Yield a new control group in the unified hierarchy, wherever that is mounted."""
    (mounted, *_) = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/self/mounts").read_text(), re.MULTILINE)
    group = Path(mounted, f"telnyx-exporter-tests-{os.getpid()}")
    group.mkdir()
    try:
        yield group
    finally:
        wait_until(lambda: remove_control_group(group), "removing the control group")


@contextlib.contextmanager
def boot_machine(folder):
    """Boot a machine, and kill it with all its processes at the end."""
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
    """Yield a machine with the exporter installed as in the README, and with a fake Telnyx API on its loopback."""
    for name in ("systemctl", "nsenter", "pivot_root", "ip"):
        find_program(name)
    allowed = subprocess.run((find_program("unshare"), "--mount", "--net", "true"), check=False).returncode == 0
    if not allowed and not os.environ.get("CI"):
        pytest.skip("needs root, for namespaces")
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(boot_machine(tmp_path_factory.mktemp("machine")))
        with machine.network():
            url = stack.enter_context(sandbox(Account(3, step=None), KEY))
        machine.run("mkdir", str(Path(SETTINGS).parent))
        # Use a host name, so that the service must resolve it.
        machine.settings = f"TELNYX_BASE_URL={url.replace('127.0.0.1', 'localhost')}\n"
        machine.write(SETTINGS, machine.settings)
        # Install in the network of this machine, which pip needs.
        machine.run_readme_section("Install", text=f"{KEY}\n", timeout=LONG_TIMEOUT, network=())
        wait_until(machine.is_up, "a scrape")
        yield machine


@pytest.fixture
def service(machine):
    """Return the machine with the exporter running as installed."""
    machine.write(SETTINGS, machine.settings)
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "restart", SERVICE)
    wait_until(machine.is_up, "a scrape")
    return machine


def test_the_readme_installs_a_working_service(machine):
    """The API key reaches Telnyx, systemd finds no problem in the unit, and the service starts at boot."""
    machine.run("systemd-analyze", "verify", SERVICE)
    assert machine.run("systemctl", "is-enabled", SERVICE) == "enabled\n"
    output = machine.run_readme_section("Check")
    assert all(text in output for text in ("active (running)", "msg=refreshed", "rows=3", "telnyx_up 1.0"))


def test_process_metrics_are_exposed(machine):
    """The unit does not hide the files in /proc that prometheus-client reads."""
    (started,) = re.findall(r"^process_start_time_seconds (\S+)", machine.get("/metrics"), re.MULTILINE)
    assert abs(time.time() - float(started)) < START_TIMEOUT


def test_the_service_has_a_dynamic_user_without_capabilities(machine):
    """The service runs as a dynamic user of systemd, without capabilities or a way to gain any."""
    status = dict(line.split(":\t", 1) for line in machine.read_proc("status").splitlines() if ":\t" in line)
    assert all(61184 <= int(user) <= 65519 for user in status["Uid"].split())
    assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_only_the_service_has_the_key(machine):
    """The API key is in a file of the service only. Process lists, unit properties and logs do not contain it."""
    assert machine.run("cat", CREDENTIAL) == f"{KEY}\n"
    assert machine.run("stat", "--format=%a", "/etc/telnyx-exporter/api-key") == "600\n"
    exposed = (machine.read_proc("environ"), machine.read_proc("cmdline"), machine.run("systemctl", "show", SERVICE))
    assert all("api-key" in text for text in (exposed[0], exposed[2]))
    assert KEY not in "".join((*exposed, machine.log(SERVICE)))


ACTIONS = {
    "writes": 'next(name for name, *_ in os.walk("/") if name[:6] != "/proc/" and os.access(name, os.W_OK))',
    "homes": 'os.listdir("/home/somebody")',
    "processes": 'os.stat("/proc/1")',
    "core dumps": "resource.setrlimit(resource.RLIMIT_CORE, (1, 1))",
    "executable data": "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "Unix sockets": "socket.socket(socket.AF_UNIX)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "namespaces": 'call("unshare", 0x10000000)',
    "set-user-ID": 'os.fchmod(os.memfd_create("x"), 0o4755)',
    "personality": 'call("personality", 8)',
    "priority": "os.nice(0)",
    "root": 'os.chroot("/")',
}
"""Actions that the exporter doesn't need, as Python code that raises an exception if they are denied."""

PROBE = """
import ctypes, json, mmap, os, resource, socket, sys

def call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

results = {}
for name, action in json.load(open(sys.argv[1])).items():
    try:
        exec(action)
        results[name] = "done"
    except (OSError, ValueError, StopIteration):
        results[name] = "refused"
print(json.dumps(results))
"""
"""Tries the actions in a file and prints their results."""


@pytest.fixture(scope="module")
def probe(machine):
    """Return the command that tries the actions."""
    machine.run("install", "-d", "/home/somebody")
    machine.write("/opt/probe.py", PROBE)
    machine.write("/opt/actions.json", json.dumps(ACTIONS))
    return "/opt/telnyx-exporter/bin/python /opt/probe.py /opt/actions.json"


@pytest.fixture(scope="module")
def confined(machine, probe):
    """Return the results in a service with the settings of the unit, except its command and how that is run."""
    unit = machine.run("cat", str(UNITS / SERVICE))
    for name, value in {"ExecStart": probe, "Type": "oneshot", "RestartForceExitStatus": ""}.items():
        unit, count = re.subn(f"^{name}=.*$", f"{name}={value}", unit, flags=re.MULTILINE)
        assert count == 1
    machine.write(UNITS / "probe.service", f"{unit}\n[Service]\nStandardOutput=truncate:/run/probe\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "probe", timeout=LONG_TIMEOUT)  # it looks at every file
    return json.loads(machine.run("cat", "/run/probe"))


@pytest.fixture(scope="module")
def unconfined(machine, probe):
    """Return the results in a service without these settings."""
    return json.loads(machine.run("systemd-run", "--quiet", "--wait", "--pipe", *probe.split()))


@pytest.mark.parametrize("action", ACTIONS)
def test_unneeded_actions_are_denied(action, confined, unconfined):
    """The settings of the unit deny the action, which is possible without them."""
    assert (confined[action], unconfined[action]) == ("refused", "done")


def test_reload_applies_the_dotenv_file(service):
    """A reload applies the `.env` file in the folder of the settings, without a restart."""
    before = service.unit_property(SERVICE, "MainPID")
    assert "\npython_info" in service.get("/metrics")
    service.write(DOTENV, "TELNYX_EXPORTER_METRICS__DENY=python_info\n")
    try:
        service.run("systemctl", "reload", SERVICE)
        wait_until(lambda: "\npython_info" not in service.get("/metrics"), "the reload")
    finally:
        service.run("rm", DOTENV)
    assert (service.unit_property(SERVICE, "MainPID"), service.unit_property(SERVICE, "NRestarts")) == (before, "0")


def test_a_new_key_needs_a_restart(service):
    """A restart makes systemd copy the new credential. A reload does not."""
    service.write("/etc/telnyx-exporter/api-key", "KEY-of-tomorrow\n")
    try:
        service.run("systemctl", "reload", SERVICE)
        assert service.run("cat", CREDENTIAL) == f"{KEY}\n"
        service.run("systemctl", "restart", SERVICE)
        assert service.run("cat", CREDENTIAL) == "KEY-of-tomorrow\n"
        wait_until(lambda: 'reason="unauthorized"} 1.0' in service.get("/metrics"), "rejection of the key")
    finally:
        service.write("/etc/telnyx-exporter/api-key", f"{KEY}\n")


def test_stop_is_quick_and_clean(service):
    """The exporter exits on SIGTERM within five seconds, with status 0."""
    service.run("systemctl", "stop", SERVICE)
    stopping, stopped = (
        int(service.unit_property(SERVICE, f"{name}TimestampMonotonic")) for name in ("ActiveExit", "InactiveEnter")
    )
    assert 0 < stopped - stopping < 5_000_000  # microseconds
    names = ("ActiveState", "Result", "ExecMainCode", "ExecMainStatus")
    assert [service.unit_property(SERVICE, name) for name in names] == ["inactive", "success", "1", "0"]


def test_an_invalid_setting_causes_no_restart(service):
    """The exporter exits with status 2 and a line that states the reason, and systemd does not restart it."""
    service.write(SETTINGS, "TELNYX_EXPORTER_CACHE__TTL=never\n")
    service.run("systemctl", "restart", SERVICE)
    wait_until(lambda: service.unit_property(SERVICE, "ActiveState") == "failed", "the exit")
    assert (service.unit_property(SERVICE, "ExecMainStatus"), service.unit_property(SERVICE, "NRestarts")) == ("2", "0")
    assert "telnyx-exporter: TELNYX_EXPORTER_CACHE__TTL='never': must be a duration" in service.log(SERVICE)


def test_a_crash_causes_a_restart(service):
    """If the exporter ends in any other way, systemd restarts it."""
    service.run("kill", "-KILL", service.unit_property(SERVICE, "MainPID"))
    wait_until(lambda: service.unit_property(SERVICE, "SubState") == "auto-restart", "the wait for the restart")
    assert service.unit_property(SERVICE, "Result") == "signal"


def is_up(machine, account):
    return f'telnyx_up{{account="{account}"}} 1.0' in machine.get("/metrics").splitlines()


@pytest.fixture
def accounts(machine):
    """Yield the machine with the key of one account, `acme`, installed as in the README."""
    machine.write(SETTINGS, machine.settings)
    machine.run("systemctl", "reset-failed")
    machine.run_readme_section("Several accounts", text=f"{KEY}\n")
    wait_until(lambda: is_up(machine, "acme"), "a scrape")
    yield machine
    machine.run("rm", "-r", str(UNITS / f"{SERVICE}.d"), KEYS)
    machine.run("systemctl", "daemon-reload")


def test_the_accounts_are_monitored(accounts):
    """Each file of the directory is an account, and a restart adds one. The key of the unit is not used."""
    accounts.run("systemd-analyze", "verify", SERVICE)
    accounts.run("install", "-m", "600", "/dev/stdin", f"{KEYS}/beta.1", text=f"{KEY}\n")
    accounts.run("systemctl", "restart", SERVICE)
    wait_until(lambda: is_up(accounts, "acme") and is_up(accounts, "beta.1"), "a scrape")
    assert accounts.run("ls", str(Path(CREDENTIAL).parent)).split() == ["key_acme", "key_beta.1"]


def test_only_the_service_has_the_keys_of_accounts(accounts):
    """The API keys are in files of the service only. Its environment names them with a pattern."""
    pattern = Path(CREDENTIAL).with_name("key_*")
    environment = accounts.read_proc("environ").split("\0")
    keys = [variable for variable in environment if "__API_KEY" in variable]
    assert keys == [f"TELNYX_EXPORTER_TELNYX__API_KEY_FILES={pattern}"]
    assert accounts.run("cat", str(Path(CREDENTIAL).with_name("key_acme"))) == f"{KEY}\n"
    assert accounts.run("stat", "--format=%a", KEYS, f"{KEYS}/acme").split() == ["700", "600"]
    exposed = (*environment, accounts.read_proc("cmdline"), accounts.run("systemctl", "show", SERVICE))
    assert KEY not in "".join((*exposed, accounts.log(SERVICE)))


def test_a_unit_can_use_the_flag(machine):
    """In a command, systemd replaces the directory of the credentials, and leaves the pattern to the exporter."""
    (flag,) = re.findall(r"^ExecStart=\S+ (--\S+)$", README, re.MULTILINE)
    machine.run("install", "-d", "/run/keys")
    machine.write("/run/keys/acme", f"{KEY}\n")
    unit = f"[Service]\nType=oneshot\nLoadCredential=key:/run/keys\nExecStart=/usr/bin/printf '%%s\\n' {flag}\n"
    machine.write(UNITS / "flag.service", f"{unit}StandardOutput=truncate:/run/flag\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "flag")
    assert machine.run("cat", "/run/flag") == "--telnyx.api-key-files=/run/credentials/flag.service/key_*\n"


@pytest.fixture
def activated(machine):
    """Yield the machine with socket activation as in the README: the socket listens, and no exporter runs."""
    machine.write(SETTINGS, machine.settings)
    machine.run("systemctl", "reset-failed")
    machine.run_readme_section("Socket activation")
    yield machine
    machine.run("systemctl", "disable", "--now", SOCKET)
    machine.run("rm", "-r", str(UNITS / f"{SERVICE}.d"))
    machine.run("systemctl", "daemon-reload")


def test_the_socket_starts_the_service(activated):
    """The first scrape starts the exporter, which serves on the existing socket."""
    assert activated.unit_property(SERVICE, "ActiveState") == "inactive"
    activated.run("systemd-analyze", "verify", SERVICE, SOCKET)
    wait_until(activated.is_up, "a scrape")
    assert activated.unit_property(SERVICE, "ActiveState") == "active"
    assert activated.read_proc("environ").count("LISTEN_FDS=1") == 1


def test_the_socket_stays_open_during_a_restart(activated):
    """A scrape during a restart waits for it and gets a response."""
    wait_until(activated.is_up, "a scrape")
    before = activated.unit_property(SERVICE, "MainPID")
    activated.run("systemctl", "restart", "--no-block", SERVICE)
    deadline = time.monotonic() + START_TIMEOUT
    while activated.unit_property(SERVICE, "MainPID") in {before, "0"}:
        assert activated.is_up()
        assert time.monotonic() < deadline
    assert activated.is_up()


def test_the_socket_stops_restarting_with_an_invalid_setting(activated):
    """Waiting clients start an exporter with an invalid setting again and again, until systemd stops this loop."""
    activated.write(SETTINGS, "TELNYX_EXPORTER_CACHE__TTL=never\n")
    with activated.network(), contextlib.suppress(OSError):
        get(URL)
    wait_until(lambda: activated.unit_property(SOCKET, "Result") == "service-start-limit-hit", "the start limit")
