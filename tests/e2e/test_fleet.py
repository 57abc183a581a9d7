"""Three sharded exporters of 60 accounts, on a real Prometheus, while shards and accounts come and go."""

import contextlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError

import pytest
from programs import exporter, free_port, get, get_json, prometheus, serve_api, wait_until

from exporter.accounts.shards import owner_of
from exporter.sandbox import Account, create_app, create_shared_app

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
CONFIGS = re.findall(r"```yaml\n(scrape_configs:.*?)```", PAGE.read_text(), re.DOTALL)
SHARDS = 3
NAMES = [f"account-{number:02}" for number in range(60)]
SCRAPE_INTERVAL = 1.0
KEYS_INTERVAL = 10.0
"""Seconds in which an exporter notices a new, removed or changed key file."""
TOLERANCE = 2.0
"""Seconds that a busy machine may need in addition."""


def names_of(shard):
    """Return the accounts of a shard at the start, in order."""
    return [name for name in NAMES if owner_of(name, SHARDS) == shard]


REMOVED, ROTATED, *_ = names_of(0)
ADDED = next(name for name in (f"new-{number}" for number in range(100)) if owner_of(name, SHARDS) == 2)
KILLED = 1
GAUGES = (
    *("telnyx_exporter_shard_ordinal", "telnyx_exporter_total_shards"),
    *("telnyx_exporter_accounts", "telnyx_exporter_api_key_files"),
)


class Keys:
    """The accounts of the sandbox, and the directory of their key files."""

    def __init__(self, folder):
        self.folder = folder
        self.apis = {}
        self._accounts = {}
        folder.mkdir()

    def write(self, name, suffix=""):
        """Create an API key for an account and write it to its file. Return the Unix time of that."""
        key = f"KEY-of-{name}{suffix}"
        account = self._accounts.setdefault(name, Account(2, seed=len(self._accounts), step=0))
        self.apis[key] = create_app(account, api_key=key, rate_limit=0)
        temporary = self.folder.parent / "key"
        temporary.write_text(key)
        temporary.rename(self.folder / name)
        return time.time()

    def revoke(self, name):
        """Make the sandbox reject the first key of an account. Return the Unix time of that."""
        del self.apis[f"KEY-of-{name}"]
        return time.time()

    def remove(self, name):
        """Remove the key file of an account. Return the Unix time of that."""
        (self.folder / name).unlink()
        return time.time()


class Shard:
    """One of the exporters. It keeps its address when it is started again."""

    def __init__(self, folder, number, base_url, keys):
        self.instance = f"127.0.0.1:{free_port()}"
        self.number = number
        self._folder = folder / f"shard-{number}"
        self._folder.mkdir()
        self._flags = (
            *(f"--telnyx.base-url={base_url}", f"--telnyx.api-key-files={keys.folder}/*"),
            *(f"--shard={number}", f"--total-shards={SHARDS}", "--cache.ttl=5s"),
        )
        self._running = contextlib.ExitStack()

    def start(self):
        """Start the exporter and wait until it listens."""
        port = int(self.instance.rpartition(":")[2])
        self._running.enter_context(exporter(self._folder, *self._flags, port=port))

    def stop(self):
        """Stop the exporter. Return the Unix time before that."""
        before = time.time()
        self._running.close()
        return before


@dataclass(frozen=True)
class Times:
    """When things were done, in Unix seconds."""

    started: float
    added: float
    removed: float
    rotated: float
    killed: float
    restarted: float
    revoked: float
    ended: float


class Fleet:
    """The results of queries after the end of all changes, and the times of these changes."""

    def __init__(self, url, shards, times):
        self.url = url
        self.instances = [shard.instance for shard in shards]
        self.times = times

    def query(self, promql, at=None):
        """Return the values of a query, by labels, at this Unix time."""
        result = query(self.url, promql, self.times.ended if at is None else at)
        return {tuple(sorted(sample["metric"].items())): float(sample["value"][1]) for sample in result}

    def samples(self, selector):
        """Return the times and values of all samples of one series."""
        (series,) = query(self.url, f"{selector}[10m]", self.times.ended)
        return {float(at): float(value) for at, value in series["values"]}

    def series(self, selector):
        """Return the labels of all series of the whole time."""
        times = {"start": self.times.started, "end": self.times.ended}
        return get_json(f"{self.url}/api/v1/series", **{"match[]": selector}, **times)["data"]


