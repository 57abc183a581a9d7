from dataclasses import replace

import pytest

from exporter.collectors.collector import ListEndpoint, ObjectEndpoint
from exporter.collectors.registry import COLLECTORS, enabled_collectors
from exporter.config.flags import UsageError
from exporter.config.settings import CacheSettings, CollectorSettings, FilterSettings, Settings, TelnyxSettings

(CREDENTIALS,) = (collector for collector in COLLECTORS if collector.name == "credential-connections")
IPS = replace(CREDENTIALS, name="ip-connections", default_ttl=120.0, on_by_default=False)
FAXES, NUMBERS = (
    replace(CREDENTIALS, name=name, endpoint=ListEndpoint("/any"), default_ttl=300.0, on_by_default=False)
    for name in ("fax-applications", "phone-numbers")
)
FEW = (CREDENTIALS, IPS, FAXES, NUMBERS)
ON, OFF = CollectorSettings(enabled=True), CollectorSettings(enabled=False)
BY_NAME, BY_PROFILE = FilterSettings(connection_name="acme"), FilterSettings(outbound_voice_profile_id="1")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """Run each test in an empty directory, so that there is no `.env`."""
    monkeypatch.chdir(tmp_path)


def settings_of(collectors, *, demo=False, filters=None):
    return Settings(collectors=collectors, demo=demo, telnyx=TelnyxSettings(filter=filters or FilterSettings()))


@pytest.mark.parametrize(
    ("collectors", "options", "enabled"),
    [
        ({}, {}, [CREDENTIALS]),
        ({"ip-connections": ON}, {}, [CREDENTIALS, IPS]),
        ({"credential-connections": OFF, "fax-applications": ON}, {}, [FAXES]),
        ({"ip-connections": OFF}, {}, [CREDENTIALS]),
        ({"ip-connections": CollectorSettings(ttl=1.0)}, {}, [CREDENTIALS]),
        ({}, {"demo": True}, [CREDENTIALS, IPS, FAXES, NUMBERS]),
        ({"credential-connections": OFF, "phone-numbers": OFF}, {"demo": True}, [IPS, FAXES]),
        ({}, {"demo": True, "filters": BY_NAME}, [CREDENTIALS, IPS]),
        ({"ip-connections": ON}, {"filters": BY_NAME}, [CREDENTIALS, IPS]),
        ({"ip-connections": ON, "fax-applications": OFF}, {"filters": BY_PROFILE}, [CREDENTIALS, IPS]),
    ],
)
def test_collectors_are_enabled_by_the_user_the_demo_or_by_default(collectors, options, enabled):
    """The user's choice counts, then `--demo`, which switches all on, then the collector's default.

    A filter leaves out the collectors that the user did not switch on and that do not have it.
    """
    assert [collector for collector, _ in enabled_collectors(settings_of(collectors, **options), FEW)] == enabled


def test_default_collector_without_filters_is_left_out():
    """A filter leaves out a collector that is on by default but does not have the filter."""
    faxes = replace(FAXES, on_by_default=True)
    assert [each for each, _ in enabled_collectors(settings_of({}), (CREDENTIALS, faxes))] == [CREDENTIALS, faxes]
    filtered = enabled_collectors(settings_of({}, filters=BY_NAME), (CREDENTIALS, faxes))
    assert [each for each, _ in filtered] == [CREDENTIALS]


def test_filters_concern_connections_only():
    """A collector that reads no connections can be on together with a filter, because filters select connections."""
    balance = replace(CREDENTIALS, name="balance", endpoint=ObjectEndpoint("/balance"), identity_labels={})
    settings = settings_of({"balance": ON}, filters=BY_NAME)
    assert [each for each, _ in enabled_collectors(settings, (CREDENTIALS, balance))] == [CREDENTIALS, balance]


@pytest.mark.parametrize(
    ("collectors", "ttls"),
    [
        ({}, [7.0, 120.0, 300.0, 300.0]),
        ({"ip-connections": CollectorSettings(ttl=1.0)}, [7.0, 1.0, 300.0, 300.0]),
        ({"fax-applications": CollectorSettings(ttl=0.0)}, [7.0, 120.0, 0.0, 300.0]),
        ({"credential-connections": CollectorSettings(ttl=2.0)}, [2.0, 120.0, 300.0, 300.0]),
    ],
)
def test_ttl_is_the_users_or_the_default(collectors, ttls):
    """The TTL is the user's, else the collector's default. Credential connections have `--cache.ttl` by default."""
    settings = Settings(collectors=collectors, demo=True, cache=CacheSettings(ttl=7.0))
    assert [options.ttl for _, options in enabled_collectors(settings, FEW)] == ttls


