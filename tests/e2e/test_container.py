"""The image, built twice from the Dockerfile and run without any privileges."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from email.parser import HeaderParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from bill_of_materials import components_of
from certificates import identity, write
from commands_of import commands_of
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from programs import find_program, free_port, get, sandbox, wait_until

from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
VERSION = "1.2.3"
URL = "https://git.example/telnyx/exporter"
REVISION = "0123456789abcdef0123456789abcdef01234567"
EPOCH, DATE = "1772600767", "2026-03-04T05:06:07Z"
CANARY = "c4n4ry"
"""A text in private files and variables of the build environment, which no image may contain."""
KEY = "KEY-of-tests"
PAGES = "exporter/web/pages/html"
BASE = "python:3.13-slim"
CERTIFICATES = "/etc/ssl/certs"
"""This machine's CA certificates, mounted during the build: a proxy for the package index may have its own CA."""

HARDENED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges")
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=10).read().decode())"
LISTENING = "msg=listening"


def run_podman(*arguments):
    return subprocess.run([find_program("podman"), *arguments], capture_output=True, text=True, check=False)


def podman(*arguments):
    result = run_podman(*arguments)
    assert result.returncode == 0, f"podman {arguments[0]}: {result.stderr}"
    return result.stdout.strip()


def inspect(name):
    return json.loads(podman("inspect", name))[0]


