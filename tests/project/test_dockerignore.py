from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_image_gets_every_package():
    """`.dockerignore` lists each package, because podman does not apply `**` to an exception."""
    packages = {f"!{path.parent.relative_to(ROOT)}/*.py" for path in ROOT.glob("exporter/**/__init__.py")}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line for line in lines if line.startswith("!exporter/") and line.endswith(".py")} == packages


def test_image_gets_the_runbooks():
    """`.dockerignore` lists the runbooks and their renderer, but not the pages, which the build renders."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line for line in lines if line.startswith("!docs/")} == {"!docs/runbook_pages.py", "!docs/runbooks/*.md"}
    assert not [line for line in lines if "html" in line]
    assert "COPY docs docs" in (ROOT / "Dockerfile").read_text().splitlines()
