"""Every query of every dashboard, on a real Prometheus, for exporters of one account and of several."""

import contextlib
import json
import math
import re
import time
from types import SimpleNamespace

import pytest
from account_labels import merge_accounts, serve_metrics
from grafana_display import grafana_display
from grafana_files import PANELS, TARGETS, VARIABLES, substitute_variables
from programs import exporter, get, get_json, prometheus, sandbox, wait_until
from read_once import READ_ONCE, has_read_everything

from exporter.sandbox import Account

KEY = "KEY-of-tests"
SELECTIONS = {"All": ".*", "one": "one", "two": "two", "both": "(one|two)", "none": "another"}
"""How Grafana sends a selection of accounts."""

QUERIES = {name: promql for name, (promql, _) in TARGETS.items()}
SHARD_QUERIES = {name for name, promql in QUERIES.items() if re.search("telnyx_exporter_(shard|total|acc|api)", promql)}
"""Queries for metrics that only an exporter of several accounts has."""
OF_EXPORTERS = {
    name
    for name, promql in QUERIES.items()
    if re.search(r"\b(up|process_\w+|telnyx_exporter_(?!cache|stale)\w+){", promql) and "$account" not in promql
}
"""Queries that have nothing to do with accounts."""
WITH_ACCOUNTS = {
    name
    for name, panel in PANELS.items()
    if panel["type"] == "table" and "account" in panel["transformations"][-1]["options"]["renameByName"]
}
"""Tables with a column for the account."""
BY_EXPORTER = {
    name for name, promql in QUERIES.items() if name.startswith("telnyx-exporter:") or "instance) (" in promql
}
"""Queries about exporters. Their results depend on the number of exporters."""
QUANTILES = {f"telnyx-exporter: Request duration {ref}" for ref in "ABC"}
RATIOS = {f"telnyx-exporter: Cache hits and stale responses {ref}" for ref in "AB"}
"""A number for all accounts is one of theirs, or their sum. These are neither: they depend on all samples."""


@pytest.fixture(scope="module")
def accounts(tmp_path_factory):
    """Run two exporters that read different accounts once, and a Prometheus.

    In job `single`, the first exporter has no account names. In `several`, one exporter has both accounts, and in
    `twice`, one account under two names. In `replicas`, two exporters have both accounts. In `shards`, each of two has
    one, and a third has none.
    """
    folder = tmp_path_factory.mktemp("accounts")
    with contextlib.ExitStack() as running:
        display = running.enter_context(grafana_display())

        def read(account):
            """Return the metrics of an exporter that has read this account."""
            exporter_folder = folder / str(len(list(folder.iterdir())))
            exporter_folder.mkdir()
            api = running.enter_context(sandbox(account, KEY))
            url = running.enter_context(
                exporter(exporter_folder, f"--telnyx.base-url={api}", *READ_ONCE, TELNYX_API_KEY=KEY)
            )
            wait_until(lambda: has_read_everything(url), "the first refreshes")
            return get(f"{url}/metrics")

        def serve(text):
            return running.enter_context(serve_metrics(lambda: text))

        def serve_accounts(*, ordinal=0, total=1, files=2, **texts):
            return serve(merge_accounts(texts, ordinal=ordinal, total=total, files=files))

        first, second = Account(20, step=None), Account(33, step=None, seed=1)
        first["/outbound_voice_profiles"].add(id="17", name="the profile", enabled=True)
        outbound = {"channel_limit": 10, "outbound_voice_profile_id": "17"}
        connection = first.add(active=False, encrypted_media="SRTP", outbound=outbound, tags=["a"])
        one, two = read(first), read(second)
        jobs = {
            "single": [serve(one)],
            "several": [serve_accounts(one=one, two=two)],
            "twice": [serve_accounts(one=one, two=one)],
            "replicas": [serve_accounts(one=one, two=two) for _ in range(2)],
            "shards": [
                serve_accounts(ordinal=0, total=3, one=one),
                serve_accounts(ordinal=1, total=3, two=two),
                serve_accounts(ordinal=2, total=3),
            ],
        }
        scrape = [
            {"job_name": job, "scrape_interval": "1s", "static_configs": [{"targets": targets}]}
            for job, targets in jobs.items()
        ]
        url = running.enter_context(prometheus(folder, json.dumps({"scrape_configs": scrape})))

        def query(promql, job, selection="All", **variables):
            """Return the values of a query by labels, all at the same time. NaN is no value."""
            promql = substitute_variables(
                promql, job=job, account=SELECTIONS[selection], connection=connection["id"], **variables
            )
            samples = get_json(f"{url}/api/v1/query", query=promql, time=query_time)["data"]["result"]
            values = {tuple(sorted(sample["metric"].items())): float(sample["value"][1]) for sample in samples}
            assert len(values) == len(samples)
            return {labels: value for labels, value in values.items() if not math.isnan(value)}

        def all_scraped():
            found = get_json(f"{url}/api/v1/query", query="count(count_over_time(up[1m]) > 13)")["data"]["result"]
            return found and int(found[0]["value"][1]) == sum(map(len, jobs.values()))

        wait_until(all_scraped, "a dozen scrapes of each exporter")
        query_time = time.time() - 1

        def render(panel, job, selection="All"):
            """Return the rows of a table, or the values of another panel, as Grafana shows them."""
            results = {
                target["refId"]: [
                    {"metric": dict(labels), "value": [query_time, str(value)]}
                    for labels, value in query(target["expr"], job, selection).items()
                ]
                for target in panel["targets"]
            }
            return display(panel, results, query_time, account=selection)

        yield SimpleNamespace(query=query, render=render, jobs=jobs)


