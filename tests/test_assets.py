import importlib.metadata
from pathlib import Path, PurePosixPath

import pytest

from exporter import assets
from exporter.assets import find_assets

ROOT = Path(__file__).parents[1]


class InstalledFile(PurePosixPath):
    """A file that an installed package lists, relative to its folder of packages."""

    folder: Path

    def locate(self):
        """Return the path of the file."""
        return self.folder / self


@pytest.fixture
def site_packages(tmp_path, monkeypatch):
    """Return a folder of packages from which the exporter seems to run."""
    folder = tmp_path / "lib" / "python3" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.setattr(assets, "__file__", str(folder / "exporter" / "assets.py"))
    return folder


def test_checkout_is_its_own_assets():
    """A checkout has the files in its own folders."""
    folder = find_assets()
    assert folder == ROOT
    assert (folder / "prometheus" / "rules" / "telnyx.rules.yaml").exists()


@pytest.mark.parametrize("prefix", ["../../../share", "share"], ids=["environment", "target folder"])
def test_installation_knows_where_its_files_are(site_packages, monkeypatch, prefix):
    """The files are where the installer of the package put them."""
    InstalledFile.folder = site_packages
    listed = [InstalledFile(name) for name in ("exporter/assets.py", f"{prefix}/telnyx-exporter/README.md")]
    monkeypatch.setattr(importlib.metadata, "files", {"telnyx-exporter": listed}.get)
    assert find_assets() == (site_packages / prefix).resolve() / "telnyx-exporter"


def not_installed(name):
    """Fail as `importlib.metadata` does for a package that is not installed."""
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize(
    "files", [lambda _: None, lambda _: [], not_installed], ids=["unknown", "none", "not installed"]
)
def test_installation_without_assets(site_packages, monkeypatch, files):
    """If the installation has no files, the error says where to get them."""
    monkeypatch.setattr(importlib.metadata, "files", files)
    with pytest.raises(LookupError) as error:
        find_assets()
    assert str(error.value) == (
        "this installation has no assets: install the wheel, or unpack the archive of this release"
    )
