"""The workflows of `.github/workflows`: what actionlint and zizmor don't check, and the scripts of the release."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
TEXTS = {path.name: path.read_text() for path in sorted(FOLDER.iterdir())}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = {
    f"{name}:{job}": definition for name, workflow in WORKFLOWS.items() for job, definition in workflow["jobs"].items()
}
RELEASE = WORKFLOWS["release.yaml"]["jobs"]
PUBLISHING = {name: job for name, job in RELEASE.items() if "write" in job["permissions"].values()}
GIT = {f"GIT_{who}_{what}": "test@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
each_publishing_job = pytest.mark.parametrize("name", PUBLISHING)


def needed(name):
    """Return the names of all jobs that a job of the release needs, directly or not."""
    needs = RELEASE[name].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*map(needed, direct))


def step(job, name):
    """Return a step of a job of the release."""
    (found,) = (step for step in RELEASE[job]["steps"] if step.get("name") == name)
    return found


def run_step(job, name, folder, **environment):
    """Run the script of a step in a folder, as the runner does. Return the result."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step(job, name)["run"]]
    variables = {"PATH": os.environ["PATH"], "GITHUB_REF_NAME": "v1.2.3", **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def error_of(result):
    """Return the error that the runner shows for a failed step. The step prints nothing else."""
    assert result.returncode == 1, result.stderr
    return re.fullmatch(r"::error::(.+)\n", result.stdout)[1]


@each_text
def test_actions_are_pinned(text):
    """Each action of others is pinned to a commit, with its version in a comment. Dependabot updates both."""
    for line in re.findall(r"^ *-? *uses: +(.+)$", text, re.MULTILINE):
        assert re.match(r"\./\.github/workflows/|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_an_action_has_the_same_version_everywhere():
    """All workflows use the same commit of an action."""
    uses = set(re.findall(r"uses: +(\S+)@(\S+)", "".join(TEXTS.values())))
    assert len({action for action, _ in uses}) == len(uses)


@each_text
def test_a_workflow_has_no_permissions(text):
    """A workflow has no permissions, so a job has only those that it declares."""
    assert yaml.safe_load(text)["permissions"] == {}


@each_job
def test_a_job_has_permissions_and_a_timeout(job):
    """Each job declares its permissions and ends within an hour. One that calls a workflow has the timeouts of that."""
    assert job["permissions"]
    assert isinstance(job["permissions"], dict)
    assert "uses" in job or 0 < job["timeout-minutes"] <= 60


@each_job
def test_a_checkout_keeps_no_token(job):
    """No step after a checkout can read the token of the job from the configuration of git."""
    for each in job.get("steps", []):
        if each.get("uses", "").startswith("actions/checkout@"):
            assert each["with"]["persist-credentials"] is False


@each_text
def test_no_secret_is_used(text):
    """The workflows need no secret except the token of the job."""
    assert set(re.findall(r"\bsecrets\b[.:\s\[]*['\"]?(\w+)", text)) <= {"GITHUB_TOKEN"}


@each_text
def test_no_workflow_names_a_host_or_an_owner(text):
    """Hosts and owners come from the context and the variables of the repository, so a fork can publish, too."""
    code = re.sub(r"(?:#|uses:) .*", "", text).replace("registry.example/owner", "")
    assert not re.findall(r"\b[\w-]+\.(?:com|dev|example|io|net|org)\b", code)
    assert not [url for url in re.findall(r"\S*://\S*", code) if not re.match(r'"?(?:docker|oci)://\$REGISTRY/', url)]
    names = re.findall(r"(\S*?)/telnyx-exporter\b", code)
    assert {re.sub(r'^"|.*://', "", name) for name in names} <= {
        *("$REGISTRY", "$REGISTRY/charts", "REGISTRY", "}}", "}}/charts", "charts", "dist"),
    }


@each_text
def test_documentation_names_each_variable(text):
    """docs/releasing.md says how to set each variable of the repository that a workflow uses."""
    documentation = (ROOT / "docs" / "releasing.md").read_text()
    for name in re.findall(r"\bvars\.(\w+)", text):
        assert f"variable `{name}`" in documentation


def test_all_supported_pythons_are_tested():
    """The matrix has the versions of Python that the package's metadata names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert JOBS["test.yaml:test"]["strategy"]["matrix"] == {"python": pythons}


def test_tests_run_on_each_change():
    """All checks run on pull requests and on the default branch, and in the release."""
    events = WORKFLOWS["test.yaml"][True]  # YAML 1.1 reads the key `on` as true
    assert events.keys() == {"pull_request", "push", "workflow_call"}
    assert "bash .ci/run" in [each.get("run") for each in JOBS["test.yaml:test"]["steps"]]
    assert RELEASE["test"]["uses"] == "./.github/workflows/test.yaml"


def test_audit_runs_each_week():
    """The audit runs once a week and by hand. It fails if nothing could be audited."""
    events = WORKFLOWS["audit.yaml"][True]
    assert events.keys() == {"schedule", "workflow_dispatch"}
    (schedule,) = events["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", schedule["cron"])
    assert ".ci/audit.py" in TEXTS["audit.yaml"]


@pytest.mark.parametrize(("text", "code"), [("Not audited: unreachable.", 1), ("2 of 2 dependencies audited.", 0)])
def test_audit_fails_if_nothing_was_audited(tmp_path, text, code):
    """The weekly audit fails if the vulnerability service is unreachable."""
    script = JOBS["audit.yaml:audit"]["steps"][-1]["run"].replace(".venv/bin/python .ci/audit.py", f"echo '{text}'")
    command = ["bash", "-eo", "pipefail", "-c", script]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == code


def test_only_tags_are_released():
    """A push of a tag starts a release, and nothing else. A running release is not canceled."""
    assert WORKFLOWS["release.yaml"][True] == {"push": {"tags": ["v*"]}}
    assert WORKFLOWS["release.yaml"]["concurrency"]["cancel-in-progress"] is False


@each_job
def test_only_publishing_jobs_can_write(job):
    """Each job with a permission to write is a publishing job: it is in the environment `release`."""
    assert ("write" in job["permissions"].values()) == (job.get("environment") == "release")


@each_publishing_job
def test_nothing_is_published_before_all_is_tested_and_built(name):
    """Each publishing job needs the check of the tag, all tests and all builds, and runs only if they succeeded."""
    assert needed(name) >= {"check", "test", "dist", "image"}
    assert "if" not in RELEASE[name]


def test_publishing_jobs_are_known():
    """The final upload comes after the image and the chart, and the release comes last."""
    assert set(PUBLISHING) == {"registry", "index", "release"}
    assert "registry" in needed("index")
    assert {"registry", "index"} <= needed("release")


@each_publishing_job
def test_publishing_jobs_run_no_code_of_the_repository(name):
    """A publishing job publishes what was built. It has no checkout, so it can't build anything else."""
    assert not [each for each in RELEASE[name]["steps"] if "checkout" in each.get("uses", "")]


@pytest.mark.parametrize("name", ["test", "dist", "image"])
def test_the_tag_is_checked_first(name):
    """Nothing is tested or built for a tag that can't be released."""
    assert needed(name) == {"check"}


def test_builds_get_the_urls_of_the_repository():
    """The files and the image have the URL of the repository that runs the workflow. The chart names that image."""
    assert WORKFLOWS["release.yaml"]["env"]["REPOSITORY_URL"] == "${{ github.server_url }}/${{ github.repository }}"
    script = step("image", "Build, and run each platform once")["run"]
    for name in ("VERSION", "REVISION", "URL", "SOURCE_DATE_EPOCH"):
        assert f'--build-arg "{name}=' in script
    assert step("dist", "Build")["run"] == "make setup dist"
    assert step("dist", "Build")["env"]["EXPORTER_IMAGE"] == "${{ vars.REGISTRY }}/telnyx-exporter"


@pytest.mark.parametrize(
    "registry", ["registry.example/owner", "localhost:5000/a", "10.0.0.1/a/b_c.d-e", "r-1.example:443/team/exporters"]
)
def test_valid_registry(tmp_path, registry):
    """A registry is a host, with a port if needed, and a path."""
    result = run_step("check", "Check the registry", tmp_path, REGISTRY=registry)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("registry", ["", "registry.example", "https://r.example/a", "r.example/Owner", "r.example/a/"])
def test_invalid_registry_fails_early(tmp_path, registry):
    """If the variable is not set or invalid, the error says what to set, in one line."""
    result = run_step("check", "Check the registry", tmp_path, REGISTRY=registry)
    assert error_of(result) == (
        f"REGISTRY={registry}: set this variable of the repository to the host and path of your image registry"
        " in lower case, such as registry.example/owner"
    )


def test_tag_must_be_on_the_default_branch(tmp_path):
    """A tag on the default branch or below its tip is released. Any other is an error, in one line."""

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, env=os.environ | GIT, check=True, capture_output=True)

    git("init", "--quiet")
    git("commit", "--allow-empty", "--message=one")
    git("commit", "--allow-empty", "--message=two")
    git("update-ref", "refs/remotes/origin/trunk", "HEAD")
    environment = {"DEFAULT_BRANCH": "trunk"}
    assert run_step("check", "Check the branch", tmp_path, **environment).returncode == 0
    git("checkout", "--detach", "HEAD^")
    assert run_step("check", "Check the branch", tmp_path, **environment).returncode == 0
    git("commit", "--allow-empty", "--message=other")
    result = run_step("check", "Check the branch", tmp_path, **environment)
    assert error_of(result) == "v1.2.3 is not on trunk: merge its commit, then tag the merged commit"


def write_program(folder, name, script):
    """Write a program that steps run instead of the real one. Return the PATH to find it."""
    (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo release not found >&2; exit 1", None),
        ("echo title: v1.2.3", "v1.2.3 is already released: tag a new version"),
        ("echo HTTP 503 >&2; exit 1", "HTTP 503"),
    ],
)
def test_version_is_released_once(tmp_path, script, error):
    """A version that has a release is an error, so that a moved tag can't replace what users have."""
    path = write_program(tmp_path, "gh", f'[ "$*" = "release view v1.2.3" ] || exit 2\n{script}')
    result = run_step("check", "Check that the version is new", tmp_path, PATH=path)
    if error:
        assert error_of(result) == error
    else:
        assert (result.returncode, result.stdout) == (0, "")


