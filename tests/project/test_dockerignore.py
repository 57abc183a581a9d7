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
    assert not [line for line in lines if "pages/html" in line]
    assert "COPY docs docs" in (ROOT / "Dockerfile").read_text().splitlines()


def test_image_gets_styles_and_templates():
    """`.dockerignore` lists each folder of styles and of templates."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    for suffix in (".css", ".html"):
        folders = {path.parent.relative_to(ROOT) for path in (ROOT / "exporter").rglob(f"*{suffix}")}
        folders -= {Path("exporter/web/pages/html")}  # the build renders the runbooks
        assert folders
        assert {line for line in lines if line.endswith(suffix)} == {f"!{folder}/*{suffix}" for folder in folders}
