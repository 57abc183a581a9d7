"""The commands of the README, as they are written. `test_tour.py` runs those of the tour."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from commands_of import commands_of
from programs import find_program, get, sandbox, wait_until

from exporter.sandbox import Account

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TOUR = re.search(r"\n## Tour\n.*?(?=\n## )", README, re.DOTALL)[0]
COMMANDS = commands_of(README.replace(TOUR, ""))
KEY = "KEY-of-tests"
RUN_ELSEWHERE = {
    "/opt/telnyx-exporter/bin/pip": "test_systemd.py, as commands of deploy/systemd/README.md",
    "docker build": "test_container.py",
    ".venv/bin/pytest": ".ci/run",
}
"""Words of commands that this file doesn't run, and what runs them."""
RUN_HERE = {"--demo", "TELNYX_API_KEY=KEY...", "helm install"}
"""Words of commands that this file runs."""
QUERIES = [
    *re.findall(r"^\| `(.+?)` \| ", README.partition("| query | shows |")[2].partition("\n\n")[0], re.MULTILINE),
    *(
        textwrap.dedent(query)
        for page in sorted((ROOT / "docs").glob("*.md"))
        for query in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)
    ),
]
"""The queries of the README and of the other documents, except for those of runbooks."""
EXCERPT = re.search(r"```\n(telnyx_up .*?)```", README, re.DOTALL)[1]


def command_with(word):
    """Return the only command that contains a word."""
    (command,) = (command for command in COMMANDS if word in command)
    return command


def run(command, folder, **environment):
    """Start a command in a folder, in a group of processes."""
    with (folder / "output").open("wb") as file:
        return subprocess.Popen(
            ["sh", "-c", command],
            stdout=file,
            stderr=file,
            cwd=folder,
            env={**os.environ, "TELNYX_EXPORTER_WEB__LISTEN_ADDRESS": "127.0.0.1:0", **environment},
            start_new_session=True,
        )


def scrape(command, folder, **environment):
    """Run a command that serves metrics, on a free port, and return the metrics once it has read Telnyx."""
    process = run(command, folder, **environment)
    output = folder / "output"
    try:
        wait_until(lambda: process.poll() is not None or "collector=" in output.read_text(), "a refresh")
        url = re.search(r"metrics=(\S+)", output.read_text())[1]
        return get(url)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def test_every_command_is_run():
    """Each block of commands is run by one test or by CI. This finds a new one that nothing runs."""
    words = {word for command in COMMANDS for word in (*RUN_HERE, *RUN_ELSEWHERE) if word in command}
    assert words == RUN_HERE | RUN_ELSEWHERE.keys()
    assert len(COMMANDS) == len(words)
    assert command_with("/opt/telnyx-exporter/bin/pip") in (ROOT / "deploy" / "systemd" / "README.md").read_text()
    assert command_with(".venv/bin/pytest") == re.search(r".*\.venv/bin/pytest.*\n", README)[0]


def test_the_excerpt_is_real():
    """The lines at the top are those of the demo."""
    demo = subprocess.run(
        [sys.executable, "-m", "exporter", "--demo", "--once"], capture_output=True, text=True, check=True
    )
    lines = demo.stdout.splitlines()
    assert [line for line in EXCERPT.splitlines() if line not in lines] == []


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_valid(tmp_path, query):
    """Prometheus can parse each query of the documents, and each uses only metrics that the exporter exposes."""
    rule = {"record": "a:b:c", "expr": query}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": [rule]}]}))
    subprocess.run([find_program("promtool"), "check", "rules", tmp_path / "rules.yaml"], check=True)
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert set(re.findall(r"\btelnyx_\w+", query)) <= documented


def test_the_quick_start_runs_the_demo(tmp_path):
    """The first command installs the exporter from a copy of the repository, and serves 132 connections."""
    if not os.environ.get("CI"):
        pytest.skip("installs from a package index: set CI=1")
    repository = tmp_path / "repository"
    shutil.copytree(ROOT, repository, ignore=shutil.ignore_patterns(".?*", "node_modules", "build", "*.egg-info"))
    command = command_with("--demo")
    install, _, serve = command.rpartition(" && ")
    assert run(install, repository).wait(300) == 0, (repository / "output").read_text()
    metrics = scrape(serve, repository)
    assert len(re.findall(r"(?m)^telnyx_connection_active{", metrics)) == 132
    assert "132 made-up connections" in README


def test_the_quick_start_reads_an_account(tmp_path):
    """With an API key, the exporter reads the account."""
    program = tmp_path / ".venv" / "bin" / "telnyx-exporter"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m exporter "$@"\n')
    program.chmod(0o755)
    with sandbox(Account(7, step=0), KEY) as url:
        metrics = scrape(command_with("KEY...").replace("KEY...", KEY), tmp_path, TELNYX_BASE_URL=url)
    assert "\ntelnyx_up 1.0\n" in metrics
    assert len(re.findall(r"(?m)^telnyx_connection_active{", metrics)) == 7


def test_the_chart_is_installed_with_a_key():
    """Helm accepts the command, and the exporter reads its key from the named Secret."""
    find_program("helm")
    command = command_with("helm install").replace("helm install", "helm template", 1)
    rendered = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    pods = [document for document in yaml.safe_load_all(rendered.stdout) if document["kind"] == "Deployment"]
    volumes = pods[0]["spec"]["template"]["spec"]["volumes"]
    assert "telnyx" in {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