def write_notes(folder, tag, changelog, tags=()):
    """Run the step that writes the release notes, with a copy of the script, in a repository with these tags."""
    (folder / ".ci").mkdir()
    (folder / ".ci" / "release_notes.py").write_text((ROOT / ".ci" / "release_notes.py").read_text())
    (folder / "CHANGELOG.md").write_text(changelog)
    output = str(folder / "output")
    environment = os.environ | GIT | {"GIT_COMMITTER_DATE": "1790000000 +0000"}
    for command in ("init --quiet", "commit --allow-empty --message=one", *(f"tag {each}" for each in tags)):
        subprocess.run(["git", *command.split()], cwd=folder, env=environment, check=True, capture_output=True)
    return run_step("check", "Write the release notes", folder, GITHUB_REF_NAME=tag, GITHUB_OUTPUT=output)


def test_notes_version_and_date_are_passed_on(tmp_path):
    """The notes of the tag become a file. The version is the tag without `v`; the date is that of the commit."""
    result = write_notes(tmp_path, "v1.2.3-rc.1", "## [1.2.3-rc.1] - 2026-12-01\n\n- A change.\n")
    assert (result.returncode, result.stdout) == (0, "")
    assert (tmp_path / "notes.md").read_text() == "- A change.\n"
    assert (tmp_path / "output").read_text() == "version=1.2.3-rc.1\ndate=1790000000\n"


