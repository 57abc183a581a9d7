"""Builds all packages of a release in `dist/`: `make dist`. Two builds of the same commit are identical.

It needs git, Helm and a package index. REPOSITORY_URL, the URL of the repository, and EXPORTER_IMAGE, the name of the
image without a tag, fill in the links of the packages and the image of the chart.
"""

import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from packaging.utils import parse_wheel_filename
from packaging.version import Version
from uv import find_uv_bin

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
CHART = ROOT / "deploy" / "helm" / "telnyx-exporter"
NAME = "telnyx-exporter"
SUMS = "SHA256SUMS"

_NO_IMAGE = f"""\
  registry: ""
  # An image is published only with a release. Build one, push it, and set its name here.
  repository: {NAME}
"""
"""The image in the values of the chart."""
_IMAGE = re.compile(r"[a-z0-9][a-z0-9.-]*(:\d{1,5})?(/[a-z0-9._-]+)+")


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return its output. If it fails, exit with its error."""
    try:
        result = subprocess.run(  # noqa: S603 -- constant commands
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        sys.exit(f"make dist: {command[0]} is not installed")
    if result.returncode:
        sys.exit(f"make dist: {Path(command[0]).name} failed:\n{result.stdout}{result.stderr}".rstrip())
    return result.stdout


def semantic_version(version: Version) -> str:
    """Return the version in the form of the chart and the image: `1.2.0rc1` is `1.2.0-rc.1`."""
    parts = []
    if version.pre:
        stage, number = version.pre
        parts += [{"a": "alpha", "b": "beta"}.get(stage, stage), str(number)]
    if version.dev is not None:
        parts += ["dev", str(version.dev)]
    return f"{version.major}.{version.minor}.{version.micro}" + (f"-{'.'.join(parts)}" if parts else "")


def write_archive(path: Path, files: dict[str, bytes], epoch: int) -> None:
    """Write a compressed tar archive in which all files have the same time and no owner."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), epoch
            archive.addfile(member, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=epoch))


def build_packages(folder: Path, epoch: int) -> Path:
    """Build the source distribution, and from it the wheel, with pinned tools. Check both, and return the wheel."""
    pins = ("--build-constraints", ROOT / "requirements-build.txt", "--require-hashes")
    run(find_uv_bin(), "build", *pins, "--out-dir", folder, ROOT, SOURCE_DATE_EPOCH=str(epoch))
    (folder / ".gitignore").unlink(missing_ok=True)
    (wheel,) = folder.glob("*.whl")
    commands = Path(sys.executable).parent
    run(commands / "twine", "check", "--strict", *folder.iterdir())
    run(commands / "check-wheel-contents", wheel)
    return wheel


def write_assets(folder: Path, wheel: Path, version: str, epoch: int) -> None:
    """Write the archive of the dashboards, rules, runbooks and systemd units that the wheel installs below `share/`."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition(f".data/data/share/{NAME}/")[2]: name for name in archive.namelist()}
        files = {f"{NAME}-{version}/{name}": archive.read(path) for name, path in names.items() if name}
    write_archive(folder / f"{NAME}-assets-{version}.tar.gz", files, epoch)


def with_image(values: str, image: str) -> str:
    """Return the values of the chart with an image. A part before the first slash is a registry if it can be a host."""
    first, _, rest = image.partition("/")
    registry, repository = (first, rest) if re.search(r"[.:]|^localhost$", first) else ("", image)
    if _NO_IMAGE not in values:
        sys.exit("make dist: image.registry or image.repository of the chart has changed: update .ci/dist.py, too")
    return values.replace(_NO_IMAGE, f'  registry: "{registry}"\n  repository: {repository}\n')


def write_chart(folder: Path, version: str, epoch: int, image: str) -> None:
    """Package the chart with this version, the URL of the repository, and the name of the image if there is one."""
    url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
    with tempfile.TemporaryDirectory() as temporary:
        chart = Path(temporary) / NAME
        shutil.copytree(CHART, chart)
        if url:
            with (chart / "Chart.yaml").open("a") as file:
                file.write(f"home: {url}\nsources: [{url}]\n")
        if image:
            values = chart / "values.yaml"
            values.write_text(with_image(values.read_text("utf-8"), image), "utf-8")
        run("helm", "package", chart, "--version", version, "--app-version", version, "--destination", temporary)
        package = f"{NAME}-{version}.tgz"
        with tarfile.open(Path(temporary) / package) as archive:
            files = {member.name: archive.extractfile(member).read() for member in archive}
    write_archive(folder / package, files, epoch)


def write_sbom(folder: Path, version: str) -> None:
    """Install the wheel with the pinned dependencies, and write what is installed as a CycloneDX bill of materials."""
    uv = find_uv_bin()
    with tempfile.TemporaryDirectory() as temporary:
        tools, program = Path(temporary, "tools"), Path(temporary, "program")
        for environment, requirements in ((tools, "requirements-build.txt"), (program, "requirements.txt")):
            run(uv, "venv", environment, UV_PYTHON=sys.executable)
            pins = ("--require-hashes", "--only-binary=:all:", "--requirements", ROOT / requirements)
            run(uv, "pip", "install", f"--python={environment}", *pins)
        only_wheel = ("--no-deps", "--no-index", "--pre", "--find-links", folder)
        run(uv, "pip", "install", f"--python={program}", *only_wheel, NAME)
        flags = ("--no-validate", "--output-reproducible", "--output-file", folder / f"{NAME}-{version}.cdx.json")
        run(tools / "bin" / "cyclonedx-py", "environment", *flags, program)


def write_sums(folder: Path) -> None:
    """Write the checksums of all files, in the format of `sha256sum`."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines))


def build_all(folder: Path, epoch: int, image: str) -> None:
    """Write all files of a release to an empty folder."""
    wheel = build_packages(folder, epoch)
    version = semantic_version(parse_wheel_filename(wheel.name)[1])
    write_assets(folder, wheel, version, epoch)
    write_chart(folder, version, epoch, image)
    write_sbom(folder, version)
    shutil.copyfile(ROOT / "requirements.txt", folder / f"{NAME}-requirements-{version}.txt")
    write_sums(folder)


def main() -> None:
    """Build everything in a temporary folder, so that `dist/` is either complete or unchanged."""
    if not shutil.which("helm"):
        sys.exit("make dist: helm is not on the PATH: run `mkdir -p build && bash .ci/helm build`, and add build to it")
    image = os.environ.get("EXPORTER_IMAGE", "")
    if image and not _IMAGE.fullmatch(image):
        sys.exit(f"EXPORTER_IMAGE={image!r}: must be an image without a tag, such as registry.example/telnyx/exporter")
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct").strip()
    if not re.fullmatch(r"\d{1,10}", epoch, re.ASCII) or int(epoch) >= 2**32:  # gzip has 32 bits for it
        sys.exit(f"SOURCE_DATE_EPOCH={epoch!r}: must be seconds since 1970, such as 1772600767")
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as temporary:
        folder = Path(temporary, DIST.name)
        folder.mkdir()
        build_all(folder, int(epoch), image)
        shutil.rmtree(DIST, ignore_errors=True)
        folder.rename(DIST)
    for path in sorted(DIST.iterdir()):
        sys.stdout.write(f"{path.stat().st_size:>9,} {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
