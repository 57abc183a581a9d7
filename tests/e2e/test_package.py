"""Published packages and pinned dependencies, really built and installed, each in a separate environment."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from programs import find_program
from uv import find_uv_bin

from exporter import __version__

ROOT = Path(__file__).parents[2]
BUILD = ("--build-constraints", ROOT / "requirements-build.txt")
WHEEL = f"telnyx_exporter-{__version__}-py3-none-any.whl"
SDIST = f"telnyx_exporter-{__version__}.tar.gz"


def run(*command, **kwargs):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert result.returncode == 0, result.stderr
    return result.stdout


def uv(*arguments):
    return run(find_uv_bin(), *arguments, env={**os.environ, "UV_PYTHON": sys.executable})


@pytest.fixture(scope="module", autouse=True)
def package_index():
    """Skip these tests outside of CI, because they need a package index."""
    if not os.environ.get("CI"):
        pytest.skip("installs from a package index: set CI=1")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Build the source distribution, and from it the wheel, with pinned tools. Return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", *BUILD, "--require-hashes", "--out-dir", folder, ROOT)
    return folder


def test_the_wheel_contains_only_the_program(dist):
    """The wheel contains the package, its metadata, the license, styles, templates, and a page for each runbook."""
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"telnyx_exporter-{__version__}.dist-info/METADATA").decode()
    metadata_files = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    assert metadata_files == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    suffixes = {".py", ".typed", ".css", ".html"}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "exporter").rglob("*.*") if path.suffix in suffixes}
    files = {name for name in files if not name.startswith("exporter/web/pages/html/")}
    runbooks = {path.stem for path in (ROOT / "docs" / "runbooks").glob("*.md")} - {"README"}
    pages = {f"exporter/web/pages/html/{name}.html" for name in runbooks | {"index"}}
    assert {name for name in names if ".dist-info/" not in name} == files | pages
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_the_source_distribution_contains_the_repository(dist):
    """The source distribution contains every file of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("no repository to compare it with")
    tracked = set(run(find_program("git"), "ls-files", cwd=ROOT).splitlines())
    with tarfile.open(dist / SDIST) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert tracked <= names


def test_the_source_distribution_builds_the_same_wheel(dist, tmp_path):
    """The wheels built from the repository and from the source distribution are identical, byte for byte."""
    uv("build", "--wheel", *BUILD, "--require-hashes", "--out-dir", tmp_path, ROOT)
    assert (tmp_path / WHEEL).read_bytes() == (dist / WHEEL).read_bytes()


@pytest.mark.parametrize("name", [WHEEL, SDIST], ids=["wheel", "sdist"])
def test_the_package_works_in_a_clean_environment(dist, name, tmp_path):
    """With only its pinned dependencies, outside of the repository, the command prints its version and metrics."""
    environment = tmp_path / "environment"
    uv("venv", environment)
    uv("pip", "install", f"--python={environment}", "--constraints", ROOT / "requirements.txt", *BUILD, dist / name)
    command = environment / "bin" / "telnyx-exporter"
    version = run(command, "--version", cwd=tmp_path)
    assert version.startswith(f"telnyx-exporter, version {__version__} (revision: ")
    if (ROOT / ".git").exists():
        assert run(find_program("git"), "rev-parse", "HEAD", cwd=ROOT).strip() in version
    metrics = run(command, "--demo", "--once", cwd=tmp_path)
    assert "\ntelnyx_up 1.0\n" in metrics
    assert metrics.count("\ntelnyx_connection_active{") == 132


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_pins_can_be_installed_everywhere(python, machine, tmp_path):
    """Every dependency has a wheel with a pinned hash for each Python version and each architecture."""
    platform = (f"--python-version={python}", f"--python-platform={machine}-manylinux_2_28", "--only-binary=:all:")
    where = (f"--target={tmp_path}", "--no-deps", "--require-hashes")
    uv("pip", "install", *platform, *where, "--requirements", ROOT / "requirements.txt")
