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

from exporter.sandbox import Account

KEY = "KEY-of-tests"
OF_EACH_EXPORTER = {
    f"telnyx-exporter: {title}": reason
    for title, reason in {
        "Exporter": "whether all exporters are up",
        "API": "whether all exporters can read Telnyx",
        "Snapshot age": "the oldest list of all exporters",
        "Rate limit left": "each exporter sees what is left after its own request",
        "Version": "the versions of all exporters",
        "Requests by status": "the requests of all exporters add up to the load on Telnyx",
        "Request duration": "the requests of all exporters",
        "Failed refreshes by reason": "the refreshes of all exporters",
        "Refreshes": "the refreshes of all exporters add up to the load on Telnyx",
        "Refresh duration": "a line for each exporter",
        "Rate limit": "a line for each exporter",
        "Scrapes by what the cache had": "the scrapes of all exporters",
        "Memory": "a line for each exporter",
        "CPU": "a line for each exporter",
        "File descriptors": "a line for each exporter",
    }.items()
}
"""Panels about exporters and not about connections, which show more with more of them, and what they show."""

QUERIES = {
    name: promql
    for name, (promql, _) in TARGETS.items()
    if name.rpartition(" ")[0] not in OF_EACH_EXPORTER and not name.endswith("rows not shown A")
}
OF_ONE = {name for name, promql in QUERIES.items() if "$connection" in promql}
GRAPHS = {name for name in QUERIES.keys() - OF_ONE if PANELS[name.rpartition(" ")[0]]["type"] == "timeseries"}
LISTS = [promql for promql in QUERIES.values() if "$show" in promql]
CHANGES = ("renamed", "disabled", "limited", "removed")
"""What happened to a connection after one of the replicas had read it."""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Run replicas of an exporter that never read Telnyx again, and a Prometheus with a job for each constellation.

    Job `one` is one exporter and `two` are two that agree. In `disagreeing`, one of the two read Telnyx after changes.
    Job `merged` is one exporter whose account is what a person should see then: the changes, but not the removal, which
    only one of the two knows of.
    """
    folder = tmp_path_factory.mktemp("replicas")
    account = Account(30, step=None)
    account.add(inbound="not an object")
    old = {"active": True, "encrypted_media": "SRTP", "outbound": {"channel_limit": 10}, "tags": ["a"]}
    changed = SimpleNamespace(**{name: account.add(**old) for name in CHANGES})
    with contextlib.ExitStack() as running:

        def start(account):
            """Return the address of a new exporter that has read this account."""
            place = folder / str(len(list(folder.iterdir())))
            place.mkdir()
            api = running.enter_context(sandbox(account, KEY))
            flags = (f"--telnyx.base-url={api}", "--cache.ttl=1h", "--cache.max-stale=2h")
            url = running.enter_context(exporter(place, *flags, TELNYX_API_KEY=KEY))
            wait_until(lambda: "refreshed" in (place / "exporter.log").read_text(), "the first list")
            return url.removeprefix("http://")

        first, second = start(account), start(account)
        account.update(changed.renamed["id"], connection_name="a new name")
        account.update(changed.disabled["id"], active=False)
        account.update(changed.limited["id"], outbound={"channel_limit": 5}, inbound={"channel_limit": None})
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

        def ask(promql, job, **variables):
            """Return the samples of a query at one moment, as values by labels without the target's own."""
            answer = get_json(
                f"{url}/api/v1/query", query=substitute_variables(promql, job=job, **variables), time=moment
            )
            samples = answer["data"]["result"]
            found = {tuple(sorted(sample["metric"].items())): float(sample["value"][1]) for sample in samples}
            assert len(found) == len(samples)
            return found

        def all_there():
            found = get_json(f"{url}/api/v1/query", query="count(count_over_time(telnyx_up[1m]) > 12)")["data"][
                "result"
            ]
            return found and int(found[0]["value"][1]) == sum(map(len, jobs.values()))

        wait_until(all_there, "a dozen scrapes of each")
        moment = time.time() - 1
        yield SimpleNamespace(ask=ask, changed=changed)


@pytest.mark.parametrize("name", QUERIES)
def test_two_replicas_that_agree_show_what_one_shows(replicas, name):
    """A second replica changes no number, adds no row, and makes no query fail."""
    connection = replicas.changed.limited["id"]
    expected = replicas.ask(QUERIES[name], "one", connection=connection)
    assert replicas.ask(QUERIES[name], "two", connection=connection) == expected


@pytest.mark.parametrize("show", SHOW)
def test_a_headline_number_is_the_number_of_its_rows(replicas, show):
    """What a number at the top counts is what the list shows after a click on it, with replicas that disagree, too."""
    (stat,) = (panel for panel in PANELS.values() if any(f"var-show={show}&" in link["url"] for link in links(panel)))
    for job in ("one", "two", "disagreeing"):
        ((_, number),) = replicas.ask(stat["targets"][0]["expr"], job).items()
        for promql in LISTS:
            assert len(replicas.ask(promql, job, show=show)) == number
        assert number or show == "changed"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        *((name, "renamed") for name in sorted(QUERIES.keys() - GRAPHS - OF_ONE)),
        *itertools.product(sorted(OF_ONE), CHANGES),
    ],
)
def test_replicas_that_disagree_show_the_newer_reading(replicas, name, what):
    """Where one replica is behind, each connection is shown once, as the replica that read Telnyx last sees it."""
    connection = getattr(replicas.changed, what)["id"]
    expected = replicas.ask(QUERIES[name], "merged", connection=connection)
    assert replicas.ask(QUERIES[name], "disagreeing", connection=connection) == expected


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_a_line_of_a_graph_is_what_one_of_the_replicas_says(replicas, name):
    """Where one replica is behind, a line never adds both up, and is not above or below what either of them counts."""
    shown, older, newer = (replicas.ask(QUERIES[name], job) for job in ("disagreeing", "one", "newer"))
    assert shown.keys() == older.keys() | newer.keys()
    for labels, value in shown.items():
        said = [found[labels] for found in (older, newer) if labels in found]
        assert min(said) <= value <= max(said)


def test_a_connection_can_be_chosen_once(replicas):
    """A connection that one replica still shows under its old name is one choice, under the new one."""
    promql = re.fullmatch(r"query_result\((.+)\)", VARIABLES["telnyx-connection: connection"]["query"]["query"])[1]
    assert replicas.ask(promql, "disagreeing") == replicas.ask(promql, "merged")


def test_panels_about_exporters_are_panels():
    """The exceptions above are about panels that exist."""
    assert OF_EACH_EXPORTER.keys() <= PANELS.keys()