def without(values, *names):
    """Return the values without these labels, and without the setting that names the account."""
    values = {labels: value for labels, value in values.items() if ("setting", "Account") not in labels}
    stripped = {tuple((name, value) for name, value in labels if name not in names): v for labels, v in values.items()}
    assert len(stripped) == len(values)
    return stripped


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - SHARD_QUERIES))
def test_a_selected_account_is_shown_as_if_it_were_the_only_one(accounts, name):
    """With one account selected, each query returns what it returns for an exporter of only this account."""
    expected = accounts.query(QUERIES[name], "single")
    selected = accounts.query(QUERIES[name], "several", "one")
    assert without(selected, "account", "instance").keys() == without(expected, "instance").keys()
    if name not in OF_EXPORTERS | QUANTILES | RATIOS:
        assert without(selected, "account", "instance") == pytest.approx(without(expected, "instance"), rel=1e-6)
    assert not any("account" in dict(labels) for labels in expected)
    assert not any(("setting", "Account") in labels for labels in expected)
    assert {dict(labels)["account"] for labels in selected if "account" in dict(labels)} <= {"one"}


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_all_accounts_are_shown(accounts, name):
    """All accounts, or both selected, show the rows of each account, and numbers that are made of theirs."""
    everything = accounts.query(QUERIES[name], "several")
    assert accounts.query(QUERIES[name], "several", "both") == everything
    one, two = (accounts.query(QUERIES[name], "several", selection) for selection in ("one", "two"))
    if name in OF_EXPORTERS | SHARD_QUERIES:
        assert one == two == everything
    by_account = {labels for labels in everything if "account" in dict(labels)}
    assert {labels: everything[labels] for labels in by_account} == {
        labels: value for values in (one, two) for labels, value in values.items() if labels in by_account
    }
    for labels, value in everything.items():
        values = [found[labels] for found in (one, two) if labels in found]
        assert values
        if name not in QUANTILES | RATIOS:
            assert value in {*values, sum(values)}


