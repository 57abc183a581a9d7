"""The script that prepares the installation of the exporter for its image."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "deploy" / "image.py"))


def test_unneeded_files_are_removed(tmp_path):
    """The exporter's command, Python, modules and licenses stay. Other commands, sources and type stubs do not."""
    package = "lib/python3.13/site-packages/package"
    kept = {"bin/python", "bin/python3.13", "bin/telnyx-exporter", f"{package}/a.py", f"{package}.dist-info/LICENSE"}
    removed = {"bin/activate", "bin/httpx", f"{package}/a.pyi", f"{package}/a.pyx", f"{package}/b/a.h"}
    for name in kept | removed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    SCRIPT["remove_unneeded"](tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == kept


def test_program_is_moved(tmp_path):
    """The files of the exporter and their bytecode move. The dependencies stay, and no empty folders remain."""
    site = "lib/python3.13/site-packages"
    program = {"bin/telnyx-exporter", "sbom.cdx.json", f"{site}/telnyx_exporter-1.dist-info/METADATA"}
    program |= {f"{site}/exporter/web/app.py", f"bytecode/app/{site}/exporter/web/app.pyc"}
    dependencies = {"bin/python", f"{site}/httpx/a.py", f"bytecode/app/{site}/httpx/a.pyc"}
    app, target = tmp_path / "app", tmp_path / "program"
    for name in program | dependencies:
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).touch()
    SCRIPT["move_program"](app, target)
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == program
    assert {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file()} == dependencies
    assert not [path for path in app.rglob("*") if path.is_dir() and not any(path.iterdir())]


def test_times_are_the_same_in_each_build(tmp_path):
    """All files, folders and symbolic links are of 1970, but not the targets of links outside of the folder."""
    folder, outside = tmp_path / "app", tmp_path / "outside"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "a.py").touch()
    outside.touch()
    (folder / "python").symlink_to(outside)
    SCRIPT["reset_times"](folder)
    assert {path.lstat().st_mtime for path in (folder, *folder.rglob("*"))} == {0}
    assert outside.stat().st_mtime > 0
