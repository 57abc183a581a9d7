"""`make dist`: each package, built from a tagged commit, then installed in an empty environment and run."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from bill_of_materials import components_of
from programs import find_program, get, get_json, prometheus, running, wait_until
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
VERSION = "1.2.3"
COMMITTED = "2026-03-04T05:06:07Z"
AUTHOR = {"NAME": "Author", "EMAIL": "author@example.com", "DATE": COMMITTED}
URL = "https://git.example/telnyx/exporter"
IMAGE = "registry.example/telnyx/exporter"
WHEEL, SDIST = f"telnyx_exporter-{VERSION}-py3-none-any.whl", f"telnyx_exporter-{VERSION}.tar.gz"
CHART, ASSETS = f"telnyx-exporter-{VERSION}.tgz", f"telnyx-exporter-assets-{VERSION}.tar.gz"
SBOM, REQUIREMENTS = f"telnyx-exporter-{VERSION}.cdx.json", f"telnyx-exporter-requirements-{VERSION}.txt"
FILES = (WHEEL, SDIST, CHART, ASSETS, SBOM, REQUIREMENTS)
PINS = ("--build-constraints", ROOT / "requirements-build.txt")


def run(*command, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def uv(*arguments):
    return run(find_uv_bin(), *arguments, env={**os.environ, "UV_PYTHON": sys.executable})


@pytest.fixture(scope="module", autouse=True)
def package_index():
    """Skip these tests outside of CI, because they need a package index."""
    if not os.environ.get("CI"):
        pytest.skip("installs from a package index: set CI=1")
    if not (ROOT / ".git").exists():
        pytest.skip("no repository to build from")


@pytest.fixture(scope="module")
def tracked():
    """Return the names of the repository's files."""
    return run(find_program("git"), "ls-files", cwd=ROOT).splitlines()