@pytest.mark.parametrize("name", sorted(QUERIES.keys() - OF_EXPORTERS - SHARD_QUERIES))
def test_an_account_that_does_not_exist_shows_nothing(accounts, name):
    """A query about accounts returns nothing for an account that does not exist, or that has no name."""
    assert accounts.query(QUERIES[name], "several", "none") == {}
    assert accounts.query(QUERIES[name], "single", "none") == {}


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_two_keys_of_one_account_break_no_query(accounts, name):
    """If two files have keys of the same account, every query is valid, and each connection has one row."""
    rows = accounts.query(QUERIES[name], "twice")
    ids = [dict(labels).get("connection_id") for labels in rows]
    if name.startswith("telnyx-connections: Connections"):
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("job", ["replicas", "shards"])
@pytest.mark.parametrize("name", sorted(QUERIES.keys() - BY_EXPORTER))
def test_accounts_are_shown_once(accounts, name, job):
    """Each account is shown once, whether replicas or shards read them."""
    assert accounts.query(QUERIES[name], job) == accounts.query(QUERIES[name], "several")


def test_the_variable_lists_the_accounts(accounts):
    """The variable lists the accounts of the selected exporters, and none if no account has a name."""
    for variable in (variable for name, variable in VARIABLES.items() if name.endswith(": account")):
        promql, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
        for job, names in {"single": {None}, "several": {"one", "two"}, "shards": {"one", "two"}}.items():
            assert {dict(labels).get(label) for labels in accounts.query(promql, job)} == names


def test_an_empty_shard_can_be_selected(accounts):
    """The variable for the exporter lists a shard without accounts, too."""
    promql, label = re.fullmatch(
        r"label_values\((.+), (\w+)\)", VARIABLES["telnyx-exporter: instance"]["query"]["query"]
    ).groups()
    for job, targets in accounts.jobs.items():
        assert {dict(labels)[label] for labels in accounts.query(promql, job)} == set(targets)


def test_shards_are_shown(accounts):
    """The exporter dashboard shows each shard and its accounts."""
    columns = [
        accounts.query(target["expr"], "shards")[(("instance", accounts.jobs["shards"][number]),)]
        for number in range(3)
        for target in PANELS["telnyx-exporter: Shards"]["targets"]
    ]
    assert columns == [*(0, 3, 1, 2), *(1, 3, 1, 2), *(2, 3, 0, 2)]
    for title, value in {
        "API key files": 2,
        "Accounts with an exporter": 2,
        "Total shards": 3,
        "Accounts down": 0,
    }.items():
        assert accounts.query(QUERIES[f"telnyx-exporter: {title} B"], "shards") == {(): value}


def test_exporters_without_accounts_have_no_shards(accounts):
    """Without --telnyx.api-key-files, the panels about shards have no data."""
    for name in SHARD_QUERIES:
        assert accounts.query(QUERIES[name], "single") == {}


@pytest.mark.parametrize("name", sorted(name for name in WITH_ACCOUNTS if not name.endswith(": Alerts")))
def test_a_table_names_the_accounts(accounts, name):
    """A table shows the account of each row, and has no such column if the accounts have no names."""
    panel = PANELS[name]
    shown = {row["Account"]["text"] for row in accounts.render(panel, "several")}
    if shown or QUERIES[f"{name} A"].count("changes("):
        assert shown <= {"one", "two"}
    else:
        assert "Account" not in str(accounts.render(panel, "several"))
    for row in accounts.render(panel, "single"):
        assert "Account" not in row


def test_the_lowest_credit_names_its_account(accounts):
    """The credit at the top is the lowest of the selected accounts, with its name, and without one if there is none."""
    panel = PANELS["telnyx-money: Available credit"]
    table = PANELS["telnyx-money: Balance"]
    for selection, names in {"All": {"one", "two"}, "two": {"two"}}.items():
        rows = accounts.render(table, "several", selection)
        assert {row["Account"]["text"] for row in rows} == names
        lowest = min(rows, key=lambda row: float(row["Available credit"]["text"].replace(",", "")))
        (value,) = accounts.render(panel, "several", selection)
        assert value["text"] == lowest["Available credit"]["text"]
        assert value["name"] == f"{lowest['Currency']['text']} {lowest['Account']['text']}"
    (value,) = accounts.render(panel, "single")
    assert re.fullmatch(r"[A-Z]{3}", value["name"].strip())
