"""Several accounts of one exporter, as its user sees them: the commands, the log, the page and the metrics."""

import re
import subprocess
import sys

import pytest
from programs import ALL_COLLECTORS, exporter, get, serve_api, wait_until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from exporter.sandbox import Account, create_app, create_shared_app

MEASURES_COVERAGE = True
KEYS = {name: f"KEY-canary-of-{name}" for name in ("apac", "emea")}
FILES = {**KEYS, "empty": "", "wrong": "KEY-canary-that-Telnyx-rejects"}


@pytest.fixture(scope="module")
def base_url():
    """Serve a sandbox of two accounts, and yield its URL."""
    apis = {key: create_app(Account(3, seed, step=0), api_key=key) for seed, key in enumerate(KEYS.values())}
    with serve_api(create_shared_app(apis)) as base_url:
        yield base_url


@pytest.fixture
def keys(tmp_path):
    """Return a folder of key files: two are good, one is empty, and Telnyx rejects one."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name, key in FILES.items():
        (folder / name).write_text(key)
    return folder


def flags(keys, base_url):
    """Return the flags for these files."""
    return f"--telnyx.api-key-files={keys}/*", f"--telnyx.base-url={base_url}"


def run(keys, base_url, *arguments):
    """Run a command to its end, and check that its output contains no key."""
    command = (sys.executable, "-m", "exporter", *flags(keys, base_url), *arguments)
    result = subprocess.run(command, capture_output=True, text=True, cwd=keys.parent, timeout=60, check=False)
    assert "canary" not in result.stdout + result.stderr
    return result


def samples_of(text):
    """Return the values of samples by name and labels."""
    families = text_string_to_metric_families(text)
    return {(each.name, *each.labels.items()): each.value for family in families for each in family.samples}


def accounts_with(text, name, value):
    """Return the accounts for which this metric has this value."""
    return {key[1][1] for key, found in samples_of(text).items() if key[0] == name and found == value}


def test_all_accounts_are_polled_once(keys, base_url):
    """`--once` prints the metrics of all accounts. Its status is 1 if one of them fails."""
    result = run(keys, base_url, "--once")
    assert result.returncode == 1
    assert accounts_with(result.stdout, "telnyx_up", 1) == set(KEYS)
    assert accounts_with(result.stdout, "telnyx_up", 0) == {"empty", "wrong"}
    for name in KEYS:
        assert samples_of(result.stdout)["telnyx_collector_rows", ("account", name), NAME] == 3
    failures = [line for line in result.stderr.splitlines() if "level=warning" in line]
    assert sorted(re.findall(r"account=(\w+)", "".join(failures))) == ["empty", "wrong"]
    for name in ("empty", "wrong"):
        (keys / name).unlink()
    assert run(keys, base_url, "--once").returncode == 0


NAME = ("collector", "credential-connections")


def test_access_of_all_accounts(keys, base_url):
    """`--check-access` prints a table of all accounts and collectors."""
    result = run(keys, base_url, "--check-access", "--collector.balance")
    assert result.returncode == 1
    rows = [re.split(" {2,}", line) for line in result.stdout.splitlines()]
    assert [row[:3] for row in rows] == [
        [name, collector, f"GET {path}"]
        for name in sorted(FILES)
        for collector, path in (("credential-connections", "/credential_connections"), ("balance", "/balance"))
    ]
    assert {row[0]: row[3][:12] for row in rows} == {
        "apac": "ok",
        "emea": "ok",
        "empty": "unusable API",
        "wrong": "HTTP status ",
    }


def test_access_of_an_empty_shard(keys, base_url):
    """`--check-access` of a shard without accounts says so. This is no failure."""
    result = run(keys, base_url, "--check-access", "--total-shards=9", "--shard=1")
    assert (result.returncode, result.stdout) == (0, "accounts: 0 of 4, for --shard=1 --total-shards=9\n")


def test_configuration_of_all_accounts(keys, base_url):
    """`--check-config` lists all accounts, and fails if the key of one can't be used."""
    result = run(keys, base_url, "--check-config")
    assert result.returncode == 2
    assert [line.split()[0] for line in result.stdout.splitlines() if f"{keys}/" in line and "/*" not in line] == [
        "apac",
        "emea",
        "empty",
        "wrong",
    ]
    assert "empty: is empty" in result.stderr.splitlines()[-1]
    (keys / "empty").unlink()
    result = run(keys, base_url, "--check-config")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "ok")


def test_no_file_matches(tmp_path, base_url):
    """If no file matches at the start, the command fails with one line."""
    result = run(tmp_path / "keys", base_url)
    assert result.returncode == 2
    assert re.fullmatch(r"telnyx-exporter: --telnyx\.api-key-files='.*': no file .*\n", result.stderr)


@pytest.mark.parametrize("flag", ["--telnyx.api-key-file=keys/apac", None], ids=["file", "variable"])
def test_one_source_of_keys(keys, base_url, monkeypatch, flag):
    """The files can't be used together with another source of the key."""
    if flag is None:
        monkeypatch.setenv("TELNYX_API_KEY", KEYS["apac"])
    result = run(keys, base_url, *([flag] if flag else []))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "--telnyx.api-key-files" in result.stderr


