from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.build import BUILD_INFO
from exporter.cache import Entry
from exporter.exposition.formats import Format
from exporter.exposition.own_metrics import family_name
from exporter.server.incidents import ConnectionClosed, HandshakeFailed, RequestRefused
from exporter.telemetry import Telemetry
from exporter.telnyx.http.responses import RateLimit

REASONS = (
    "unauthorized",
    "forbidden",
    "not_found",
    "rate_limited",
    "timeout",
    "connection",
    "tls",
    "proxy",
    "server_error",
    "bad_request",
    "malformed",
    "internal",
)
INCIDENTS = {
    "telnyx_exporter_connections_closed_total": ConnectionClosed,
    "telnyx_exporter_requests_refused_total": RequestRefused,
    "telnyx_exporter_tls_handshake_failures_total": HandshakeFailed,
}
BUILD = ("telnyx_exporter_build_info", *sorted(BUILD_INFO.items()))
BUCKETS = ("0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "20.0", "+Inf")
FAMILIES = {
    "telnyx_up": ("gauge", ()),
    "telnyx_last_success_timestamp_seconds": ("gauge", ()),
    "telnyx_refresh_duration_seconds": ("gauge", ()),
    "telnyx_refreshes_total": ("counter", ()),
    "telnyx_refresh_failures_total": ("counter", ("reason",)),
    "telnyx_api_requests_total": ("counter", ("code",)),
    "telnyx_api_request_duration_seconds": ("histogram", ("le",)),
    "telnyx_api_rate_limit": ("gauge", ()),
    "telnyx_api_rate_limit_remaining": ("gauge", ()),
    "telnyx_api_rate_limit_reset_timestamp_seconds": ("gauge", ()),
    "telnyx_exporter_config_last_reload_successful": ("gauge", ()),
    "telnyx_exporter_config_last_reload_success_timestamp_seconds": ("gauge", ()),
    "telnyx_exporter_shard_ordinal": ("gauge", ()),
    "telnyx_exporter_total_shards": ("gauge", ()),
    "telnyx_exporter_accounts": ("gauge", ()),
    "telnyx_exporter_api_key_files": ("gauge", ()),
    "telnyx_exporter_cache_ttl_seconds": ("gauge", ()),
    "telnyx_exporter_cache_max_stale_seconds": ("gauge", ()),
    "telnyx_list_restarts_total": ("counter", ()),
    "telnyx_exporter_cache_requests_total": ("counter", ()),
    "telnyx_exporter_cache_hits_total": ("counter", ()),
    "telnyx_exporter_stale_responses_total": ("counter", ()),
    "telnyx_exporter_connections_closed_total": ("counter", ("reason",)),
    "telnyx_exporter_requests_refused_total": ("counter", ("reason",)),
    "telnyx_exporter_tls_handshake_failures_total": ("counter", ("reason",)),
    "telnyx_exporter_build_info": ("info", ("arch", "builddate", "os", "pythonversion", "revision", "version")),
}


@pytest.fixture
def telemetry():
    """Return telemetry without metrics about the process and the runtime."""
    return Telemetry(process=False)


def series(telemetry):
    """Return the value of each series by its name and labels."""
    families = parse_text(telemetry.render(Format.TEXT).decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def changes(telemetry, action):
    """Call `action` and return the series that it changes, with their new values."""
    before = series(telemetry)
    action()
    return {name: value for name, value in series(telemetry).items() if before.get(name) != value}


def single_series(name, value, **labels):
    """Return a single series."""
    return {(name, *sorted(labels.items())): value}


def test_initial_values(telemetry):
    """At the start, counters are exposed as 0, for every reason, and values that are not known yet are not exposed."""
    zeros = (
        "telnyx_up",
        "telnyx_refreshes_total",
        "telnyx_list_restarts_total",
        "telnyx_exporter_cache_requests_total",
        "telnyx_exporter_cache_hits_total",
        "telnyx_exporter_stale_responses_total",
        "telnyx_api_request_duration_seconds_count",
        "telnyx_api_request_duration_seconds_sum",
    )
    assert series(telemetry) == {
        **{(name,): 0 for name in zeros},
        **{("telnyx_refresh_failures_total", ("reason", reason)): 0 for reason in REASONS},
        **{(name, ("reason", reason.value)): 0 for name, reasons in INCIDENTS.items() for reason in reasons},
        **{("telnyx_api_request_duration_seconds_bucket", ("le", bound)): 0 for bound in BUCKETS},
        BUILD: 1,
    }


def populated_telemetry(*accounts):
    """Return telemetry with enough recorded events that every family has a sample, by default of the only account."""
    telemetry = Telemetry(process=False, accounts=bool(accounts))
    for account in accounts or ("",):
        telemetry.account(account).record_request("200", 0.3)
        telemetry.account(account).record_refresh(1.5, 1_517_610_327.5)
        telemetry.account(account).record_rate_limit(RateLimit(100.0, 99.0, 1_517_610_400.0))
        telemetry.account(account).record_cache_settings(30.0, 600.0)
    telemetry.record_config_loaded("settings", 1_517_610_300.0)
    telemetry.record_shard(1, 3)
    telemetry.record_key_files(7, 2)
    return telemetry


def test_families():
    """The metrics about the exporter are exactly these, with these labels. Each help text is one sentence."""
    found = {}
    for family in parse_openmetrics(populated_telemetry().render(Format.OPENMETRICS).decode()):
        labels = {label for sample in family.samples for label in sample.labels}
        found[family_name(family)] = (family.type, tuple(sorted(labels)))
        assert family.documentation.endswith(".")
    assert found == FAMILIES


def test_success(telemetry):
    """A successful refresh is counted. It sets `telnyx_up`, its time and its duration."""
    assert changes(telemetry, lambda: telemetry.account().record_refresh(1.5, 1_517_610_327.5)) == {
        ("telnyx_up",): 1,
        ("telnyx_last_success_timestamp_seconds",): 1_517_610_327.5,
        ("telnyx_refresh_duration_seconds",): 1.5,
        ("telnyx_refreshes_total",): 1,
    }


@pytest.mark.parametrize("reason", REASONS)
def test_failure(telemetry, reason):
    """A failed refresh is counted in total and by reason. It clears `telnyx_up`, but not the last success time."""
    telemetry.account().record_refresh(1.5, 1_517_610_327.5)
    assert changes(telemetry, lambda: telemetry.account().record_refresh_failure(2.5, reason)) == {
        ("telnyx_up",): 0,
        ("telnyx_refresh_duration_seconds",): 2.5,
        ("telnyx_refreshes_total",): 2,
        ("telnyx_refresh_failures_total", ("reason", reason)): 1,
    }
    assert series(telemetry)["telnyx_last_success_timestamp_seconds",] == 1_517_610_327.5


@pytest.mark.parametrize(
    ("name", "reason"), [(name, reason) for name, reasons in INCIDENTS.items() for reason in reasons]
)
def test_incident(telemetry, name, reason):
    """An incident that a client of the exporter caused is counted by reason."""
    assert changes(telemetry, lambda: telemetry.count_incident(reason)) == {(name, ("reason", reason.value)): 1}


SUCCESSFUL = ("telnyx_exporter_config_last_reload_successful",)
SUCCEEDED_AT = ("telnyx_exporter_config_last_reload_success_timestamp_seconds",)


def test_configuration(telemetry):
    """Configuration that was never loaded has no metrics. An invalid one keeps the time of the last valid one."""
    telemetry.record_config_error("web")
    assert not any("config" in name for name, *_ in series(telemetry))
    assert changes(telemetry, lambda: telemetry.record_config_loaded("web", 1e9)) == {SUCCESSFUL: 1, SUCCEEDED_AT: 1e9}
    assert changes(telemetry, lambda: telemetry.record_config_error("web")) == {SUCCESSFUL: 0}


def test_configuration_is_valid_if_all_sources_are(telemetry):
    """A source that becomes valid again doesn't hide another one that is invalid."""
    telemetry.record_config_loaded("settings", 1e9)
    telemetry.record_config_error("settings")
    telemetry.record_config_error("web")
    assert changes(telemetry, lambda: telemetry.record_config_loaded("web", 2e9)) == {SUCCEEDED_AT: 2e9}
    assert changes(telemetry, lambda: telemetry.record_config_loaded("settings", 3e9)) == {
        SUCCESSFUL: 1,
        SUCCEEDED_AT: 3e9,
    }


def test_cache_settings(telemetry):
    """The cache settings are exposed in seconds, so that alerts and dashboards can use them instead of a copy."""
    assert changes(telemetry, lambda: telemetry.account().record_cache_settings(30.0, 1800.0)) == {
        ("telnyx_exporter_cache_ttl_seconds",): 30.0,
        ("telnyx_exporter_cache_max_stale_seconds",): 1800.0,
    }


def test_reset_of_refresh_metrics(telemetry):
    """A reset clears the metrics of the last refresh. Counters and configuration metrics keep their values."""
    telemetry.record_config_loaded("settings", 1e9)
    telemetry.account().record_cache_settings(30.0, 600.0)
    telemetry.account().record_rate_limit(RateLimit(1.0, 1.0, 1.0))
    telemetry.record_config_error("web")
    before = series(telemetry)
    telemetry.account().record_refresh(1.0, 1e9)
    telemetry.account().reset_refresh_metrics()
    after = series(telemetry)
    assert after.pop(("telnyx_refreshes_total",)) == 1
    excluded = {("telnyx_api_rate_limit",), ("telnyx_api_rate_limit_remaining",)}
    excluded |= {("telnyx_api_rate_limit_reset_timestamp_seconds",), ("telnyx_refreshes_total",)}
    assert after == {name: value for name, value in before.items() if name not in excluded}


def test_filter_can_change():
    """A new filter changes which metrics are exposed. Counters keep their values."""
    telemetry = Telemetry(process=False)
    telemetry.account().record_refresh(1.0, 1e9)
    telemetry.set_filter("telnyx_refreshes_total".__eq__)
    assert series(telemetry) == {("telnyx_up",): 1, ("telnyx_refreshes_total",): 1, BUILD: 1}


def test_failure_before_the_first_success(telemetry):
    """Until a refresh succeeds, the time of the last success is not exposed."""
    telemetry.account().record_refresh_failure(2.5, "timeout")
    assert ("telnyx_last_success_timestamp_seconds",) not in series(telemetry)


def test_request(telemetry):
    """A request is counted by its status code, and its duration is observed."""
    assert changes(telemetry, lambda: telemetry.account().record_request("200", 0.3)) == {
        ("telnyx_api_requests_total", ("code", "200")): 1,
        ("telnyx_api_request_duration_seconds_count",): 1,
        ("telnyx_api_request_duration_seconds_sum",): 0.3,
        **{("telnyx_api_request_duration_seconds_bucket", ("le", bound)): 1 for bound in BUCKETS[3:]},
    }
    telemetry.account().record_request("none", 20.0)
    telemetry.account().record_request("200", 0.0)
    assert {name: value for name, value in series(telemetry).items() if name[0] == "telnyx_api_requests_total"} == {
        ("telnyx_api_requests_total", ("code", "200")): 2,
        ("telnyx_api_requests_total", ("code", "none")): 1,
    }


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(RateLimit(), {}, id="unknown"),
        pytest.param(RateLimit(limit=100.0), single_series("telnyx_api_rate_limit", 100), id="limit"),
        pytest.param(
            RateLimit(remaining=0.0), single_series("telnyx_api_rate_limit_remaining", 0), id="none-remaining"
        ),
        pytest.param(
            RateLimit(reset=1_517_610_400.0),
            single_series("telnyx_api_rate_limit_reset_timestamp_seconds", 1_517_610_400),
            id="reset",
        ),
    ],
)
def test_rate_limit_is_exposed_once_known(telemetry, limit, expected):
    """Only the parts of the rate limit that Telnyx has stated are exposed."""
    assert changes(telemetry, lambda: telemetry.account().record_rate_limit(limit)) == expected
    assert telemetry.rate_limit("") == limit
    assert telemetry.rate_limit("unknown") == RateLimit()
    assert "unknown" not in telemetry._accounts


