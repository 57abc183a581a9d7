import platform
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import __version__
from exporter.cache import Entry
from exporter.exposition.response import EMPTY, Format
from exporter.refresh import View
from exporter.telemetry import REVISION, Telemetry, family_name
from exporter.telnyx.responses import RateLimit

REASONS = (
    "unauthorized",
    "forbidden",
    "rate_limited",
    "timeout",
    "connection",
    "server_error",
    "bad_request",
    "malformed",
    "internal",
)
BUILD = (
    "telnyx_exporter_build_info",
    ("pythonversion", platform.python_version()),
    ("revision", REVISION),
    ("version", __version__),
)
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
    "telnyx_exporter_cache_ttl_seconds": ("gauge", ()),
    "telnyx_exporter_cache_max_stale_seconds": ("gauge", ()),
    "telnyx_list_restarts_total": ("counter", ()),
    "telnyx_exporter_cache_requests_total": ("counter", ()),
    "telnyx_exporter_cache_hits_total": ("counter", ()),
    "telnyx_exporter_stale_responses_total": ("counter", ()),
    "telnyx_exporter_build_info": ("info", ("pythonversion", "revision", "version")),
}


@pytest.fixture
def telemetry():
    """Return telemetry without what depends on the process."""
    return Telemetry(process=False)


def series(telemetry):
    """Return the value of each series, by its name and its labels."""
    families = parse_text(telemetry.render(Format.TEXT).decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def changes(telemetry, happen):
    """Return the series that something changes, with what they are afterwards."""
    before = series(telemetry)
    happen()
    return {name: value for name, value in series(telemetry).items() if before.get(name) != value}


def one(name, value, **labels):
    """Return a single series."""
    return {(name, *sorted(labels.items())): value}


def test_start(telemetry):
    """From the start counters are there at 0, for every reason, and nothing is claimed that is not known yet."""
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
        **{("telnyx_api_request_duration_seconds_bucket", ("le", bound)): 0 for bound in BUCKETS},
        BUILD: 1,
    }


def busy():
    """Return telemetry that everything has happened to."""
    telemetry = Telemetry(process=False)
    telemetry.record_request("200", 0.3)
    telemetry.record_refresh(1.5, 1_517_610_327.5)
    telemetry.record_rate_limit(RateLimit(100.0, 99.0, 1_517_610_400.0))
    telemetry.record_config_loaded("settings", 1_517_610_300.0)
    telemetry.record_cache_settings(30.0, 600.0)
    return telemetry


def test_families():
    """The exporter's own families are exactly these, with these labels, each with a help of one sentence."""
    found = {}
    for family in parse_openmetrics(busy().render(Format.OPENMETRICS).decode()):
        labels = {label for sample in family.samples for label in sample.labels}
        found[family_name(family)] = (family.type, tuple(sorted(labels)))
        assert family.documentation.endswith(".")
    assert found == FAMILIES


def test_success(telemetry):
    """A refresh that succeeds is counted, and sets up, its time and its duration."""
    assert changes(telemetry, lambda: telemetry.record_refresh(1.5, 1_517_610_327.5)) == {
        ("telnyx_up",): 1,
        ("telnyx_last_success_timestamp_seconds",): 1_517_610_327.5,
        ("telnyx_refresh_duration_seconds",): 1.5,
        ("telnyx_refreshes_total",): 1,
    }


@pytest.mark.parametrize("reason", REASONS)
def test_failure(telemetry, reason):
    """A refresh that fails is counted twice, by its reason too, and clears up, but not the time of the last success."""
    telemetry.record_refresh(1.5, 1_517_610_327.5)
    assert changes(telemetry, lambda: telemetry.record_refresh_failure(2.5, reason)) == {
        ("telnyx_up",): 0,
        ("telnyx_refresh_duration_seconds",): 2.5,
        ("telnyx_refreshes_total",): 2,
        ("telnyx_refresh_failures_total", ("reason", reason)): 1,
    }
    assert series(telemetry)["telnyx_last_success_timestamp_seconds",] == 1_517_610_327.5


SUCCESSFUL = ("telnyx_exporter_config_last_reload_successful",)
SUCCEEDED_AT = ("telnyx_exporter_config_last_reload_success_timestamp_seconds",)