@pytest.mark.parametrize(
    ("tag", "error"),
    [
        ("v1.2", "v1.2: must be a version such as 1.2.3 or 1.2.3-rc.1, or its tag, such as v1.2.3"),
        ("v1.2.3", "CHANGELOG.md: no section for 1.2.3: add `## [1.2.3] - YYYY-MM-DD` below [Unreleased]"),
    ],
)
def test_tag_without_notes_fails(tmp_path, tag, error):
    """A tag that is not a version, or has no section in the changelog, is an error, in one line."""
    assert error_of(write_notes(tmp_path, tag, "## [Unreleased]\n")) == error
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("tag", "others", "latest"),
    [
        ("v1.10.0", ["v1.9.1", "v1.11.0-rc.1"], True),
        ("v1.2.3", [], True),
        ("v1.9.1", ["v1.10.0"], False),
        ("v1.2.3-rc.1", [], False),
        ("v1.2.3-rc.1", ["v1.2.2"], False),
    ],
)
def test_latest_is_the_highest_version(tmp_path, tag, others, latest):
    """The tag `latest` of the image is for the highest version that is no candidate, whenever it is released."""
    result = write_notes(tmp_path, tag, f"## [{tag[1:]}] - 2026-12-01\n\n- A change.\n", [tag, *others])
    assert result.returncode == 0, result.stderr
    assert ("latest=latest\n" in (tmp_path / "output").read_text()) == latest