def test_list_restart(telemetry):
    """A restart of reading the list is counted."""
    assert changes(telemetry, telemetry.account().record_list_restart) == single_series("telnyx_list_restarts_total", 1)


REQUEST = single_series("telnyx_exporter_cache_requests_total", 1)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(
            Entry("data", 5.0, stale=False, error=None, hit=True),
            {**REQUEST, **single_series("telnyx_exporter_cache_hits_total", 1)},
            id="fresh",
        ),
        pytest.param(Entry("data", 0.0, stale=False, error=None, hit=False), REQUEST, id="refreshed"),
        pytest.param(
            Entry("data", 90.0, stale=True, error=None, hit=False),
            {**REQUEST, **single_series("telnyx_exporter_stale_responses_total", 1)},
            id="stale",
        ),
        pytest.param(Entry(None, None, stale=False, error=None, hit=False), REQUEST, id="no-snapshot"),
    ],
)
def test_scrape(telemetry, entry, expected):
    """A query of a cache is counted: as a hit if it found fresh data, and as stale if it got stale data."""
    assert changes(telemetry, lambda: telemetry.account().record_scrape(entry)) == expected


def test_instances_are_independent(telemetry):
    """Two telemetry instances in one process share no state."""
    Telemetry(process=False).account().record_list_restart()
    assert series(telemetry)["telnyx_list_restarts_total",] == 0


