"""The script of `make dist`: its versions, archives and errors. `tests/e2e/test_dist.py` builds real packages."""

import os
import runpy
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

SCRIPT = Path(__file__).parents[2] / ".ci" / "dist.py"
dist = runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.3", "1.2.3"),
        ("1.2", "1.2.0"),
        ("1.2.3a1", "1.2.3-alpha.1"),
        ("1.2.3b2", "1.2.3-beta.2"),
        ("1.2.3rc4", "1.2.3-rc.4"),
        ("1.2.4.dev5", "1.2.4-dev.5"),
        ("1.2.3rc4.dev5", "1.2.3-rc.4.dev.5"),
    ],
)
def test_versions_of_charts_and_images_are_semantic(version, expected):
    """Helm and image tags need semantic versions. Those of releases are the same."""
    assert dist["semantic_version"](Version(version)) == expected


def test_archives_depend_only_on_the_content(tmp_path):
    """An archive has the same bytes whenever it is written, and in whatever order. Nobody owns its files."""
    files = {"a/b": b"one", "a/a": b"two"}
    for name, content in (("1", files), ("2", dict(reversed(files.items())))):
        dist["write_archive"](tmp_path / name, content, 1772600767)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with tarfile.open(tmp_path / "1") as archive:
        members = archive.getmembers()
        assert [archive.extractfile(member).read() for member in members] == [b"two", b"one"]
    assert {(member.uid, member.uname, member.mtime, member.mode) for member in members} == {(0, "", 1772600767, 0o644)}


def run_script(**environment):
    """Run the script, and return its exit status and its errors."""
    command, environment = (sys.executable, SCRIPT), os.environ | environment
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result.returncode, result.stderr


def test_helm_is_required():
    """Without Helm, one line says how to install it."""
    expected = "make dist: helm is not on the PATH: run `mkdir -p build && bash .ci/helm build`, and add build to it\n"
    assert run_script(PATH="") == (1, expected)


@pytest.mark.parametrize("image", ["https://registry.example/x", "x y", "Upper/x", "x:tag"])
def test_invalid_image_is_one_line(tmp_path, image):
    """If EXPORTER_IMAGE is no image without a tag, one line says so before anything is built."""
    (tmp_path / "helm").touch(mode=0o755)
    expected = f"EXPORTER_IMAGE={image!r}: must be an image without a tag, such as registry.example/telnyx/exporter\n"
    assert run_script(PATH=str(tmp_path), EXPORTER_IMAGE=image) == (1, expected)


@pytest.mark.parametrize("epoch", ["yesterday", "-1", "1.5", "4294967296"])
def test_invalid_date_is_one_line(tmp_path, epoch):
    """If SOURCE_DATE_EPOCH is no time that archives can contain, one line says so before anything is built."""
    (tmp_path / "helm").touch(mode=0o755)
    expected = f"SOURCE_DATE_EPOCH={epoch!r}: must be seconds since 1970, such as 1772600767\n"
    assert run_script(PATH=str(tmp_path), EXPORTER_IMAGE="", SOURCE_DATE_EPOCH=epoch) == (1, expected)


@pytest.mark.parametrize(
    ("image", "registry", "repository"),
    [
        ("registry.example/telnyx/exporter", "registry.example", "telnyx/exporter"),
        ("localhost/exporter", "localhost", "exporter"),
        ("registry:5000/exporter", "registry:5000", "exporter"),
        ("owner/exporter", "", "owner/exporter"),
    ],
)
def test_chart_gets_registry_and_repository(image, registry, repository):
    """The values of the chart have the registry, if the image names one, and the rest as the repository."""
    values = (SCRIPT.parents[1] / "deploy" / "helm" / "telnyx-exporter" / "values.yaml").read_text()
    changed = yaml.safe_load(dist["with_image"](values, image))
    original = yaml.safe_load(values)
    assert changed["image"] == original["image"] | {"registry": registry, "repository": repository}
    assert changed | {"image": None} == original | {"image": None}


def test_changed_values_are_noticed():
    """If the chart's values have another form, one line says what to update."""
    with pytest.raises(SystemExit) as error:
        dist["with_image"]("image: {}\n", "registry.example/exporter")
    assert str(error.value).endswith("update .ci/dist.py, too")