def test_configuration(telemetry):
    """Of what was never read nothing is said; what is broken leaves the time of the last that was good."""
    assert not any("config" in name for name, *_ in series(telemetry))
    assert changes(telemetry, lambda: telemetry.record_config_loaded("web", 1e9)) == {SUCCESSFUL: 1, SUCCEEDED_AT: 1e9}
    assert changes(telemetry, lambda: telemetry.record_config_error("web")) == {SUCCESSFUL: 0}


def test_configuration_is_good_when_all_of_it_is(telemetry):
    """One source that can be used again does not hide another that can't."""
    telemetry.record_config_loaded("settings", 1e9)
    telemetry.record_config_error("settings")
    telemetry.record_config_error("web")
    assert changes(telemetry, lambda: telemetry.record_config_loaded("web", 2e9)) == {SUCCEEDED_AT: 2e9}
    assert changes(telemetry, lambda: telemetry.record_config_loaded("settings", 3e9)) == {
        SUCCESSFUL: 1,
        SUCCEEDED_AT: 3e9,
    }


def test_cache_settings(telemetry):
    """The settings of the cache are exposed in seconds, so that alerts and dashboards use them instead of a copy."""
    assert changes(telemetry, lambda: telemetry.record_cache_settings(30.0, 1800.0)) == {
        ("telnyx_exporter_cache_ttl_seconds",): 30.0,
        ("telnyx_exporter_cache_max_stale_seconds",): 1800.0,
    }


def test_another_beginning(telemetry):
    """What is read anew was never read; what was counted, and what the configuration is, goes on."""
    telemetry.record_config_loaded("settings", 1e9)
    telemetry.record_cache_settings(30.0, 600.0)
    telemetry.record_rate_limit(RateLimit(1.0, 1.0, 1.0))
    telemetry.record_config_error("web")
    before = series(telemetry)
    telemetry.record_refresh(1.0, 1e9)
    telemetry.reset_refresh_metrics()
    after = series(telemetry)
    assert after.pop(("telnyx_refreshes_total",)) == 1
    gone = {("telnyx_api_rate_limit",), ("telnyx_api_rate_limit_remaining",)}
    gone |= {("telnyx_api_rate_limit_reset_timestamp_seconds",), ("telnyx_refreshes_total",)}
    assert after == {name: value for name, value in before.items() if name not in gone}


def test_shown_can_change():
    """What is exposed follows the settings that are read again; the counts go on."""
    telemetry = Telemetry(process=False)
    telemetry.record_refresh(1.0, 1e9)
    telemetry.set_filter("telnyx_refreshes_total".__eq__)
    assert series(telemetry) == {("telnyx_up",): 1, ("telnyx_refreshes_total",): 1}


def test_failure_from_the_start(telemetry):
    """While no refresh has succeeded there is no time of a success."""
    telemetry.record_refresh_failure(2.5, "timeout")
    assert ("telnyx_last_success_timestamp_seconds",) not in series(telemetry)


def test_request(telemetry):
    """A request is counted by its status, and its duration is observed."""
    assert changes(telemetry, lambda: telemetry.record_request("200", 0.3)) == {
        ("telnyx_api_requests_total", ("code", "200")): 1,
        ("telnyx_api_request_duration_seconds_count",): 1,
        ("telnyx_api_request_duration_seconds_sum",): 0.3,
        **{("telnyx_api_request_duration_seconds_bucket", ("le", bound)): 1 for bound in BUCKETS[3:]},
    }
    telemetry.record_request("none", 20.0)
    telemetry.record_request("200", 0.0)
    assert {name: value for name, value in series(telemetry).items() if name[0] == "telnyx_api_requests_total"} == {
        ("telnyx_api_requests_total", ("code", "200")): 2,
        ("telnyx_api_requests_total", ("code", "none")): 1,
    }


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(RateLimit(), {}, id="unknown"),
        pytest.param(RateLimit(limit=100.0), one("telnyx_api_rate_limit", 100), id="limit"),
        pytest.param(RateLimit(remaining=0.0), one("telnyx_api_rate_limit_remaining", 0), id="nothing-remains"),
        pytest.param(
            RateLimit(reset=1_517_610_400.0),
            one("telnyx_api_rate_limit_reset_timestamp_seconds", 1_517_610_400),
            id="reset",
        ),
    ],
)
def test_rate_limit_is_shown_once_known(telemetry, limit, expected):
    """Of the rate limit there is what Telnyx has said, and no more."""
    assert changes(telemetry, lambda: telemetry.record_rate_limit(limit)) == expected