@pytest.mark.parametrize(
    ("collectors", "options", "message"),
    [
        (
            {"fax-applications": ON},
            {"filters": BY_NAME},
            (
                "--telnyx.filter.connection-name: Telnyx has no such filter for fax-applications: "
                "set --no-collector.fax-applications, or remove the filter"
            ),
        ),
        (
            {"fax-applications": ON, "ip-connections": ON, "phone-numbers": ON},
            {"filters": BY_PROFILE, "demo": True},
            (
                "--telnyx.filter.outbound-voice-profile-id: Telnyx has no such filter for fax-applications, "
                "phone-numbers: set --no-collector.fax-applications --no-collector.phone-numbers, or remove the filter"
            ),
        ),
        (
            {"credential-connections": OFF},
            {},
            "no collector is enabled: set at least one, such as --collector.credential-connections",
        ),
        (
            {collector.name: OFF for collector in FEW},
            {"demo": True},
            "no collector is enabled: set at least one, such as --collector.credential-connections",
        ),
    ],
)
def test_contradictory_settings_are_rejected(collectors, options, message):
    """The error names the filter that a collector does not have, or says that no collector is enabled."""
    with pytest.raises(UsageError) as caught:
        enabled_collectors(settings_of(collectors, **options), FEW)
    assert str(caught.value) == message


def test_a_collector_that_needs_another():
    """A collector that needs to know connections is an error if none of those that read them is enabled.

    One that is only on because of `--demo` is left out then.
    """
    endpoints = replace(NUMBERS, name="endpoints", connections_of=("ip-connections", "fax-applications"))
    few = (CREDENTIALS, IPS, FAXES, endpoints)
    for others in ({"ip-connections": ON}, {"fax-applications": ON}):
        found = enabled_collectors(settings_of({"endpoints": ON, **others}), few)
        assert endpoints in [collector for collector, _ in found]
    with pytest.raises(UsageError) as caught:
        enabled_collectors(settings_of({"endpoints": ON}), few)
    assert str(caught.value) == (
        "--collector.endpoints: needs --collector.ip-connections or --collector.fax-applications"
    )
    three = replace(endpoints, connections_of=("ip-connections", "fax-applications", "uac-connections"))
    with pytest.raises(UsageError) as caught:
        enabled_collectors(settings_of({"endpoints": ON}), (*few[:-1], three))
    assert str(caught.value) == (
        "--collector.endpoints: needs one of --collector.ip-connections, --collector.fax-applications, "
        "--collector.uac-connections"
    )
    off = {"ip-connections": OFF, "fax-applications": OFF}
    assert [each for each, _ in enabled_collectors(settings_of(off, demo=True), few)] == [CREDENTIALS]


def test_a_collector_can_change_another():
    """While a collector is enabled, another one can be different, for example without metrics that both have."""
    changes = {"credential-connections": lambda collector: replace(collector, row_families=())}
    changing = replace(IPS, changes_to=changes)
    few = (CREDENTIALS, changing)
    assert [each for each, _ in enabled_collectors(settings_of({}), few)] == [CREDENTIALS]
    first, second = [each for each, _ in enabled_collectors(settings_of({"ip-connections": ON}), few)]
    assert (first.name, first.row_families) == (CREDENTIALS.name, ())
    assert second is changing


def test_enabled_collectors_are_equal():
    """The same settings enable equal collectors, so that a reload keeps their data."""
    settings = settings_of({}, demo=True)
    assert enabled_collectors(settings) == enabled_collectors(settings)


def test_collectors_come_after_those_that_they_need():
    """The connections that a collector needs are read by collectors before it, which exist."""
    names = [collector.name for collector in COLLECTORS]
    for collector in COLLECTORS:
        assert set(collector.connections_of) <= set(names[: names.index(collector.name)])
        assert collector.changes_to.keys() <= set(names)


def test_the_rate_is_the_users():
    """The settings of an enabled collector have the rate that the user set."""
    settings = settings_of({"ip-connections": CollectorSettings(enabled=True, rate=0.5)})
    assert [options.rate for _, options in enabled_collectors(settings, FEW)] == [None, 0.5]


def test_names_of_collectors_are_unique():
    """A collector's name is lower-case words with dashes, and no other collector has it."""
    names = [collector.name for collector in COLLECTORS]
    assert len(names) == len(set(names))
    assert not [name for name in names if not name.replace("-", "").isalpha() or name != name.lower()]