@pytest.fixture(scope="module")
def repository(tracked, tmp_path_factory):
    """Return a repository with the same files, and one commit with a tag."""
    folder = tmp_path_factory.mktemp("repository")
    for name in tracked:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    author = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in AUTHOR.items()}
    settings = {**os.environ, **author, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for command in ("init --quiet", "add --all --force", "commit --quiet --message=release", f"tag v{VERSION}"):
        run(find_program("git"), *command.split(), cwd=folder, env=settings)
    return folder


def names(folder):
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def make_dist(repository, **environment):
    """Run `make dist` in a repository, and return the folder of the packages."""
    variables = ("MAKEFLAGS", "MAKELEVEL", "SOURCE_DATE_EPOCH", "EXPORTER_REVISION")
    inherited = {name: value for name, value in os.environ.items() if name not in variables}
    command = (find_program("make"), "dist", f"BIN={Path(sys.executable).parent}")
    printed = run(*command, cwd=repository, env=inherited | environment)
    assert run(find_program("git"), "status", "--porcelain", cwd=repository) == ""
    assert re.findall(r" dist/(\S+)$", printed, re.MULTILINE) == names(repository / "dist")
    return repository / "dist"


@pytest.fixture(scope="module")
def dist(repository):
    """Return the folder with all packages."""
    find_program("helm")
    return make_dist(repository, REPOSITORY_URL=URL, EXPORTER_IMAGE=IMAGE)


@pytest.fixture(scope="module")
def revision(repository):
    """Return the commit of the release."""
    return run(find_program("git"), "rev-parse", "HEAD", cwd=repository).strip()


@pytest.fixture(scope="module")
def assets(dist, tmp_path_factory):
    """Return the folder that the archive of dashboards and rules unpacks to."""
    folder = tmp_path_factory.mktemp("assets")
    with tarfile.open(dist / ASSETS) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def test_checksums(dist):
    """There is a file with the sums of all others. Everyone may read the folder."""
    assert names(dist) == sorted(["SHA256SUMS", *FILES])
    checked = run(find_program("sha256sum"), "--check", "--strict", "SHA256SUMS", cwd=dist)
    assert sorted(checked.splitlines()) == sorted(f"{name}: OK" for name in FILES)
    assert dist.stat().st_mode == (dist.parent / "tests").stat().st_mode


def test_builds_of_a_commit_are_identical(dist, repository, tmp_path):
    """A clone of the commit gives the same packages, byte for byte."""
    run(find_program("git"), "clone", "--quiet", repository, tmp_path / "clone")
    again = make_dist(tmp_path / "clone", REPOSITORY_URL=URL, EXPORTER_IMAGE=IMAGE)
    assert (again / "SHA256SUMS").read_text() == (dist / "SHA256SUMS").read_text()


def test_the_wheel_contains_only_the_program(dist, repository):
    """The wheel contains the package, its metadata and license, a page for each runbook, and the assets."""
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        listed = wheel.namelist()
    prefix = f"telnyx_exporter-{VERSION}"
    data = {name.removeprefix(f"{prefix}.data/data/share/telnyx-exporter/") for name in listed if ".data/" in name}
    assert {name.partition(".dist-info/")[2] for name in listed if ".dist-info/" in name} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    suffixes = {".py", ".typed", ".css", ".html"}
    files = {str(path.relative_to(repository)) for path in (repository / "exporter").rglob("*.*")}
    runbooks = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    pages = {f"exporter/web/pages/html/{name}.html" for name in runbooks | {"index"}}
    package = {name for name in listed if name.startswith("exporter/")}
    assert package == {name for name in files if Path(name).suffix in suffixes} | pages
    assert len(listed) == len(package) + len(data) + 5
    assert all((repository / name).is_file() for name in data)


def test_the_source_distribution_contains_the_repository(dist, tracked):
    """The source distribution contains every file of the repository."""
    with tarfile.open(dist / SDIST) as sdist:
        assert set(tracked) <= {name.partition("/")[2] for name in sdist.getnames()}


@pytest.mark.parametrize("name", [WHEEL, SDIST], ids=["wheel", "sdist"])
def test_the_program_runs_in_an_empty_environment(dist, assets, revision, name, tmp_path):
    """With only its pinned dependencies, outside of the repository, the command serves metrics and pages."""
    environment = tmp_path / "environment"
    uv("venv", environment)
    uv("pip", "install", f"--python={environment}", "--require-hashes", "--requirements", dist / REQUIREMENTS)
    uv("pip", "install", f"--python={environment}", "--no-deps", *PINS, dist / name)
    command = environment / "bin" / "telnyx-exporter"
    version = run(command, "--version", cwd=tmp_path).splitlines()
    assert version[0] == f"telnyx-exporter, version {VERSION} (revision: {revision})"
    assert version[1].split() == ["build", "date:", COMMITTED]
    folder = Path(run(command, "--assets-dir", cwd=tmp_path).strip())
    assert folder == environment / "share" / "telnyx-exporter"
    assert contents(folder) == contents(assets)
    log = tmp_path / "exporter.log"
    with running(command, "--demo", "--web.listen-address=127.0.0.1:0", log=log):
        url = wait_until(lambda: re.search(r"page=(\S+)/", log.read_text()), "listening")[1]
        metrics = get(f"{url}/metrics")
        page, runbook = get(f"{url}/"), get(f"{url}/runbooks/TelnyxApiDown")
    assert metrics.count("\ntelnyx_connection_active{") == 132
    assert f'version="{VERSION}"' in metrics
    assert f'<a href="{URL}">Source</a>' in page
    assert "<h1" in runbook


def contents(folder):
    """Return the content of each file below a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_assets_are_the_repository_files(assets, repository, tracked):
    """The archive has all dashboards, rules, runbooks and systemd units, unchanged."""
    found = contents(assets)
    folders = ("grafana/dashboards/", "prometheus/rules/", "docs/runbooks/", "deploy/systemd/")
    assert {name for name in tracked if name.startswith(folders)} <= found.keys()
    assert {name: (repository / name).read_bytes() for name in found} == found


def test_prometheus_loads_the_rules_of_the_assets(assets, tmp_path):
    """Prometheus runs with the configuration and the rules of the archive. Each alert has a runbook there."""
    shutil.copytree(assets / "prometheus", tmp_path, dirs_exist_ok=True)
    with prometheus(tmp_path, (tmp_path / "prometheus.yml").read_text()) as url:
        groups = get_json(f"{url}/api/v1/rules")["data"]["groups"]
    alerts = {rule["name"] for group in groups for rule in group["rules"] if rule["type"] == "alerting"}
    assert alerts == {path.stem for path in (assets / "docs" / "runbooks").glob("Telnyx*.md")}


def test_links_of_the_assets_can_be_changed(assets, tmp_path):
    """The script of the archive writes rules and dashboards with other links to the working directory."""
    links = {"RUNBOOKS": "https://runbooks.example", "GRAFANA": "https://grafana.example"}
    run(sys.executable, "-I", assets / "deploy" / "links.py", cwd=tmp_path, env={**os.environ, **links})
    rules = tmp_path / "build" / "rules" / "telnyx.rules.yaml"
    run(find_program("promtool"), "check", "rules", rules)
    assert "localhost" not in rules.read_text()
    assert names(tmp_path / "build" / "dashboards") == names(assets / "grafana" / "dashboards")


@pytest.mark.parametrize(
    ("value", "registry"),
    [("demo=true", "registry.example"), ("global.imageRegistry=mirror.example", "mirror.example")],
)
def test_the_chart_installs_the_image_of_the_release(dist, tmp_path, value, registry):
    """The packaged chart passes Helm's checks, and runs the image of the same version. It says where it comes from.

    Users who mirror images can replace the registry.
    """
    helm, values = find_program("helm"), f"--set=demo=true,{value}"
    run(helm, "lint", "--strict", dist / CHART, values)
    (deployment,) = [
        document
        for document in yaml.safe_load_all(run(helm, "template", "name", dist / CHART, values, cwd=tmp_path))
        if document["kind"] == "Deployment"
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{registry}/telnyx/exporter:{VERSION}"
    assert deployment["metadata"]["labels"]["app.kubernetes.io/version"] == VERSION
    chart = yaml.safe_load(run(helm, "show", "chart", dist / CHART))
    assert (chart["version"], chart["appVersion"], chart["home"]) == (VERSION, VERSION, URL)


def test_the_bill_of_materials_lists_what_is_installed(dist):
    """The SBOM is valid CycloneDX, lists the program and its pinned dependencies, and has no paths."""
    text = (dist / SBOM).read_text()
    versions = {name: component["version"] for name, component in components_of(text).items()}
    assert versions.pop("telnyx-exporter") == VERSION
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert versions.items() <= pins.items()
    assert {"httpx", "prometheus-client", "uvloop"} <= versions.keys()
    assert not re.search(r'"(file:|/)|/(tmp|root|home)/', text)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-build.txt"])
def test_pins_can_be_installed_everywhere(name, python, machine, tmp_path):
    """Every dependency is pinned, and has a wheel with a pinned hash for each Python version and each architecture."""
    platform = (f"--python-version={python}", f"--python-platform={machine}-manylinux_2_28", "--only-binary=:all:")
    uv("pip", "install", *platform, f"--target={tmp_path}", "--require-hashes", "--requirements", ROOT / name)
