"""Every query of every dashboard, on a real Prometheus that scrapes two replicas of the exporter."""

import contextlib
import copy
import itertools
import json
import re
import time
from types import SimpleNamespace

import pytest
from grafana_files import PANELS, SHOW, TARGETS, VARIABLES, links, substitute_variables
from programs import exporter, get_json, prometheus, sandbox, wait_until
from read_once import READ_ONCE, has_read_everything

from exporter.sandbox import Account

KEY = "KEY-of-tests"
PROFILES = "/outbound_voice_profiles"
EXPORTER_PANELS = {
    f"telnyx-exporter: {title}": reason
    for title, reason in {
        "Exporter": "whether all exporters are up",
        "API": "whether all exporters can read Telnyx",
        "Snapshot age over time": "a line for each exporter",
        "Snapshot age": "the oldest list of all exporters",
        "Rate limit left": "each exporter sees what is left after its own request",
        "Version": "the versions of all exporters",
        "Configuration": "whether all exporters use their present configuration",
        "Configuration loaded": "the exporter that loaded its configuration first",
        "Uptime": "the exporter that started last",
        "Rate limit resets": "the latest reset that Telnyx stated to any exporter",
        "Requests by status": "the requests of all exporters add up to the load on Telnyx",
        "Request duration": "the requests of all exporters",
        "Failed refreshes by reason": "the refreshes of all exporters",
        "Refreshes": "the refreshes of all exporters add up to the load on Telnyx",
        "Refresh duration": "a line for each exporter",
        "Rate limit": "a line for each exporter",
        "Cache hits and stale responses": "the scrapes of all exporters",
        "Memory": "a line for each exporter",
        "CPU": "a line for each exporter",
        "File descriptors": "a line for each exporter",
        "Accounts": "a row for each exporter and account",
        "Accounts down": "an account counts if any exporter can't read it",
        "Failed refreshes by account": "the refreshes of all exporters",
        "API key files": "one exporter without accounts has none",
        "Total shards": "one exporter without accounts has none",
        "Shards": "a row for each exporter",
        "Accounts by exporter": "a line for each exporter",
    }.items()
} | {
    "telnyx-trunks: Collectors": "a row for each exporter and collector",
    "telnyx-trunks: Age of the data": "the oldest data of all exporters",
    "telnyx-trunks: Duration of the refresh": "the slowest refresh of all exporters",
    "telnyx-trunks: Failed refreshes by collector": "the refreshes of all exporters",
    "telnyx-trunks: Failed refreshes by reason": "the refreshes of all exporters",
}
"""Panels about exporters instead of connections. Their results depend on the number of replicas, for these reasons."""