def test_restart(telemetry):
    """A walk that begins again is counted."""
    assert changes(telemetry, telemetry.record_list_restart) == one("telnyx_list_restarts_total", 1)


ASKED = one("telnyx_exporter_cache_requests_total", 1)
VIEW = View(EMPTY, 0, 0.0)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(
            Entry(VIEW, 5.0, stale=False, error=None, hit=True),
            {**ASKED, **one("telnyx_exporter_cache_hits_total", 1)},
            id="fresh",
        ),
        pytest.param(Entry(VIEW, 0.0, stale=False, error=None, hit=False), ASKED, id="waited-for"),
        pytest.param(
            Entry(VIEW, 90.0, stale=True, error=None, hit=False),
            {**ASKED, **one("telnyx_exporter_stale_responses_total", 1)},
            id="stale",
        ),
        pytest.param(Entry(None, None, stale=False, error=None, hit=False), ASKED, id="nothing"),
    ],
)
def test_scrape(telemetry, entry, expected):
    """A scrape is counted, as a hit if it found a fresh snapshot, and as stale if that is what it was shown."""
    assert changes(telemetry, lambda: telemetry.record_scrape(entry)) == expected


def test_two_do_not_mix(telemetry):
    """Telemetry of two exporters in one process has nothing in common."""
    Telemetry(process=False).record_list_restart()
    assert series(telemetry)["telnyx_list_restarts_total",] == 0


# What is shown


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
def test_process_and_runtime_are_shown(name):
    """The process and the Python runtime are shown, unless that is not wanted."""
    assert name in {found for found, *_ in series(Telemetry())}
    assert name not in {found for found, *_ in series(Telemetry(process=False))}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("telnyx_refreshes_total", {"telnyx_refreshes_total"}, id="counter"),
        pytest.param("telnyx_exporter_build_info", {"telnyx_exporter_build_info"}, id="info"),
        pytest.param("telnyx_api_request_duration_seconds", {"telnyx_api_request_duration_seconds"}, id="histogram"),
        pytest.param("python_info", {"python_info"}, id="runtime"),
        pytest.param("telnyx_up", set(), id="up"),
        pytest.param("telnyx_refreshes", set(), id="not-the-name-in-openmetrics"),
    ],
)
def test_filter(name, expected):
    """Only what is shown is exposed, by the name it has in Prometheus text; telnyx_up always is."""
    telemetry = Telemetry(is_exposed=lambda found: found == name)
    families = parse_openmetrics(telemetry.render(Format.OPENMETRICS).decode())
    assert {family_name(family) for family in families} == {"telnyx_up", *expected}
    text = telemetry.render(Format.TEXT).decode()
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")} == {"telnyx_up", *expected}


# Formats


@pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
def test_formats_parse(form):
    """Every format is read by the parser made for it, and all say the same."""
    parse = parse_openmetrics if form is Format.OPENMETRICS else parse_text
    telemetry = busy()
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse(telemetry.render(form).decode())
        for sample in family.samples
    }
    assert found == series(telemetry)


def test_openmetrics_is_ended():
    """OpenMetrics ends with its end mark, which Prometheus text does not have."""
    assert Telemetry().render(Format.OPENMETRICS).endswith(b"\n# EOF\n")
    assert b"# EOF" not in Telemetry().render(Format.TEXT)
    assert b"# EOF" not in Telemetry().render(Format.TEXT_1)


@pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
def test_no_created_series(form):
    """No format has `_created` series, which would double the number of counters, whatever else this process did."""
    prometheus_client.enable_created_metrics()
    telemetry = Telemetry()
    telemetry.record_request("200", 0.3)
    assert b"_created" not in telemetry.render(form)
