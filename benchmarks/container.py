"""Compare the exporter's container image with those of blackbox_exporter and of a typical Python exporter.

    python benchmarks/container.py [--builds 3] [--starts 9]

It builds and runs the three images in turn, so that noise of the machine affects all of them. Builds have no caches
except for the base image, and include downloads. blackbox_exporter is a stripped static binary in an image without
anything else. The Python exporter is installed with pip on the same base image as ours, and contacts no target.

It needs podman, Go, the base image python:3.13-slim or its substitute (`bash .ci/base-image`), and access to package
registries. It keeps images in a temporary folder, and deletes it at the end. Containers listen only on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from processes import KEY, Workload, free_port
from run import Measurement, measure_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
BASE = "python:3.13-slim"
BLACKBOX = "github.com/prometheus/blackbox_exporter"
BLACKBOX_VERSION = "v0.28.0"
PVE = "prometheus-pve-exporter"
PVE_VERSION = "3.10.2"
CERTIFICATES = "/etc/ssl/certs"
"""This machine's CA certificates, mounted during builds: a proxy for the package index may have its own CA."""
CONNECTIONS = 100
"""Connections in the account that our exporter reads for its first response."""
START_TIMEOUT = 60.0
"""Seconds."""

BLACKBOX_IMAGE = """\
FROM scratch
COPY blackbox_exporter /bin/blackbox_exporter
COPY blackbox.yml /etc/blackbox_exporter/config.yml
USER 65532:65532
ENTRYPOINT ["/bin/blackbox_exporter"]
"""
# The official base image has pip. The substitute has none, so this installs it, and removes it in the same layer.
PVE_IMAGE = f"""\
FROM {BASE}
RUN python -m venv /tools && python -m venv --without-pip /app \\
 && /tools/bin/pip --python /app install --no-cache-dir {PVE}=={PVE_VERSION} && rm -r /tools
USER 65532:65532
ENTRYPOINT ["/app/bin/pve_exporter"]
"""


class Podman:
    """podman with its own storage."""

    def __init__(self, folder: Path) -> None:
        self._command = ("podman", f"--root={folder}/storage", f"--runroot={folder}/run")

    def __call__(self, *arguments: object) -> str:
        """Run a command and return its output."""
        result = subprocess.run([*self._command, *map(str, arguments)], capture_output=True, text=True, check=False)
        if result.returncode:
            sys.exit(f"podman {arguments[0]}: {result.stderr}")
        return result.stdout.strip()

    def build(self, name: str, folder: Path, *arguments: str) -> None:
        """Build an image from a folder without cached layers."""
        mount = f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"
        self("build", "--no-cache", "--isolation=chroot", "--format=docker", mount, f"--tag={name}", *arguments, folder)

    def layers(self, image: str) -> list[bytes]:
        """Return the layers of an image as tar archives."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "image.tar")
            self("save", "--format=docker-archive", f"--output={path}", image)
            with tarfile.open(path) as archive:
                read = partial(_read, archive)
                return [read(name) for name in json.loads(read("manifest.json"))[0]["Layers"]]


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)
    if member.issym():  # podman saves layers that occur twice once
        member = archive.getmember(os.path.normpath(Path(name).parent / member.linkname))
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


@dataclass(frozen=True)
class Image:
    """An image of the comparison: how to build it, and how to run it on a port."""

    name: str
    build: Callable[[Podman, Path], None]
    flags: Callable[[int], Sequence[str]]
    arguments: Callable[[int], Sequence[str]]
    program_layers: int
    """Number of layers that change with each version."""
    on_base: bool = True


def build_exporter(podman: Podman, _: Path) -> None:
    """Build our image from the repository."""
    podman.build("exporter", ROOT)


def build_blackbox(podman: Podman, folder: Path) -> None:
    """Build the binary with empty caches of Go, and an image with the binary and its configuration."""
    source = folder / "modules" / f"{BLACKBOX}@{BLACKBOX_VERSION}"
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(folder / "cache"),
        "GOMODCACHE": str(folder / "modules"),
        "GOFLAGS": "-modcacherw",
    }
    download = ("go", "mod", "download", f"{BLACKBOX}@{BLACKBOX_VERSION}")
    build = ("go", "build", f"-C={source}", "-trimpath", "-ldflags=-s -w", f"-o={folder}/blackbox_exporter")
    for command in (download, build):
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if result.returncode:
            sys.exit(f"{' '.join(command)}: {result.stderr}")
    context = folder / "context"
    context.mkdir()
    shutil.copy(folder / "blackbox_exporter", context)
    shutil.copy(source / "blackbox.yml", context)
    (context / "Dockerfile").write_text(BLACKBOX_IMAGE)
    podman.build("blackbox", context)


def build_pve(podman: Podman, folder: Path) -> None:
    """Build the image of the Python exporter."""
    (folder / "Dockerfile").write_text(PVE_IMAGE)
    podman.build("pve", folder)


def images(api: str) -> list[Image]:
    """Return all images. Ours reads this API."""
    ours = ("--telnyx.base-url=" + api, "--log.level=error")
    config = "--config.file=/etc/blackbox_exporter/config.yml"
    return [
        Image(
            "exporter",
            build_exporter,
            lambda _: ("--read-only", f"--env=TELNYX_API_KEY={KEY}"),
            lambda port: (*ours, f"--web.listen-address=127.0.0.1:{port}"),
            program_layers=1,
        ),
        Image(
            "blackbox",
            build_blackbox,
            lambda _: ("--read-only",),
            lambda port: (config, f"--web.listen-address=127.0.0.1:{port}"),
            program_layers=2,
            on_base=False,
        ),
        Image(
            "pve",
            build_pve,
            lambda _: ("--env=PVE_USER=user@pve", "--env=PVE_PASSWORD=password"),
            lambda port: (f"--web.listen-address=127.0.0.1:{port}",),
            program_layers=1,
        ),
    ]


def seconds_to_build(podman: Podman, image: Image) -> float:
    """Build an image in an empty folder and return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        image.build(podman, Path(folder))
        return time.perf_counter() - started