def query(url, promql, at=None):
    parameters = {} if at is None else {"time": at}
    return get_json(f"{url}/api/v1/query", query=promql, **parameters)["data"]["result"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Run three exporters and Prometheus, make all changes, and yield the fleet when Prometheus has seen them.

    The changes are independent, so they overlap to save time: one shard is stopped and started again, an account is
    added and one is removed, and one gets a new key.
    """
    folder = tmp_path_factory.mktemp("fleet")
    keys = Keys(folder / "keys")
    for name in NAMES:
        keys.write(name)
    with contextlib.ExitStack() as running:
        base_url = running.enter_context(serve_api(create_shared_app(keys.apis)))
        shards = [Shard(folder, number, base_url, keys) for number in range(SHARDS)]
        for shard in shards:
            running.callback(shard.stop)
        with ThreadPoolExecutor() as threads:
            list(threads.map(Shard.start, shards))
        targets = [{"targets": [shard.instance for shard in shards]}]
        jobs = [{"job_name": "telnyx", "scrape_interval": f"{SCRAPE_INTERVAL:g}s", "static_configs": targets}]
        url = running.enter_context(prometheus(folder, json.dumps({"scrape_configs": jobs})))
        yield Fleet(url, shards, change_everything(url, shards[KILLED], keys))


def change_everything(url, killed_shard, keys):
    """Make all changes, and wait for their effects. Return their times."""

    def wait_for(promql):
        return wait_until(lambda: query(url, promql), promql)

    started = time.time()
    wait_for(f"count(telnyx_up == 1) == {len(NAMES)}")
    times = {
        "killed": killed_shard.stop(),
        "added": keys.write(ADDED),
        "rotated": keys.write(ROTATED, "-2"),
        "removed": keys.remove(REMOVED),
    }
    wait_for(f"""telnyx_up{{account="{ADDED}"}} == 1 unless on () telnyx_up{{account="{REMOVED}"}}""")
    times["revoked"] = keys.revoke(ROTATED)  # its exporter has noticed the removal, so it has read the new key before
    killed_shard.start()
    times["restarted"] = time.time()
    wait_for(f"count(telnyx_up == 1) == {len(NAMES)}")
    wait_for(f"""telnyx_last_success_timestamp_seconds{{account="{ROTATED}"}} > {times["revoked"]}""")
    return Times(started=started, ended=time.time(), **times)


def test_each_account_has_one_instance(fleet):
    """All series of an account come from the exporter that its name is assigned to, before and after all changes."""
    found = {}
    for labels in fleet.series('{account!=""}'):
        found.setdefault(labels["account"], set()).add(labels["instance"])
    assert found == {name: {fleet.instances[owner_of(name, SHARDS)]} for name in (*NAMES, ADDED)}


def test_a_stopped_shard_affects_only_its_accounts(fleet):
    """While an exporter is stopped, all series of its accounts are gone, and those of the others are there.

    Started again, it has the same accounts.
    """
    others = set(NAMES) - set(names_of(KILLED)) - {REMOVED}

    def accounts(at):
        return {dict(labels)["account"] for labels in fleet.query('count by (account) ({account!=""})', at)}

    stopped = [at for at, up in fleet.samples(f'up{{instance="{fleet.instances[KILLED]}"}}').items() if not up]
    assert fleet.times.killed < stopped[0] < stopped[-1] < fleet.times.restarted + SCRAPE_INTERVAL + TOLERANCE
    for at in (stopped[0], stopped[-1]):
        assert accounts(at) - {ADDED, REMOVED} == others
    assert accounts(fleet.times.ended) == others | set(names_of(KILLED)) | {ADDED}


def test_an_added_account_appears(fleet):
    """The first scrape after the exporter has noticed the key file has the data of the account."""
    first, *_ = (at for at, up in fleet.samples(f'telnyx_up{{account="{ADDED}"}}').items() if up)
    assert fleet.times.added < first < fleet.times.added + KEYS_INTERVAL + SCRAPE_INTERVAL + TOLERANCE
    assert len(fleet.query(f'telnyx_connection_active{{account="{ADDED}"}}', first)) == 2


def test_all_series_of_a_removed_account_end(fleet):
    """One scrape has all series of the account, and the next one has none, not even of counters."""
    last = max(fleet.samples(f'telnyx_up{{account="{REMOVED}"}}'))
    assert last < fleet.times.removed + KEYS_INTERVAL + SCRAPE_INTERVAL + TOLERANCE
    next_scrape = min(at for at in fleet.samples(f'up{{instance="{fleet.instances[0]}"}}') if at > last)
    names = {dict(labels)["__name__"] for labels in fleet.query(f'{{account="{REMOVED}"}}', last)}
    assert {"telnyx_connection_active", "telnyx_api_requests_total", "telnyx_collector_success"} <= names
    for at in (next_scrape, fleet.times.ended):
        assert fleet.query(f'{{account="{REMOVED}"}}', at) == {}


def test_a_rotated_key_leaves_no_gap(fleet):
    """Each scrape of the exporter has the account, and no refresh fails, although Telnyx rejects the old key.

    A request that is in progress when the key changes is cancelled.
    """
    window = f"[{fleet.times.ended - fleet.times.rotated:.0f}s]"
    (scrapes,) = fleet.query(f'count_over_time(up{{instance="{fleet.instances[0]}"}}{window})').values()
    samples = fleet.query(f'count_over_time(telnyx_connection_active{{account="{ROTATED}"}}{window})')
    assert list(samples.values()) == [scrapes] * 2
    assert set(fleet.query(f'min_over_time(telnyx_up{{account="{ROTATED}"}}{window})').values()) == {1}
    requests = f'telnyx_api_requests_total{{account="{ROTATED}"}}'
    before, after = fleet.query(requests, fleet.times.revoked), fleet.query(requests)
    assert {dict(labels)["code"] for labels in after} <= {"200", "none"}
    assert fleet.query(f'telnyx_refresh_failures_total{{account="{ROTATED}"}} > 0') == {}
    assert sum(after.values()) > sum(before.values())


@pytest.mark.parametrize(
    "counter",
    ["telnyx_api_requests_total", "telnyx_refreshes_total", "telnyx_exporter_cache_hits_total"],
)
def test_changes_of_an_account_leave_the_counters_of_others(fleet, counter):
    """No counter of an account restarts, except those of the exporter that was started again."""
    resets = fleet.query(f'sum by (account) (resets({counter}{{instance!="{fleet.instances[KILLED]}"}}[10m]))')
    assert len(resets) == len(NAMES) - len(names_of(KILLED)) + 1  # the series of the removed account are in the window
    assert set(resets.values()) == {0}


def test_shards_describe_themselves(fleet):
    """Each exporter exposes its number, the number of shards and of key files, and the number of its accounts."""
    by_instance = [
        [fleet.query(name)[("__name__", name), ("instance", instance), ("job", "telnyx")] for name in GAUGES]
        for instance in fleet.instances
    ]
    accounts = {*NAMES, ADDED} - {REMOVED}
    sizes = [sum(owner_of(name, SHARDS) == shard for name in accounts) for shard in range(SHARDS)]
    assert by_instance == [[shard, SHARDS, size, len(accounts)] for shard, size in enumerate(sizes)]


def test_the_number_of_series_is_as_documented(fleet):
    """docs/scaling.md has the number of series of an exporter, and of an account without its connections."""
    text = get(f"http://{fleet.instances[0]}/metrics")
    series = [line for line in text.splitlines() if not line.startswith("#") and "connection_id=" not in line]
    of_accounts = [line for line in series if "account=" in line]
    (accounts,) = fleet.query(f'telnyx_exporter_accounts{{instance="{fleet.instances[0]}"}}').values()
    documented = re.search(r"(\d+) \+ (\d+) \S accounts", PAGE.read_text()).groups()
    assert len(series) - len(of_accounts) == pytest.approx(int(documented[0]), abs=5)
    assert len(of_accounts) / accounts == pytest.approx(int(documented[1]), abs=5)


def test_an_empty_shard_is_ready(tmp_path):
    """An exporter without accounts is ready. It says which shard has an account."""
    keys = Keys(tmp_path / "keys")
    keys.write(NAMES[0])
    owner = owner_of(NAMES[0], SHARDS)
    flags = (f"--telnyx.api-key-files={keys.folder}/*", f"--total-shards={SHARDS}", f"--shard={(owner + 1) % SHARDS}")
    with exporter(tmp_path, *flags, "--telnyx.base-url=http://127.0.0.1:1") as url:
        get(f"{url}/-/ready")  # fails if the status is not 200
        metrics = get(f"{url}/metrics")
        assert "account=" not in metrics
        assert "\ntelnyx_exporter_accounts 0" in metrics
        with pytest.raises(HTTPError) as error:
            get(f"{url}/metrics?account={NAMES[0]}")
        with error.value as response:
            assert (response.status, f"shard {owner}" in response.read().decode()) == (404, True)


def test_each_account_can_be_its_own_target(fleet, tmp_path):
    """With the configurations of docs/scaling.md, each target has the series of its account, and those of the exporter.

    Its `instance` is the account, and the label `account` is not renamed.
    """
    names = names_of(0)[2:4]
    with contextlib.ExitStack() as running:
        urls = []
        for number, config in enumerate(CONFIGS[:2]):  # one job for all accounts, and one for each
            folder = tmp_path / str(number)
            folder.mkdir()
            jobs = config.replace("emea", names[0]).replace("apac", names[1]).replace("2m", "1s")
            jobs = jobs.replace("localhost:10142", fleet.instances[0])
            urls.append(running.enter_context(prometheus(folder, f"global: {{scrape_interval: 1s}}\n{jobs}")))
        for url in urls:
            wait_until(lambda url=url: query(url, "count(telnyx_up == 1) == 2"), "a scrape of both accounts")
            for metric in ("telnyx_up", "count by (job, instance, account) (telnyx_connection_active)"):
                found = [sample["metric"] for sample in query(url, metric)]
                assert sorted((each["job"], each["instance"], each["account"]) for each in found) == [
                    ("telnyx", name, name) for name in names
                ]
            found = query(url, "telnyx_exporter_accounts")
            assert sorted(sample["metric"]["instance"] for sample in found) == names
            assert query(url, '{exported_account!=""}') == []