# Exposed metrics


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            "process_resident_memory_bytes",
            marks=pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="read from /proc"),
        ),
        "python_info",
        "python_gc_collections_total",
    ],
)
def test_process_and_runtime_are_exposed(name):
    """Metrics about the process and the Python runtime are exposed unless `process` is false."""
    assert name in {found for found, *_ in series(Telemetry())}
    assert name not in {found for found, *_ in series(Telemetry(process=False))}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("telnyx_refreshes_total", {"telnyx_refreshes_total"}, id="counter"),
        pytest.param("telnyx_api_request_duration_seconds", {"telnyx_api_request_duration_seconds"}, id="histogram"),
        pytest.param("python_info", {"python_info"}, id="runtime"),
        pytest.param("telnyx_up", set(), id="up"),
        pytest.param("telnyx_exporter_build_info", set(), id="build"),
        pytest.param("telnyx_refreshes", set(), id="openmetrics-name"),
    ],
)
def test_filter(name, expected):
    """The filter selects metrics by their name in the Prometheus text format. Two metrics are always exposed."""
    always = {"telnyx_up", "telnyx_exporter_build_info"}
    telemetry = Telemetry(is_exposed=lambda found: found == name)
    families = parse_openmetrics(telemetry.render(Format.OPENMETRICS).decode())
    assert {family_name(family) for family in families} == always | expected
    text = telemetry.render(Format.TEXT).decode()
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == always | expected