QUERIES = {
    name: promql
    for name, (promql, _) in TARGETS.items()
    if name.rpartition(" ")[0] not in EXPORTER_PANELS and not name.endswith("rows left out A")
}
CONNECTION_QUERIES = {name for name, promql in QUERIES.items() if "$connection" in promql}
GRAPH_QUERIES = {
    name for name in QUERIES.keys() - CONNECTION_QUERIES if PANELS[name.rpartition(" ")[0]]["type"] == "timeseries"
}
LIST_QUERIES = [promql for promql in QUERIES.values() if "$show" in promql]
COUNTED_BY_TELNYX = {
    f"telnyx-money: {name}" for name in ("Connections by kind A", "Connection limit used A", "Profiles G")
} | {f"telnyx-money: Limits of connections {ref}" for ref in "AC"}
"""Queries for numbers of connections as Telnyx counts them, which do not include a removed connection."""
CHANGES = ("renamed", "disabled", "limited", "removed")
"""Changes of a connection after only one of the replicas had read it."""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Run exporters that read Telnyx only once, and a Prometheus with a job for each combination of them.

    Job `one` has one exporter, and `two` has two that agree. In `disagreeing`, one of the two read Telnyx after the
    changes; `newer` has only that one. Job `merged` has one exporter with the data that users should see if replicas
    disagree: all changes except the removal, which only one of the two knows of. A profile is renamed and disabled.
    """
    folder = tmp_path_factory.mktemp("replicas")
    account = Account(30, step=None)
    account.add(inbound="not an object")
    old = {"active": True, "encrypted_media": "SRTP", "outbound": {"channel_limit": 10}, "tags": ["a"]}
    changed = SimpleNamespace(**{name: account.add(**old) for name in CHANGES})
    with contextlib.ExitStack() as running:

        def start(account):
            """Start an exporter, wait until it has read this account, and return its address."""
            exporter_folder = folder / str(len(list(folder.iterdir())))
            exporter_folder.mkdir()
            api = running.enter_context(sandbox(account, KEY))
            flags = (f"--telnyx.base-url={api}", *READ_ONCE)
            url = running.enter_context(exporter(exporter_folder, *flags, TELNYX_API_KEY=KEY))
            wait_until(lambda: has_read_everything(url), "the first refreshes")
            return url.removeprefix("http://")

        first, second = start(account), start(account)
        account.update(changed.renamed["id"], connection_name="a new name")
        account.update(changed.disabled["id"], active=False)
        account.update(changed.limited["id"], outbound={"channel_limit": 5}, inbound={"channel_limit": None})
        account[PROFILES].update(account[PROFILES].rows[0]["id"], name="a new profile", enabled=False)
        merged = start(copy.deepcopy(account))
        account.remove(changed.removed["id"])
        third = start(account)
        jobs = {"one": [first], "two": [first, second], "disagreeing": [first, third], "newer": [third]}
        jobs |= {"merged": [merged]}
        scrape = [
            {"job_name": job, "scrape_interval": "1s", "static_configs": [{"targets": targets}]}
            for job, targets in jobs.items()
        ]
        url = running.enter_context(prometheus(folder, json.dumps({"scrape_configs": scrape})))

        def query(promql, job, **variables):
            """Return the values of a query by labels. All queries use the same evaluation time."""
            response = get_json(
                f"{url}/api/v1/query", query=substitute_variables(promql, job=job, **variables), time=query_time
            )
            samples = response["data"]["result"]
            values = {tuple(sorted(sample["metric"].items())): float(sample["value"][1]) for sample in samples}
            assert len(values) == len(samples)
            return values

        def all_scraped():
            found = get_json(f"{url}/api/v1/query", query="count(count_over_time(telnyx_up[1m]) > 12)")["data"][
                "result"
            ]
            return found and int(found[0]["value"][1]) == sum(map(len, jobs.values()))

        wait_until(all_scraped, "a dozen scrapes of each exporter")
        query_time = time.time() - 1
        yield SimpleNamespace(query=query, changed=changed)


@pytest.mark.parametrize("name", QUERIES)
def test_two_replicas_that_agree_show_the_same_as_one(replicas, name):
    """A second replica changes no number, adds no row, and breaks no query."""
    connection = replicas.changed.limited["id"]
    expected = replicas.query(QUERIES[name], "one", connection=connection)
    assert replicas.query(QUERIES[name], "two", connection=connection) == expected


@pytest.mark.parametrize("show", SHOW)
def test_a_headline_number_equals_the_number_of_its_rows(replicas, show):
    """A headline number equals the number of rows after a click on it, even if the replicas disagree."""
    stats = [panel for panel in PANELS.values() if any(f"var-show={show}&" in link["url"] for link in links(panel))]
    assert stats
    for stat, job in itertools.product(stats, ("one", "two", "disagreeing")):
        ((_, number),) = replicas.query(stat["targets"][0]["expr"], job).items()
        for promql in LIST_QUERIES:
            assert len(replicas.query(promql, job, show=show)) == number
        assert number or show == "changed"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, "renamed") for name in sorted(QUERIES.keys() - GRAPH_QUERIES - CONNECTION_QUERIES)),
        *itertools.product(sorted(CONNECTION_QUERIES), CHANGES),
    ],
)
def test_replicas_that_disagree_show_the_newer_data(replicas, name, change):
    """If one replica is behind, each connection is shown once, with the data of the replica that read Telnyx last."""
    connection = getattr(replicas.changed, change)["id"]
    job = "newer" if name in COUNTED_BY_TELNYX else "merged"
    expected = replicas.query(QUERIES[name], job, connection=connection)
    assert replicas.query(QUERIES[name], "disagreeing", connection=connection) == expected


@pytest.mark.parametrize("name", sorted(GRAPH_QUERIES))
def test_a_graph_line_stays_between_the_replicas(replicas, name):
    """If one replica is behind, a line is between the values of the two replicas, and never their sum."""
    shown, older, newer = (replicas.query(QUERIES[name], job) for job in ("disagreeing", "one", "newer"))
    assert shown.keys() == older.keys() | newer.keys()
    for labels, value in shown.items():
        values = [found[labels] for found in (older, newer) if labels in found]
        assert min(values) <= value <= max(values)


def test_the_variable_lists_a_renamed_connection_once(replicas):
    """A connection that one replica still exposes under its old name is only listed under the new one."""
    promql = re.fullmatch(r"query_result\((.+)\)", VARIABLES["telnyx-connection: connection"]["query"]["query"])[1]
    assert replicas.query(promql, "disagreeing") == replicas.query(promql, "merged")


def test_exporter_panels_exist():
    """All panels in `EXPORTER_PANELS` exist."""
    assert EXPORTER_PANELS.keys() <= PANELS.keys()
