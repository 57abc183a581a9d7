"""The build hook, hatch_build.py, with real builds in repositories that have only what a build needs."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from programs import find_program

ROOT = Path(__file__).parents[2]
COMMITTED = "2026-03-04T05:06:07Z"
EPOCH = "1772600767"
"""The same time."""
GIT = {
    "GIT_AUTHOR_NAME": "Author",
    "GIT_AUTHOR_EMAIL": "author@example.com",
    "GIT_COMMITTER_NAME": "Author",
    "GIT_COMMITTER_EMAIL": "author@example.com",
    "GIT_AUTHOR_DATE": COMMITTED,
    "GIT_COMMITTER_DATE": COMMITTED,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}
NEEDED = (
    *("hatch_build.py", "pyproject.toml", "README.md", "LICENSE", ".gitignore", "exporter/__init__.py"),
    "exporter/web/pages/base.css",
    *("docs/runbook_pages.py", "docs/runbooks/README.md", "docs/runbooks/TelnyxApiDown.md"),
)
PAGES = "exporter/web/pages/html"


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the files that a build needs. `exporter/build.py` has no values, as in the repository."""
    folder = tmp_path / "source"
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    code = (ROOT / "exporter" / "build.py").read_text()
    (folder / "exporter" / "build.py").write_text(re.sub(r"(?m)^(REVISION|DATE) = .*$", r'\1 = "unknown"', code))
    return folder


def pages(wheel):
    """Return the content of the runbooks' pages in a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(PAGES)]
        assert len(set(names)) == len(names)
        return {Path(name).name: archive.read(name).decode() for name in names}


def git(folder, *arguments):
    """Run git in a folder and return its output."""
    command = (find_program("git"), "-C", folder, *arguments)
    return subprocess.run(command, env=os.environ | GIT, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def commit(folder):
    """Make the folder a repository with one commit, and return the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=first")
    return git(folder, "rev-parse", "HEAD")


def run_build(folder, out, target="wheel", *, path=None, **variables):
    """Build a package in the folder `out`, and return the completed process."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"SOURCE_DATE_EPOCH", "EXPORTER_REVISION"}
    }
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull} | variables | ({} if path is None else {"PATH": path})
    command = (sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def build(folder, target="wheel", **options):
    """Build a package and return its file."""
    out = folder.parent / f"{target}-{len(list(folder.parent.iterdir()))}"
    result = run_build(folder, out, target, **options)
    assert result.returncode == 0, result.stderr
    (file,) = out.iterdir()
    return file


def facts(wheel):
    """Return the revision and the date in a wheel, and check that its code can be run."""
    with zipfile.ZipFile(wheel) as archive:
        assert archive.namelist().count("exporter/build.py") == 1
        names = {}
        exec(archive.read("exporter/build.py"), names)
    return names["REVISION"], names["DATE"]


def test_package_states_the_commit_and_its_date(folder, commit):
    """A wheel states the commit of the checkout, and when it was made. The checkout does not change."""
    assert facts(build(folder)) == (commit, COMMITTED)
    assert git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["README.md", "exporter/new.py"], ids=["changed", "untracked"])
def test_modified_checkout_is_visible(folder, commit, name):
    """If a file was changed or added after the commit, the revision says so, as that of Go programs does."""
    with (folder / name).open("a") as file:
        file.write("# more\n")
    assert facts(build(folder)) == (f"{commit}-modified", COMMITTED)


def test_ignored_files_do_not_modify_a_checkout(folder, commit):
    """Files that Git ignores, such as a virtual environment, don't make a checkout modified."""
    (folder / ".env").write_text("TELNYX_API_KEY=x")
    assert facts(build(folder))[0] == commit


def test_builds_of_a_commit_are_identical(folder, commit):
    """Two wheels of a commit are identical, and so is one from the source distribution, which has no repository."""
    wheel, sdist = build(folder), build(folder, "sdist")
    assert build(folder).read_bytes() == wheel.read_bytes()
    with tarfile.open(sdist) as archive:
        archive.extractall(folder.parent / "unpacked", filter="data")
    (unpacked,) = (folder.parent / "unpacked").iterdir()
    from_sdist = build(unpacked)
    assert from_sdist.read_bytes() == wheel.read_bytes()
    assert facts(from_sdist) == (commit, COMMITTED)


def test_source_distribution_in_another_repository_keeps_its_revision(folder, commit):
    """A source distribution that somebody commits to a repository keeps the revision that it was made from."""
    with tarfile.open(build(folder, "sdist")) as archive:
        archive.extractall(folder.parent / "unpacked", filter="data")
    (unpacked,) = (folder.parent / "unpacked").iterdir()
    git(unpacked, "init", "--quiet")
    git(unpacked, "add", ".")
    git(unpacked, "commit", "--quiet", "--message=packaging")
    assert facts(build(unpacked)) == (commit, COMMITTED)


def test_folder_without_a_repository_builds(folder):
    """Without a repository, and inside another project's repository, the revision and the date are unknown."""
    assert facts(build(folder)) == ("unknown", "unknown")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "commit", "--quiet", "--allow-empty", "--message=another project")
    assert facts(build(folder)) == ("unknown", "unknown")


def test_checkout_builds_without_git(folder, commit):
    """Without the program git, and in a repository without a commit, the revision and the date are unknown."""
    assert facts(build(folder, path=str(folder))) == ("unknown", "unknown")
    shutil.rmtree(folder / ".git")
    git(folder, "init", "--quiet")
    assert facts(build(folder)) == ("unknown", "unknown")


