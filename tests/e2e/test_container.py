"""The image, built twice from the Dockerfile, and run with no right at all."""

import contextlib
import json
import re
import shutil
import subprocess
import tarfile
import time
from email.parser import HeaderParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import identity, write
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from programs import find_program, free_port, get, sandbox, wait_until

from exporter import __version__
from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
REVISION = "0123456789abcdef0123456789abcdef01234567"
CANARY = "c4n4ry"
"""In what a folder and an environment hold that images are built in, and in no image."""
KEY = "KEY-of-tests"
CERTIFICATES = "/etc/ssl/certs"
"""Of this machine, lent to the build: what stands between it and a package index may have one of its own."""

HARDENED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges")
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"
LISTENING = "msg=listening"


def ran(*arguments):
    return subprocess.run([find_program("podman"), *arguments], capture_output=True, text=True, check=False)


def podman(*arguments):
    done = ran(*arguments)
    assert done.returncode == 0, f"podman {arguments[0]}: {done.stderr}"
    return done.stdout.strip()


def inspect(name):
    return json.loads(podman("inspect", name))[0]


def context(folder):
    """Lay the repository out in a folder, beside files that somebody keeps there for himself."""
    ignored = shutil.ignore_patterns(".?*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    shutil.copy(ROOT / ".dockerignore", folder)
    for path in (".env", "api-key", "exporter/.env", "exporter/api-key", "exporter/__pycache__/cli.cpython-313.pyc"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(f"TELNYX_API_KEY={CANARY}\n")
    return folder


def build(folder):
    """Begin to build the image from this folder, by nothing but the Dockerfile and the requirements."""
    command = (find_program("podman"), "build", "--no-cache", "--layers=false", "--isolation=chroot", "--format=docker")
    arguments = (f"--build-arg=REVISION={REVISION}", f"--volume={CERTIFICATES}:{CERTIFICATES}:ro", "--timestamp=0")
    return subprocess.Popen(
        (*command, *arguments, f"--iidfile={folder}.id", folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TELNYX_API_KEY": CANARY},
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Build the image in two folders at the same time, and give what it is called by each."""
    folders = [context(tmp_path_factory.mktemp("build") / "context") for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for process in [stack.enter_context(build(folder)) for folder in folders]:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    names = [Path(f"{folder}.id").read_text() for folder in folders]
    yield names
    podman("rmi", "--force", *set(names))


@pytest.fixture(scope="module")
def image(images):
    """Return the image."""
    return images[0]


@pytest.fixture(scope="module")
def contents(image, tmp_path_factory):
    """Return the image as a file, its configuration, and what the last of its layers holds."""
    path = tmp_path_factory.mktemp("image") / "image.tar"
    podman("save", "--format=docker-archive", f"--output={path}", image)
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        with tarfile.open(fileobj=archive.extractfile(manifest["Layers"][-1])) as layer:
            files = {member: member.isfile() and layer.extractfile(member).read() for member in layer}
    return SimpleNamespace(path=path, config=config, files=files)


@pytest.fixture(scope="module")
def installed(contents):
    """Return the version of each distribution that the image has, by its name."""
    texts = [
        content.decode()
        for member, content in contents.files.items()
        if re.fullmatch(r"app/lib/python3\.\d+/site-packages/[^/]+\.dist-info/METADATA", member.name)
    ]
    metadata = [HeaderParser().parsestr(text) for text in texts]
    return {canonicalize_name(data["Name"]): data["Version"] for data in metadata}


@contextlib.contextmanager
def running(image, *command, flags=("--network=none",)):
    """Run the image, and give the container's name once it listens."""
    name = podman("run", "--detach", *HARDENED, *flags, image, *command)
    try:
        wait_until(lambda: LISTENING in logs(name), "listening")
        yield name
    finally:
        podman("rm", "--force", "--time=0", name)


def logs(name):
    return ran("logs", name).stderr


def healthy(name):
    return ran("healthcheck", "run", name).returncode == 0


@pytest.fixture(scope="module")
def demo(image):
    """Run the demo, alone in its network and as it listens by itself, and give the container's name."""
    with running(image, "--demo") as name:
        yield name


def test_builds_are_the_same_bit_for_bit(images):
    """Two builds in two folders give the same layers and the same configuration."""
    first, second = (inspect(name) for name in images)
    for part in ("RootFS", "Config", "History", "Created"):
        assert first[part] == second[part]


def test_there_are_no_secrets_in_it(contents):
    """What lay beside the program, and the environment of the build, is in no layer, no history and no variable."""
    data = contents.path.read_bytes()
    assert (ROOT / "exporter" / "config" / "settings.py").read_bytes() in data  # nothing is compressed
    assert CANARY.encode() not in data


def test_it_adds_the_program_and_nothing_else(contents, installed):
    """Besides its folder there is nothing new, no one but root may change that, and it has no installer."""
    for member in contents.files:
        assert member.name == "app" or member.name.startswith("app/"), member.name
        assert (member.uid, member.gid) == (0, 0), member.name
        assert member.issym() or not member.mode & 0o7022, member.name
    assert not {"pip", "setuptools", "wheel", "uv", "hatchling"} & set(installed)
    assert not [member.name for member in contents.files if re.search(r"/bin/(pip|easy_install|gcc|cc)", member.name)]
    ours = {member.name.partition("/site-packages/")[2] for member in contents.files if member.isfile()}
    assert {name for name in ours if name.startswith("exporter/") and not name.endswith(".pyc")} == {
        str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.*") if path.suffix in {".py", ".typed"}
    }


def test_it_has_what_is_pinned(installed):
    """Each dependency is there in the version of requirements.txt, and no other is."""
    lines = re.findall(r"^([^\s#].*?) \\$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    pins = [Requirement(line) for line in lines]
    here = [pin for pin in pins if not pin.marker or pin.marker.evaluate({"python_full_version": "3.13.0"})]
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in here}
    assert installed == pinned | {"telnyx-exporter": __version__}


def test_its_bill_of_materials_is_the_truth(contents, installed):
    """It is valid CycloneDX, has all that is installed and nothing else, and says nothing of where it was made."""
    (text,) = (content.decode() for member, content in contents.files.items() if member.name == "app/sbom.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    assert {canonicalize_name(component["name"]): component["version"] for component in components} == installed
    for component in components:
        assert component["purl"] == f"pkg:pypi/{canonicalize_name(component['name'])}@{component['version']}"
    assert not re.search(r'"(file:|/)|/(src|app|tmp|root|home|tools)/', text)


def test_it_says_what_it_is(contents):
    """Labels name version, revision and licence, and it starts as a user that is nobody."""
    config = contents.config["config"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["licenses"]) == (__version__, REVISION, "Apache-2.0")
    assert labels["title"] == "telnyx-exporter"
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/app/bin/telnyx-exporter"]
    assert list(config["ExposedPorts"]) == ["10142/tcp"]
    assert {line.split("=")[0] for line in config["Env"]} >= {"PATH", "EXPORTER_REVISION"}
    assert not re.search("PROXY|INDEX|CERT|KEY|TOKEN", str(config["Env"]), re.IGNORECASE)


def test_it_serves(demo):
    """It is scraped at the port that it says, and knows the revision that it was built from."""
    metrics = podman("exec", demo, "/app/bin/python", "-c", FETCH, "http://localhost:10142/metrics")
    assert "\ntelnyx_up 1.0\n" in metrics
    assert metrics.count("\ntelnyx_connection_active{") == 55
    (build,) = re.findall(r"^telnyx_exporter_build_info\{(.*)\} 1\.0$", metrics, re.MULTILINE)
    assert dict(re.findall(r'(\w+)="([^"]*)"', build)).items() >= {"version": __version__, "revision": REVISION}.items()


def test_it_has_no_rights(demo):
    """It is no user that there is, has no capability, can gain none, and can write nowhere."""
    status = dict(re.findall(r"^(\w+):\t(.*?) ?$", podman("exec", demo, "cat", "/proc/1/status"), re.MULTILINE))
    assert status["Uid"].split() == status["Gid"].split() == ["65532"] * 4
    assert status["Groups"] in {"", "65532"}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in podman("exec", demo, "cat", "/proc/1/mountinfo").splitlines()]
    assert {mount[5].split(",")[0] for mount in mounts if mount[4] == "/"} == {"ro"}
    assert not inspect(demo)["HostConfig"]["CapAdd"]
    refused = ran("exec", "--user=0", demo, "touch", "/app/new")
    assert "Read-only file system" in refused.stderr


def test_its_health_is_what_it_does(demo):
    """It is healthy as long as it answers, and not when it hangs."""
    assert healthy(demo)
    podman("kill", "--signal=STOP", demo)
    try:
        assert not healthy(demo)
    finally:
        podman("kill", "--signal=CONT", demo)
    assert healthy(demo)


def test_its_health_is_seen_behind_tls(image, tmp_path):
    """It is healthy with TLS, too, even where only clients with a certificate are let in."""
    write(tmp_path, identity("server"))
    tls = {"cert_file": "server.crt", "key_file": "server.key"}
    clients = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "server.crt"}
    (tmp_path / "web.yml").write_text(json.dumps({"tls_server_config": tls | clients}))
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o755)
    flags = ("--network=none", f"--volume={tmp_path}:/etc/exporter:ro")
    with running(image, "--demo", "--web.config.file=/etc/exporter/web.yml", flags=flags) as name:
        assert "metrics=https://" in logs(name)
        assert healthy(name)


def test_it_runs_as_any_user_with_a_key_from_a_file(image, tmp_path):
    """A user that it has never heard of reads Telnyx with a mounted key, which is nowhere to be seen."""
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o444)
    address = f"127.0.0.1:{free_port()}"
    with sandbox(Account(3, step=None), KEY) as api:
        flags = ("--user=4711:4712", "--network=host", f"--volume={key}:/run/secrets/key:ro")
        command = (f"--web.listen-address={address}", f"--telnyx.base-url={api}")
        with running(image, *command, "--telnyx.api-key-file=/run/secrets/key", flags=flags) as name:
            metrics = get(f"http://{address}/metrics")
            status = podman("exec", name, "cat", "/proc/1/status")
            seen = logs(name) + metrics + get(f"http://{address}/") + podman("inspect", name)
            seen += podman("exec", name, "cat", "/proc/1/cmdline", "/proc/1/environ")
    assert "\ntelnyx_up 1.0\n" in metrics
    assert metrics.count("\ntelnyx_connection_active{") == 3
    assert re.search(r"^Uid:(\t4711){4}$", status, re.MULTILINE)
    assert KEY not in seen


def test_it_ends_when_told_to(image):
    """SIGTERM, which is what stops a container, ends it within five seconds and with status 0."""
    with running(image, "--demo") as name:
        started = time.monotonic()
        podman("stop", "--time=20", name)
        assert time.monotonic() - started < 5
        state = inspect(name)["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        assert "msg=stopping" in logs(name)