# Formats


@pytest.mark.parametrize("accounts", [(), ("emea", "us.west-2_b")], ids=["one", "several"])
@pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
def test_formats_parse(form, accounts):
    """Each format can be read by its own parser, and all formats have the same content."""
    parse = parse_openmetrics if form is Format.OPENMETRICS else parse_text
    telemetry = populated_telemetry(*accounts)
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(telemetry.render(form).decode())
        for sample in family.samples
    }
    assert found == series(telemetry)


def test_openmetrics_has_an_end_marker():
    """OpenMetrics ends with `# EOF`, and the Prometheus text formats don't."""
    assert Telemetry().render(Format.OPENMETRICS).endswith(b"\n# EOF\n")
    assert b"# EOF" not in Telemetry().render(Format.TEXT)
    assert b"# EOF" not in Telemetry().render(Format.TEXT_1)


@pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
def test_no_created_series(form):
    """No format has `_created` series, even if other code enabled them. They would double the number of counters."""
    prometheus_client.enable_created_metrics()
    telemetry = Telemetry()
    telemetry.account().record_request("200", 0.3)
    assert b"_created" not in telemetry.render(form)


# Accounts

EXPORTER_WIDE = {
    name for name in FAMILIES if name.startswith("telnyx_exporter_") and "cache" not in name and "stale" not in name
}


def test_the_order_of_families():
    """The order of the families is fixed. Those of the fleet exist only if they are recorded."""
    names = [
        line.split()[2] for line in populated_telemetry().render(Format.TEXT).decode().splitlines() if "# TYPE" in line
    ]
    telemetry = Telemetry(process=False)
    telemetry.record_config_loaded("settings", 1.0)
    assert names[:16] == [
        "telnyx_up",
        "telnyx_last_success_timestamp_seconds",
        "telnyx_refresh_duration_seconds",
        "telnyx_api_rate_limit",
        "telnyx_api_rate_limit_remaining",
        "telnyx_api_rate_limit_reset_timestamp_seconds",
        "telnyx_exporter_config_last_reload_successful",
        "telnyx_exporter_config_last_reload_success_timestamp_seconds",
        "telnyx_exporter_shard_ordinal",
        "telnyx_exporter_total_shards",
        "telnyx_exporter_accounts",
        "telnyx_exporter_api_key_files",
        "telnyx_exporter_cache_ttl_seconds",
        "telnyx_exporter_cache_max_stale_seconds",
        "telnyx_refreshes_total",
        "telnyx_refresh_failures_total",
    ]
    assert names[-1] == "telnyx_exporter_build_info"
    assert not {name for name, *_ in series(telemetry)} & set(names[8:12])