def create_context(folder):
    """Copy the repository to a folder, as a build context, and add private files that developers keep there."""
    ignored = shutil.ignore_patterns(".?*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, folder, ignore=ignored)
    shutil.copy(ROOT / ".dockerignore", folder)
    for path in (".env", "api-key", "exporter/.env", "exporter/api-key", "exporter/__pycache__/cli.cpython-313.pyc"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(f"TELNYX_API_KEY={CANARY}\n")
    (folder / PAGES).mkdir(parents=True, exist_ok=True)
    (folder / PAGES / "Outdated.html").write_text(CANARY)
    return folder


def start_build(folder):
    """Start to build the image from only the Dockerfile and this folder, and return the process."""
    command = (find_program("podman"), "build", "--no-cache", "--isolation=chroot", "--format=docker")
    arguments = (
        *(f"--build-arg=VERSION={VERSION}", f"--build-arg=REVISION={REVISION}", f"--build-arg=URL={URL}"),
        f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}",
        f"--volume={CERTIFICATES}:{CERTIFICATES}:ro",
        "--timestamp=0",
    )
    return subprocess.Popen(
        (*command, *arguments, f"--iidfile={folder}.id", folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TELNYX_API_KEY": CANARY},
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Build the image in two folders at the same time, and yield the ids of both."""
    folders = [create_context(tmp_path_factory.mktemp("build") / "context") for _ in range(2)]
    intermediate = set()
    with contextlib.ExitStack() as stack:
        for process in [stack.enter_context(start_build(folder)) for folder in folders]:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
            intermediate |= set(re.findall(r"^--> ([0-9a-f]{8,})$", output, re.MULTILINE))
    ids = [Path(f"{folder}.id").read_text() for folder in folders]
    yield ids
    podman("rmi", "--force", *set(ids))
    for name in intermediate:  # those of the build's first stage
        run_podman("rmi", "--force", name)


@pytest.fixture(scope="module")
def image(images):
    """Return the id of the image."""
    return images[0]


@pytest.fixture(scope="module")
def contents(image, tmp_path_factory):
    """Return the path of the saved image, its configuration, and the files of each layer that the build adds."""
    path = tmp_path_factory.mktemp("image") / "image.tar"
    podman("save", "--format=docker-archive", f"--output={path}", image)
    with tarfile.open(path) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        names = manifest["Layers"][len(inspect(BASE)["RootFS"]["Layers"]) :]
        layers = [read_layer(archive.extractfile(name)) for name in names]
    files = {member: content for layer in layers for member, content in layer.items()}
    return SimpleNamespace(path=path, config=config, layers=layers, files=files)


def read_layer(file):
    with tarfile.open(fileobj=file) as layer:
        return {member: member.isfile() and layer.extractfile(member).read() for member in layer}


@pytest.fixture(scope="module")
def installed(contents):
    """Return the versions of the distributions in the image, by name."""
    texts = [
        content.decode()
        for member, content in contents.files.items()
        if re.fullmatch(r"app/lib/python3\.\d+/site-packages/[^/]+\.dist-info/METADATA", member.name)
    ]
    metadata = [HeaderParser().parsestr(text) for text in texts]
    return {canonicalize_name(data["Name"]): data["Version"] for data in metadata}


@contextlib.contextmanager
def running(image, *command, flags=("--network=none",)):
    """Run the image, and yield the container's name once the exporter listens."""
    name = podman("run", "--detach", *HARDENED, *flags, image, *command)
    try:
        wait_until(lambda: LISTENING in logs(name), "listening")
        yield name
    finally:
        podman("rm", "--force", "--time=0", name)


def logs(name):
    return run_podman("logs", name).stderr


def healthy(name):
    return run_podman("healthcheck", "run", name).returncode == 0


@pytest.fixture(scope="module")
def demo(image):
    """Run the demo without a network and on its default address, and yield the container's name."""
    with running(image, "--demo") as name:
        yield name


@pytest.fixture
def docker(image, tmp_path):
    """Yield a folder with a program `docker` that runs podman. Its `build` only tags the image that exists."""
    program = tmp_path / "docker"
    podman_path = find_program("podman")
    build = f'printf "%s\\n" "$@" >"{tmp_path}/build"; exec {podman_path} tag {image} localhost/telnyx-exporter:latest'
    container = f'shift; exec {podman_path} run --detach --network=none "$@"'
    program.write_text(f"#!/bin/sh\ncase $1 in build) {build};; run) {container};; esac\n")
    program.chmod(0o755)
    yield tmp_path
    podman("untag", image, "localhost/telnyx-exporter:latest")


def test_the_commands_of_the_readme_run_the_image(docker):
    """The README's command to build the image states the commit and its date. Its command to run the image works."""
    (command,) = (each for each in commands_of((ROOT / "README.md").read_text()) if "docker build" in each)
    result = subprocess.run(
        ["sh", "-euc", command],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{docker}:{os.environ['PATH']}", "TELNYX_API_KEY": KEY},
        capture_output=True,
        text=True,
        check=True,
    )
    name = result.stdout.split()[-1]
    try:
        wait_until(lambda: LISTENING in logs(name), "listening")
        assert inspect(name)["HostConfig"]["ReadonlyRootfs"]
    finally:
        podman("rm", "--force", "--time=0", name)
    arguments = (docker / "build").read_text().splitlines()
    assert arguments[:3] == ["build", "-t", "telnyx-exporter"]
    assert arguments[-1] == "."
    declared = re.findall(r"^ARG (REVISION|SOURCE_DATE_EPOCH)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {argument.partition("=")[0] for argument in arguments[4::2]} == set(declared)


def test_builds_are_reproducible(images):
    """Two builds in different folders have identical layers and an identical configuration."""
    first, second = (inspect(name) for name in images)
    for part in ("RootFS", "Config", "Created"):
        assert first[part] == second[part]
    for steps in zip(first["History"], second["History"], strict=True):
        before, after = ({**step, "comment": None} for step in steps)  # a comment has the id of an intermediate image
        assert before == after


def test_the_image_contains_no_secrets(contents):
    """No layer, history or variable contains private files of the build context or the environment of the build."""
    data = contents.path.read_bytes()
    assert (ROOT / "exporter" / "config" / "settings.py").read_bytes() in data  # the archive is not compressed
    assert CANARY.encode() not in data


def test_the_image_adds_only_the_program(contents, installed):
    """The build adds only the program's folder, which only root can change. It contains no installer or compiler.

    The pages of the runbooks are those that the build renders, not those of the source tree.
    """
    for member in contents.files:
        assert member.name == "app" or member.name.startswith("app/"), member.name
        assert (member.uid, member.gid) == (0, 0), member.name
        assert member.issym() or not member.mode & 0o7022, member.name
    assert not {"pip", "setuptools", "wheel", "uv", "hatchling"} & set(installed)
    assert not [member.name for member in contents.files if re.search(r"/bin/(pip|easy_install|gcc|cc)", member.name)]
    files = {member.name.partition("/site-packages/")[2] for member in contents.files if member.isfile()}
    suffixes = {".py", ".typed", ".css", ".html"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.*") if path.suffix in suffixes}
    sources = {name for name in sources if not name.startswith(f"{PAGES}/")}
    runbooks = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    pages = {f"{PAGES}/{name}.html" for name in runbooks | {"index"}}
    assert {name for name in files if name.startswith("exporter/") and not name.endswith(".pyc")} == sources | pages


def test_dependencies_have_their_own_layer(contents):
    """The first layer has no file of the exporter, and the second one no other files."""
    dependencies, program = ({member.name for member in layer if member.isfile()} for layer in contents.layers)
    own = re.compile(r"/site-packages/(exporter|telnyx_exporter-[^/]*)/|app/(bin/telnyx-exporter|sbom.cdx.json)$")
    assert not [name for name in dependencies if own.search(name)]
    assert not [name for name in program if not own.search(name)]


def test_the_image_contains_only_what_runs(contents):
    """There is one command besides Python, and no source of a compiled module, type stub or second bytecode."""
    names = {member.name for member in contents.files if member.isfile() or member.issym()}
    commands = {name.removeprefix("app/bin/") for name in names if name.startswith("app/bin/")}
    assert {name for name in commands if not name.startswith("python")} == {"telnyx-exporter"}
    assert not [name for name in names if re.search(r"\.(c|h|pxd|pxi|pyi|pyx)$|/__pycache__/", name)]


def test_licenses_of_dependencies_are_complete(contents):
    """The image has each license file that the metadata of a dependency names."""
    files = {member.name: content for member, content in contents.files.items() if member.isfile()}
    licenses = {
        str(Path(name).parent): HeaderParser().parsestr(content.decode()).get_all("License-File", [])
        for name, content in files.items()
        if name.endswith(".dist-info/METADATA")
    }
    assert len([names for names in licenses.values() if names]) > 20
    for folder, names in licenses.items():
        assert [name for name in names if not {f"{folder}/{name}", f"{folder}/licenses/{name}"} & set(files)] == []


def test_dependencies_are_the_pinned_ones(installed):
    """The image has exactly the dependencies in requirements.txt, in the pinned versions."""
    lines = re.findall(r"^([^\s#].*?) \\$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    pins = [Requirement(line) for line in lines]
    applicable = [pin for pin in pins if not pin.marker or pin.marker.evaluate({"python_full_version": "3.13.0"})]
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in applicable}
    assert installed == pinned | {"telnyx-exporter": VERSION}


def test_the_bill_of_materials_is_correct(contents, installed):
    """The SBOM is valid CycloneDX, lists exactly what is installed, and contains no paths of the build machine."""
    (text,) = (content.decode() for member, content in contents.files.items() if member.name == "app/sbom.cdx.json")
    components = components_of(text)
    assert {name: component["version"] for name, component in components.items()} == installed
    for name, component in components.items():
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"
    assert not re.search(r'"(file:|/)|/(src|app|tmp|root|home|tools)/', text)


def test_metadata_describes_the_image(contents):
    """Labels contain version, revision, URL and license. The image runs as an unprivileged user by default."""
    config = contents.config["config"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["licenses"]) == (VERSION, REVISION, "Apache-2.0")
    assert labels["source"] == URL
    assert labels["title"] == "telnyx-exporter"
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/app/bin/telnyx-exporter"]
    assert list(config["ExposedPorts"]) == ["10142/tcp"]
    assert "PATH" in {line.split("=")[0] for line in config["Env"]}
    assert not re.search("PROXY|INDEX|CERT|KEY|TOKEN", str(config["Env"]), re.IGNORECASE)


def test_the_container_serves_metrics(demo):
    """It serves metrics on its documented port. They include the revision and the date in the build arguments."""
    metrics = podman("exec", demo, "/app/bin/python", "-c", FETCH, "http://localhost:10142/metrics")
    assert "\ntelnyx_up 1.0\n" in metrics
    assert metrics.count("\ntelnyx_connection_active{") == 132
    (build,) = re.findall(r"^telnyx_exporter_build_info\{(.*)\} 1\.0$", metrics, re.MULTILINE)
    told = {"version": VERSION, "revision": REVISION, "builddate": DATE}
    assert dict(re.findall(r'(\w+)="([^"]*)"', build)).items() >= told.items()


def test_the_container_has_no_privileges(demo):
    """Its user does not exist on the system, has no capabilities, can't gain any, and can't write anywhere."""
    status = dict(re.findall(r"^(\w+):\t(.*?) ?$", podman("exec", demo, "cat", "/proc/1/status"), re.MULTILINE))
    assert status["Uid"].split() == status["Gid"].split() == ["65532"] * 4
    assert status["Groups"] in {"", "65532"}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in podman("exec", demo, "cat", "/proc/1/mountinfo").splitlines()]
    assert {mount[5].split(",")[0] for mount in mounts if mount[4] == "/"} == {"ro"}
    assert not inspect(demo)["HostConfig"]["CapAdd"]
    touch = run_podman("exec", "--user=0", demo, "touch", "/app/new")
    assert "Read-only file system" in touch.stderr


def test_a_hanging_exporter_is_unhealthy(demo):
    """The health check succeeds while the exporter responds, and fails while it hangs."""
    assert healthy(demo)
    podman("kill", "--signal=STOP", demo)
    try:
        assert not healthy(demo)
    finally:
        podman("kill", "--signal=CONT", demo)
    assert healthy(demo)


def test_the_health_check_works_with_tls(image, tmp_path):
    """The health check succeeds with TLS, even if clients must present a certificate."""
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


def test_the_container_runs_as_any_user_with_a_key_file(image, tmp_path):
    """Any user id can read Telnyx with a mounted key. The key is not exposed anywhere."""
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o444)
    address = f"127.0.0.1:{free_port()}"
    with sandbox(Account(3, step=None), KEY) as api:
        flags = ("--user=4711:4712", "--network=host", f"--volume={key}:/run/secrets/key:ro")
        command = (f"--web.listen-address={address}", f"--telnyx.base-url={api}")
        with running(image, *command, "--telnyx.api-key-file=/run/secrets/key", flags=flags) as name:
            metrics = get(f"http://{address}/metrics")
            runbook = get(f"http://{address}/runbooks/TelnyxApiDown")
            status = podman("exec", name, "cat", "/proc/1/status")
            exposed = logs(name) + metrics + get(f"http://{address}/") + podman("inspect", name)
            exposed += podman("exec", name, "cat", "/proc/1/cmdline", "/proc/1/environ")
    assert "\ntelnyx_up 1.0\n" in metrics
    assert "<title>TelnyxApiDown - Telnyx exporter</title>" in runbook
    assert metrics.count("\ntelnyx_connection_active{") == 3
    assert re.search(r"^Uid:(\t4711){4}$", status, re.MULTILINE)
    assert KEY not in exposed


def test_the_container_compiles_nothing(image):
    """All modules that the exporter imports have bytecode, also those of Python, at the start and for a page."""
    with running(image, "--demo", flags=("--network=none", "--env=PYTHONVERBOSE=1")) as name:
        for path in ("metrics", "", "runbooks/TelnyxApiDown"):
            podman(
                "exec", "--env=PYTHONVERBOSE=", name, "/app/bin/python", "-c", FETCH, f"http://localhost:10142/{path}"
            )
        loaded = re.findall(r"^# code object from '?([^'\n]+?)'?$", logs(name), re.MULTILINE)
    assert len(loaded) > 500
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def test_sigterm_stops_the_container(image):
    """SIGTERM, which stops a container, ends the exporter with status 0 before podman kills it after five seconds."""
    with running(image, "--demo") as name:
        podman("stop", "--time=5", name)
        state = inspect(name)["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        assert "msg=stopping" in logs(name)