@contextlib.contextmanager
def container(podman: Podman, image: Image, port: int) -> Iterator[str]:
    """Create a container that listens on this port of loopback, and yield its name."""
    name = podman("create", "--network=host", "--cap-drop=ALL", *image.flags(port), image.name, *image.arguments(port))
    try:
        yield name
    finally:
        podman("rm", "--force", "--time=0", name)


def start(podman: Podman, image: Image) -> tuple[float, float]:
    """Start a container. Return the seconds until it responds to a scrape, and its memory in MiB."""
    port = free_port()
    with container(podman, image, port) as name:
        started = time.perf_counter()
        podman("start", name)
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read()
                break
            if time.perf_counter() - started > START_TIMEOUT:
                sys.exit(f"{image.name} did not respond within {START_TIMEOUT:g} s: {podman('logs', name)}")
            time.sleep(0.002)
        seconds = time.perf_counter() - started
        return seconds, memory(int(podman("inspect", "--format={{.State.Pid}}", name)))


def memory(pid: int) -> float:
    """Return the memory of a process and its descendants in MiB. Pages that they share count once."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (share,) = (int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return share / 2**10 + sum(memory(int(child)) for child in children)


def sizes(podman: Podman, image: Image, base_layers: int) -> Mapping[str, float]:
    """Return sizes of an image in MiB."""
    layers = podman.layers(image.name)
    plain, compressed = [len(layer) / 2**20 for layer in layers], [gzip_size(layer) / 2**20 for layer in layers]
    own = base_layers if image.on_base else 0
    return {
        "image (MiB)": sum(plain),
        "image, compressed (MiB)": sum(compressed),
        "without the base image (MiB)": sum(plain[own:]),
        "without the base image, compressed (MiB)": sum(compressed[own:]),
        "download of a new version of the exporter, compressed (MiB)": sum(compressed[-image.program_layers :]),
    }


def gzip_size(data: bytes) -> int:
    """Return the size after compression, as for a registry."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as compressor:
        compressor.write(data)
    return len(file.getvalue())


def print_row(name: str, values: Sequence[Measurement]) -> None:
    """Print a row: our figure, and those of the others with our ratio to them."""
    ours, *others = values
    cells = [f"{_text(value)}, {ours.median / value.median:.2g} times" for value in others]
    print(f"| {name} | {_text(ours)} | {' | '.join(cells)} |", flush=True)


def _text(value: Measurement) -> str:
    return str(value) if len(value.rounds) > 1 else f"{value.median:.3g}"


def load_base(podman: Podman, folder: Path) -> int:
    """Copy the base image to podman's storage, and return the number of its layers."""
    path = folder / "base.tar"
    subprocess.run(["podman", "save", "--quiet", f"--output={path}", BASE], check=True)
    podman("load", "--quiet", f"--input={path}")
    path.unlink()
    return len(podman.layers(BASE))


def measure(folder: Path, builds: int, starts: int) -> None:
    """Print the rows of the table."""
    podman = Podman(folder)
    base_layers = load_base(podman, folder)
    with Workload("api", str(CONNECTIONS)) as api:
        compared = images(api.url)
        seconds = measure_in_turn(builds, *(partial(seconds_to_build, podman, image) for image in compared))
        print_row("build (s)", seconds)
        columns = [sizes(podman, image, base_layers) for image in compared]
        for name in columns[0]:
            print_row(name, [Measurement((column[name],)) for column in columns])
        rounds = [[start(podman, image) for image in compared] for _ in range(starts)]
    results = list(zip(*rounds, strict=True))
    print_row("start of the container until `/metrics` responds (s)", [_column(result, 0) for result in results])
    print_row("memory after the first scrape (MiB)", [_column(result, 1) for result in results])


def _column(result: Sequence[tuple[float, float]], index: int) -> Measurement:
    return Measurement(tuple(values[index] for values in result))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=int, default=3, help="rounds of builds (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=9, help="rounds of starts (default: %(default)s)")
    arguments = parser.parse_args()
    print(f"{arguments.builds} builds, {arguments.starts} starts, {platform.machine()}, {os.cpu_count()} processors\n")
    print(f"| measurement | exporter | blackbox_exporter {BLACKBOX_VERSION} | {PVE} {PVE_VERSION} |")
    print("| --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        measure(Path(folder), arguments.builds, arguments.starts)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
