import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from grafana_files import DASHBOARDS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "generate.py"
RUNBOOKS = {path.stem for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README"} | {"index"}
PAGES = "exporter/web/pages/html"
GOLDEN = {path.name for path in (ROOT / "tests/golden").iterdir() if path.suffix in {".prom", ".om"}}


@pytest.fixture
def generate(monkeypatch, tmp_path):
    """Return a function that runs the script with these flags for a copy of the repository in `tmp_path`."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(*flags):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *flags])
        main(tmp_path)

    for folder in ("docs", "grafana/dashboards", "tests/golden"):
        (tmp_path / folder).mkdir(parents=True)
    run()
    return run


def test_generated_files_are_current():
    """The files are the generators' output: no file is edited by hand, and no change of a generator is missing."""
    check = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr) == (0, "")


def test_all_files_are_written(generate, tmp_path):
    """Without flags, all files are written: documents, dashboards, golden files and pages of runbooks."""
    assert {path.stem for path in (tmp_path / "grafana/dashboards").iterdir()} == set(DASHBOARDS)
    assert {path.name for path in (tmp_path / "tests/golden").iterdir()} == GOLDEN
    assert {path.name for path in tmp_path.rglob("*.md")} == {"configuration.md", "metrics.md"}
    assert {path.stem for path in (tmp_path / PAGES).iterdir()} == RUNBOOKS
    generate("--check")


@pytest.mark.parametrize(
    "name",
    ["docs/metrics.md", "docs/configuration.md", "grafana/dashboards/telnyx-exporter.json", "tests/golden/full.prom"],
)
def test_outdated_file_is_reported(generate, tmp_path, name):
    """If a file is out of date, the check fails, names the file and says how to update it."""
    (tmp_path / name).write_text("old")
    with pytest.raises(SystemExit, match=f"^out of date: {name}: run `make generate`$"):
        generate("--check")
    assert (tmp_path / name).read_text() == "old"


def test_missing_files_are_reported(generate, tmp_path):
    """If many files are missing, as in a checkout that was never installed, the message names only a few."""
    shutil.rmtree(tmp_path / PAGES)
    message = (
        rf"^out of date: ({PAGES}/\w+\.html, ){{4}}{PAGES}/\w+\.html and {len(RUNBOOKS) - 5} more: run `make generate`$"
    )
    with pytest.raises(SystemExit, match=message):
        generate("--check")
    generate()
    generate("--check")


def test_obsolete_pages_are_reported_and_deleted(generate, tmp_path):
    """The page of a runbook that is gone is reported by the check, and deleted."""
    obsolete = tmp_path / PAGES / "Gone.html"
    obsolete.write_text("old")
    with pytest.raises(SystemExit, match=f"^out of date: {PAGES}/Gone.html: run `make generate`$"):
        generate("--check")
    assert obsolete.exists()
    generate()
    assert not obsolete.exists()