def test_an_unusable_file_is_the_failure_of_its_account(keys, base_url, tmp_path):
    """An account whose file can't be used is down, with one line in the log, until the file is good. Others go on."""
    log = tmp_path / "exporter.log"
    with exporter(tmp_path, *flags(keys, base_url), "--collector.balance") as url:
        ready = wait_until(lambda: get(f"{url}/-/ready"), "being ready")
        assert ready == "ready\n"
        metrics = get(f"{url}/metrics")
        assert accounts_with(metrics, "telnyx_up", 1) == set(KEYS)
        assert accounts_with(metrics, "telnyx_up", 0) == {"empty", "wrong"}
        labels = (("account", "empty"), ("reason", "unauthorized"))
        assert samples_of(metrics)["telnyx_refresh_failures_total", *labels] >= 1
        lines = [line for line in log.read_text().splitlines() if "account=empty" in line]
        assert [line.split()[1] for line in lines] == ["level=warning"]
        page = get(url)
        (keys / "empty").write_text(KEYS["emea"])
        (keys / "apac").write_text("")
        wait_until(lambda: "empty" in accounts_with(get(f"{url}/metrics"), "telnyx_up", 1), "the account being up")
        wait_until(lambda: "apac" in accounts_with(get(f"{url}/metrics"), "telnyx_up", 0), "the account being down")
        metrics += get(f"{url}/metrics")
    assert "canary" not in log.read_text() + page + metrics
    assert {name for name in FILES if f">{name}<" in page} == set(FILES)


def test_each_log_line_about_an_account_names_it(keys, base_url, tmp_path):
    """All lines about requests and refreshes have the name of their account."""
    log = tmp_path / "exporter.log"
    with exporter(tmp_path, *flags(keys, base_url), "--log.level=debug", "--collector.registrations") as url:
        wait_until(lambda: "refresh" in log.read_text() and get(f"{url}/-/ready"), "being ready")
    lines = [line for line in log.read_text().splitlines() if "msg=request " in line or "collector=" in line]
    assert {match[1] for line in lines if (match := re.search(r"account=(\w+)", line))} == set(FILES)
    assert [line for line in lines if "account=" not in line] == []


OF_THE_EXPORTER = r"process_|python_|telnyx_exporter_(?!cache_|stale_)"
"""Matches the beginnings of the names of metrics that belong to no account."""


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("text/plain", text_string_to_metric_families), ("application/openmetrics-text", parse_openmetrics)],
    ids=["text", "OpenMetrics"],
)
def test_the_label_of_each_series(keys, base_url, tmp_path, accept, parse):
    """With all collectors, `account` is the first label of each series of an account, and other series lack it.

    The series of all accounts are in one block for each metric.
    """
    with exporter(tmp_path, *flags(keys, base_url), *ALL_COLLECTORS) as url:
        wait_until(lambda: get(f"{url}/-/ready"), "being ready")
        families = list(parse(get(f"{url}/metrics", Accept=accept)))
    names = [family.name for family in families]
    samples = [each for family in families for each in family.samples]
    series = [(each.name, *sorted(each.labels.items())) for each in samples]
    assert (len(names), len(series)) == (len(set(names)), len(set(series)))
    for each in samples:
        assert (next(iter(each.labels), None) == "account") != bool(re.match(OF_THE_EXPORTER, each.name)), each
    assert {each.labels["account"] for each in samples if "account" in each.labels} == set(FILES)


def test_the_series_of_an_account(keys, base_url):
    """With all collectors, an account has the same series as an exporter of this account alone, but for the label."""
    arguments = (*ALL_COLLECTORS, "--once.complete")
    together = samples_of(run(keys, base_url, *arguments).stdout)
    for name, key in KEYS.items():
        (keys.parent / "alone").write_text(key)
        command = (sys.executable, "-m", "exporter", "--telnyx.api-key-file=alone", f"--telnyx.base-url={base_url}")
        result = subprocess.run((*command, *arguments), capture_output=True, text=True, cwd=keys.parent, check=True)
        alone = {each for each in samples_of(result.stdout) if not re.match(OF_THE_EXPORTER, each[0])}
        account = [("account", name)]
        assert {(metric, *labels[1:]) for metric, *labels in together if labels[:1] == account} == alone


@pytest.mark.parametrize(
    ("shard", "numbers"),
    [
        ((), "accounts=4 shard=0 total_shards=1 files=4"),
        (("--total-shards=9", "--shard=1"), "accounts=0 shard=1 total_shards=9 files=4"),
    ],
    ids=["all", "empty shard"],
)
def test_the_log_counts_the_accounts_at_the_start(keys, base_url, tmp_path, shard, numbers):
    """At the start, a line has the numbers of accounts, files and shards. So an empty shard is not a riddle."""
    log = tmp_path / "exporter.log"
    with exporter(tmp_path, *flags(keys, base_url), *shard):
        lines = wait_until(lambda: re.findall('msg="reading accounts" (.*)', log.read_text()), "reading accounts")
    assert lines == [numbers]
