"""What is published and what is pinned, built and installed for real, each in an environment of its own."""

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
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def uv(*arguments):
    return run(find_uv_bin(), *arguments, env={**os.environ, "UV_PYTHON": sys.executable})


@pytest.fixture(scope="module", autouse=True)
def index():
    """Ask a package index where that is expected, and not whenever somebody runs the tests."""
    if not os.environ.get("CI"):
        pytest.skip("installs from a package index, which CI does")


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Build the source distribution, and the wheel from that, with pinned tools."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", *BUILD, "--require-hashes", "--out-dir", folder, ROOT)
    return folder


def test_the_wheel_holds_the_program_and_nothing_else(dist):
    """It has the package, what is known of it, and the licence."""
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"telnyx_exporter-{__version__}.dist-info/METADATA").decode()
    about = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    assert about == {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    files = (ROOT / "exporter").rglob("*.*")
    modules = {str(path.relative_to(ROOT)) for path in files if path.suffix in {".py", ".typed"}}
    assert {name for name in names if ".dist-info/" not in name} == modules
    assert "\nLicense-Expression: Apache-2.0\n" in metadata


def test_the_source_distribution_holds_the_repository(dist):
    """Every file of the repository is in it."""
    if not (ROOT / ".git").exists():
        pytest.skip("no repository to compare it with")
    tracked = set(run(find_program("git"), "ls-files", cwd=ROOT).splitlines())
    with tarfile.open(dist / SDIST) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert tracked <= names


def test_the_source_distribution_is_all_that_a_build_needs(dist, tmp_path):
    """A wheel built from the repository is, byte for byte, the one that was built from the source distribution."""
    uv("build", "--wheel", *BUILD, "--require-hashes", "--out-dir", tmp_path, ROOT)
    assert (tmp_path / WHEEL).read_bytes() == (dist / WHEEL).read_bytes()


@pytest.mark.parametrize("name", [WHEEL, SDIST], ids=["wheel", "sdist"])
def test_it_works_where_nothing_else_is_installed(dist, name, tmp_path):
    """Installed with its pinned dependencies, away from the repository, the command says its version and serves."""
    environment = tmp_path / "environment"
    uv("venv", environment)
    uv("pip", "install", f"--python={environment}", "--constraints", ROOT / "requirements.txt", *BUILD, dist / name)
    command = environment / "bin" / "telnyx-exporter"
    assert run(command, "--version", cwd=tmp_path) == f"telnyx-exporter {__version__}\n"
    metrics = run(command, "--demo", "--once", cwd=tmp_path)
    assert "\ntelnyx_up 1.0\n" in metrics
    assert metrics.count("\ntelnyx_connection_active{") == 55


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_pins_can_be_installed_everywhere(python, machine, tmp_path):
    """On each Python and each machine there is a wheel of every dependency, and it has a hash that is allowed."""
    platform = (f"--python-version={python}", f"--python-platform={machine}-manylinux_2_28", "--only-binary=:all:")
    where = (f"--target={tmp_path}", "--no-deps", "--require-hashes")
    uv("pip", "install", *platform, *where, "--requirements", ROOT / "requirements.txt")