SKOPEO = """
case $1 in
  inspect) cat "$([[ $3 == docker://*telnyx-exporter:1.2.3 ]] && basename "${3%:*}" || echo built)" ;;
  manifest-digest) sed s/^/sha256:/ "$2" ;;
  copy) echo "${@: -1}" >>copied ;;
esac"""
"""A registry whose files are the manifests of repositories."""


def push(folder, **environment):
    """Run the step that pushes the image, which is built, and the chart. Return the result."""
    (folder / "dist").mkdir()
    (folder / "dist" / "telnyx-exporter-1.2.3.tgz").touch()
    (folder / "built").write_text("new")
    write_program(folder, "helm", 'echo "${@: -1}" >>copied; echo chart >telnyx-exporter')
    path = write_program(folder, "skopeo", SKOPEO)
    variables = {"VERSION": "1.2.3", "DATE": "1790000000", "LATEST": "", "REGISTRY": "registry.example/owner"}
    output = str(folder / "output")
    return run_step("registry", "Push", folder, PATH=path, GITHUB_OUTPUT=output, **variables | environment)


@pytest.mark.parametrize(("latest", "tags"), [("", ["1.2.3"]), ("latest", ["1.2.3", "latest"])])
@pytest.mark.parametrize("is_repeated", [False, True])
def test_image_and_chart_are_pushed(tmp_path, latest, tags, is_repeated):
    """The image gets its tags, and the next steps sign the digests of both. A repeated job does the same."""
    if is_repeated:
        (tmp_path / "telnyx-exporter").write_text("new")
    result = push(tmp_path, LATEST=latest)
    assert result.returncode == 0, result.stderr
    images = [f"docker://registry.example/owner/telnyx-exporter:{tag}" for tag in tags]
    assert (tmp_path / "copied").read_text().split() == [*images, "oci://registry.example/owner/charts"]
    assert (tmp_path / "output").read_text() == "image=sha256:new\nchart=sha256:chart\n"


def test_published_image_is_not_replaced(tmp_path):
    """If the version has another image, because the tag was moved, one line says so, and nothing is pushed."""
    (tmp_path / "telnyx-exporter").write_text("old")
    error = "1.2.3 is already published with another image, sha256:old: tag a new version"
    assert error_of(push(tmp_path)) == error
    assert not (tmp_path / "copied").exists()


@pytest.mark.parametrize(("version", "is_candidate"), [("1.2.3", False), ("1.2.3-rc.1", True)])
@pytest.mark.parametrize("exists", [False, True])
def test_release_is_visible_when_it_is_complete(tmp_path, version, is_candidate, exists):
    """The release is a draft until it has all files. A repeated job completes it. A candidate is marked as one."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "file").touch()
    path = write_program(tmp_path, "gh", f'echo "$@" >>calls\n[ "$2" != view ] || exit {int(not exists)}')
    names = {"VERSION": version, "GITHUB_REF_NAME": f"v{version}"}
    result = run_step("release", "Create the release", tmp_path, PATH=path, **names)
    assert result.returncode == 0, result.stderr
    options = f"--draft --verify-tag --title {version} --notes-file notes.md{' --prerelease' if is_candidate else ''}"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"release view v{version}",
        *([] if exists else [f"release create v{version} {options}"]),
        f"release upload v{version} dist/file --clobber",
        f"release edit v{version} --draft=false",
    ]
