"""The build hook, hatch_build.py, with real builds in repositories that have only what a build needs."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from programs import find_program

ROOT = Path(__file__).parents[2]
COMMITTED = "2026-03-04T05:06:07Z"
EPOCH = "1772600767"
"""The same time."""
README = (ROOT / "README.md").read_text()
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
URL = "https://git.example/telnyx/exporter"
NEEDED = (
    *("hatch_build.py", "pyproject.toml", "README.md", "LICENSE", ".gitignore", "exporter/__init__.py"),
    *("exporter/web/pages/base.css", "CHANGELOG.md", "prometheus/prometheus.yml", "deploy/systemd/README.md"),
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
    (folder / "exporter" / "build.py").write_text(
        re.sub(r"(?m)^(VERSION|REVISION|DATE) = .*$", r'\1 = "unknown"', code)
    )
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
    unset = {"SOURCE_DATE_EPOCH", "EXPORTER_REVISION", "REPOSITORY_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
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


def constants(wheel):
    """Return the names in a wheel's `exporter/build.py`, and check that its code can be run."""
    with zipfile.ZipFile(wheel) as archive:
        assert archive.namelist().count("exporter/build.py") == 1
        names = {}
        exec(archive.read("exporter/build.py"), names)
    return names


def facts(wheel):
    """Return the revision and the date in a wheel."""
    names = constants(wheel)
    return names["REVISION"], names["DATE"]


def metadata(wheel):
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


def links(wheel):
    """Return the targets of all links in the description, as a package index shows it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(metadata(wheel).get_payload())
    inline = [child for token in tokens for child in token.children or ()]
    return [child.attrs["href"] for child in inline if child.type == "link_open"]


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


@pytest.mark.parametrize(
    ("tags", "version"),
    [
        (["v1.2.3"], "1.2.3"),
        (["v1.2.3-rc.1"], "1.2.3rc1"),
        (["v1.2.3", "chart-9", "nightly"], "1.2.3"),
        ([], "0.0.1.dev1"),
    ],
)
def test_version_comes_from_the_tag(folder, commit, tags, version):
    """The tag `vX.Y.Z` of the commit is the version of the package, and of the program. Other tags do not matter."""
    for tag in tags:
        git(folder, "tag", tag)
    wheel = build(folder)
    assert wheel.name == f"telnyx_exporter-{version}-py3-none-any.whl"
    assert constants(wheel)["VERSION"] == version


def test_later_commits_are_development_versions(folder, commit):
    """A build of a commit after the tag has a development version of the next release."""
    git(folder, "tag", "v1.2.3")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=second")
    assert constants(build(folder))["VERSION"] == "1.2.4.dev1"


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
    wheel = build(folder)
    assert facts(wheel) == ("unknown", "unknown")
    assert constants(wheel)["VERSION"] == "0.0.0"
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


@pytest.mark.parametrize("epoch", ["yesterday", "1e9", "-1", "1_000"])
def test_invalid_date_in_the_environment_fails(folder, epoch):
    """If SOURCE_DATE_EPOCH is no number of seconds, the build fails, and the last line says so."""
    result = run_build(folder, folder.parent / "out", SOURCE_DATE_EPOCH=epoch)
    assert result.returncode == 1
    expected = f"SOURCE_DATE_EPOCH={epoch!r}: must be seconds since 1970, such as 1772600767"
    assert result.stderr.splitlines()[-1] == expected
    assert "Traceback" not in result.stderr


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


def test_links_work_on_a_package_index(folder, commit):
    """With REPOSITORY_URL, the description and the metadata link to the files of the commit."""
    wheel = build(folder, REPOSITORY_URL=f"{URL}/")
    files = f"{URL}/blob/{commit}"
    urls = [f"Documentation, {files}/README.md", f"Changelog, {files}/CHANGELOG.md", f"Source, {URL}"]
    assert metadata(wheel).get_all("Project-URL") == urls
    targets = links(wheel)
    assert f"{files}/docs/configuration.md" in targets
    assert f"{files}/README.md#tour" in targets
    assert not [target for target in targets if not target.startswith(("https://", "http://"))]
    for target in targets:
        if target.startswith(files):
            assert (ROOT / target.removeprefix(files)[1:].partition("#")[0]).exists(), target


def test_description_without_a_url_has_no_dead_links(folder, commit):
    """Without REPOSITORY_URL, the texts of links to files remain. Links to other sites do, too."""
    wheel = build(folder)
    assert metadata(wheel).get_all("Project-URL") is None
    assert set(links(wheel)) == set(re.findall(r"(?:\]\(|<)(https?://[^)>]+)", README))
    assert "[Configuration]" in README
    assert "| Configuration |" in metadata(wheel).get_payload()


def test_source_distribution_keeps_its_links(folder, commit):
    """The wheel from a source distribution has the links that the source distribution was built with."""
    with tarfile.open(build(folder, "sdist", REPOSITORY_URL=URL)) as archive:
        archive.extractall(folder.parent / "unpacked", filter="data")
    (unpacked,) = (folder.parent / "unpacked").iterdir()
    assert build(unpacked).read_bytes() == build(folder, REPOSITORY_URL=URL).read_bytes()


@pytest.mark.parametrize(
    "url",
    [
        "git.example/x",
        "https://",
        "https://git.example/a b",
        'https://git.example/"',
        "https://user:TOKEN@git.example/a",
    ],
)
def test_invalid_url_in_the_environment_is_one_line(folder, url):
    """If REPOSITORY_URL is no URL that can be published, the build fails with one line, which doesn't quote it."""
    result = run_build(folder, folder.parent / "out", REPOSITORY_URL=url)
    assert result.returncode == 1
    example = "https://git.example/telnyx/exporter"
    assert result.stderr == f"REPOSITORY_URL: must be the URL of the repository without a user, such as {example}\n"


def test_wheel_installs_the_assets(folder, commit):
    """A wheel installs dashboards, rules, runbooks and systemd units, at the same paths as in the repository."""
    with zipfile.ZipFile(build(folder)) as archive:
        names = {name.partition(".data/data/share/telnyx-exporter/")[2] for name in archive.namelist()} - {""}
        expected = {"README.md", "CHANGELOG.md", "docs/runbooks/README.md", "docs/runbooks/TelnyxApiDown.md"}
        assert names == expected | {"prometheus/prometheus.yml", "deploy/systemd/README.md"}


def test_wheel_of_the_image_has_no_assets(folder):
    """A folder without rules, such as the build context of the image, gives a wheel without the files."""
    shutil.rmtree(folder / "prometheus")
    with zipfile.ZipFile(build(folder)) as archive:
        assert not [name for name in archive.namelist() if ".data/" in name]


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