def test_environment_states_revision_and_date(folder):
    """Without a repository, as in a container, the environment can state the revision and the date."""
    assert facts(build(folder, EXPORTER_REVISION="v1.2-3-gabc", SOURCE_DATE_EPOCH=EPOCH)) == ("v1.2-3-gabc", COMMITTED)


def test_environment_takes_precedence(folder, commit):
    """The environment takes precedence over the repository, each variable on its own."""
    assert facts(build(folder, SOURCE_DATE_EPOCH="0")) == (commit, "1970-01-01T00:00:00Z")
    assert facts(build(folder, EXPORTER_REVISION="abc")) == ("abc", COMMITTED)


@pytest.mark.parametrize("epoch", ["yesterday", "1e9", "-1", "1_000", "9" * 20])
def test_invalid_date_in_the_environment_is_one_line(folder, epoch):
    """If SOURCE_DATE_EPOCH is no number of seconds, the build fails with one line that says so."""
    result = run_build(folder, folder.parent / "out", SOURCE_DATE_EPOCH=epoch)
    assert result.returncode == 1
    assert result.stderr == f"SOURCE_DATE_EPOCH={epoch!r}: must be seconds since 1970, such as 1772600767\n"


def test_empty_date_in_the_environment_is_unset(folder, commit):
    """An empty SOURCE_DATE_EPOCH counts as unset. A container is built with one if `git log` prints nothing."""
    assert facts(build(folder, SOURCE_DATE_EPOCH="")) == (commit, COMMITTED)


def test_settings_of_git_do_not_matter(folder, commit):
    """Settings of Git that change its output, and file names in any encoding, change nothing."""
    git(folder, "config", "log.showSignature", "true")
    git(folder, "config", "core.quotePath", "false")
    unsigned = git(folder, "cat-file", "commit", "HEAD")
    head, _, message = unsigned.partition("\n\n")
    signature = "gpgsig -----BEGIN SSH SIGNATURE-----\n -----END SSH SIGNATURE-----"
    (folder / ".git" / "signed").write_text(f"{head}\n{signature}\n\n{message}\n")
    signed = git(folder, "hash-object", "-t", "commit", "-w", folder / ".git" / "signed")
    git(folder, "update-ref", "HEAD", signed)
    (folder / os.fsdecode(b"\xe9")).touch()
    assert facts(build(folder)) == (f"{signed}-modified", COMMITTED)


@pytest.mark.parametrize("revision", ["unknown", "", 'x"; import os; "'], ids=["default", "empty", "code"])
def test_unusable_revision_in_the_environment_is_ignored(folder, commit, revision):
    """The default of the Dockerfile, an empty text and a text that is no revision are ignored."""
    assert facts(build(folder, EXPORTER_REVISION=revision))[0] == commit


def build_editable(folder):
    """Build an editable package, as `pip install --editable` does, and return the names of its files."""
    code = (
        "import sys; from hatchling.builders.wheel import WheelBuilder\n"
        "print(next(WheelBuilder('.').build(directory=sys.argv[1], versions=['editable'])))"
    )
    command = (sys.executable, "-c", code, folder.parent / "editable")
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder.parent / "editable").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_editable_installation_is_honest(folder, commit):
    """An editable installation uses the repository's file, which states no revision, as the code can change."""
    assert not [name for name in build_editable(folder) if name.endswith(".py")]


def test_wheel_has_the_pages_of_the_runbooks(folder, commit):
    """A wheel has a page for each runbook, and an index. The checkout has none, and does not change."""
    found = pages(build(folder))
    assert found.keys() == {"index.html", "TelnyxApiDown.html"}
    assert '<h1 id="telnyxapidown">TelnyxApiDown</h1>' in found["TelnyxApiDown.html"]
    assert not (folder / PAGES).exists()


def test_wheel_has_no_outdated_pages(folder):
    """Pages in the source tree, even those that Git does not ignore, get into no package."""
    (folder / ".gitignore").unlink()
    (folder / PAGES).mkdir(parents=True)
    for name in ("TelnyxApiDown.html", "Gone.html"):
        (folder / PAGES / name).write_text("outdated")
    found = pages(build(folder))
    assert found.keys() == {"index.html", "TelnyxApiDown.html"}
    assert "outdated" not in found.values()
    with tarfile.open(build(folder, "sdist")) as archive:
        assert not [name for name in archive.getnames() if name.endswith(".html")]


def test_editable_installation_writes_the_pages(folder, commit):
    """An editable installation writes the pages where the exporter finds them, and deletes those that are obsolete."""
    (folder / PAGES).mkdir(parents=True)
    (folder / PAGES / "Gone.html").write_text("obsolete")
    build_editable(folder)
    expected = pages(build(folder))
    assert {path.name: path.read_text() for path in (folder / PAGES).iterdir()} == expected
    assert git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("missing", ["docs/runbook_pages.py", "docs/runbooks", "docs/runbooks/README.md"])
def test_build_without_runbooks_fails(folder, tmp_path, monkeypatch, missing):
    """If the runbooks or their renderer are missing, the build fails with one line, so no package lacks the pages.

    It leaves no temporary files.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    path = folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = run_build(folder, folder.parent / "out")
    assert result.returncode == 1
    assert re.fullmatch(r"can't render the runbooks: .*docs/.*\n", result.stderr)
    assert list(temporary.iterdir()) == []