def test_the_label_account():
    """Every series of an account has the label `account`, and no series of the exporter has it."""
    telemetry = populated_telemetry("emea", "apac")
    for family in parse_openmetrics(telemetry.render(Format.OPENMETRICS).decode()):
        expected = {None} if family_name(family) in EXPORTER_WIDE else {"emea", "apac"}
        assert {sample.labels.get("account") for sample in family.samples} == expected


def test_accounts_are_independent():
    """Records of one account change no series of another account."""
    telemetry = populated_telemetry("emea", "apac")
    assert changes(telemetry, lambda: telemetry.account("apac").record_refresh_failure(2.5, "tls")) == {
        ("telnyx_up", ("account", "apac")): 0,
        ("telnyx_refresh_duration_seconds", ("account", "apac")): 2.5,
        ("telnyx_refreshes_total", ("account", "apac")): 2,
        ("telnyx_refresh_failures_total", ("account", "apac"), ("reason", "tls")): 1,
    }


def test_the_fleet():
    """The number of the shard, the shards, the accounts and the key files are exposed without an account."""
    telemetry = Telemetry(process=False, accounts=True)
    assert changes(telemetry, lambda: telemetry.record_shard(1, 3)) == {
        ("telnyx_exporter_shard_ordinal",): 1,
        ("telnyx_exporter_total_shards",): 3,
    }
    assert changes(telemetry, lambda: telemetry.record_key_files(7, 2)) == {
        ("telnyx_exporter_api_key_files",): 7,
        ("telnyx_exporter_accounts",): 2,
    }


def test_a_fleet_without_accounts():
    """Before the first account, no family of accounts exists, not even its header."""
    telemetry = Telemetry(process=False, accounts=True)
    text = telemetry.render(Format.TEXT).decode()
    assert {line.split()[2] for line in text.splitlines() if "# TYPE" in line} == {*INCIDENTS, BUILD[0]}


def test_a_removed_account():
    """All series of a removed account disappear. If it comes back, its counters begin at 0."""
    telemetry = populated_telemetry("emea", "apac")
    alone = series(populated_telemetry("apac"))
    removed = telemetry.account("emea")
    telemetry.remove_account("emea")
    removed.record_refresh(1.0, 1e9)
    assert series(telemetry) == alone
    telemetry.remove_account("unknown")
    telemetry.account("emea").record_list_restart()
    assert series(telemetry)["telnyx_refreshes_total", ("account", "emea")] == 0
    assert series(telemetry)["telnyx_list_restarts_total", ("account", "emea")] == 1


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        (None, {"emea", "apac"}),
        (("apac",), {"apac"}),
        (("apac", "emea"), {"emea", "apac"}),
        ((), set()),
    ],
)
def test_selected_accounts(accounts, expected):
    """A selection has the series of these accounts, and those of the exporter."""
    telemetry = populated_telemetry("emea", "apac")
    selected = None if accounts is None else [telemetry.account(name).metrics for name in accounts]
    found = list(parse_openmetrics(telemetry.render(Format.OPENMETRICS, selected).decode()))
    labels = {sample.labels.get("account") for family in found for sample in family.samples}
    assert labels == expected | {None}
    assert {family_name(family) for family in found} == (FAMILIES.keys() if expected else EXPORTER_WIDE)


def test_collected_metrics_have_the_label_account():
    """The collected metrics are the rendered ones: each family once, with all accounts."""
    telemetry = populated_telemetry("emea", "apac")
    collected = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in telemetry.collect()
        for sample in family.samples
    }
    assert collected == series(telemetry)
    names = [family_name(family) for family in telemetry.collect()]
    assert sorted(names) == sorted(FAMILIES)
