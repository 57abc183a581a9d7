import pytest
from few_collectors import FEW

from exporter.config.options import OPTIONS, Option, collector_options

OF_COLLECTORS = collector_options(FEW)


@pytest.mark.parametrize(
    "option",
    [
        Option(
            ("collectors", "credential-connections", "enabled"),
            flag="--collector.credential-connections",
            variable="TELNYX_EXPORTER_COLLECTOR__CREDENTIAL_CONNECTIONS",
            help="Credential connections (GET /credential_connections).",
            group="collector",
            default="on",
        ),
        Option(
            ("collectors", "credential-connections", "ttl"),
            flag="--collector.credential-connections.ttl",
            variable="TELNYX_EXPORTER_COLLECTOR__CREDENTIAL_CONNECTIONS__TTL",
            help="How long to reuse the snapshot of credential-connections before a scrape refreshes it.",
            group="collector",
            metavar="DURATION",
            default="--cache.ttl",
        ),
        Option(
            ("collectors", "ip-connections", "enabled"),
            flag="--collector.ip-connections",
            variable="TELNYX_EXPORTER_COLLECTOR__IP_CONNECTIONS",
            help="IP connections (GET /ip_connections).",
            group="collector",
        ),
        Option(
            ("collectors", "fqdn-connections", "ttl"),
            flag="--collector.fqdn-connections.ttl",
            variable="TELNYX_EXPORTER_COLLECTOR__FQDN_CONNECTIONS__TTL",
            help="How long to reuse the snapshot of fqdn-connections before a scrape refreshes it.",
            group="collector",
            metavar="DURATION",
            default="5m",
        ),
        Option(
            ("collectors", "active-calls", "ttl"),
            flag="--collector.active-calls.ttl",
            variable="TELNYX_EXPORTER_COLLECTOR__ACTIVE_CALLS__TTL",
            help="How often active-calls reads each connection; less often if the rate is too low for it.",
            group="collector",
            metavar="DURATION",
            default="1m",
        ),
        Option(
            ("collectors", "active-calls", "rate"),
            flag="--collector.active-calls.rate",
            variable="TELNYX_EXPORTER_COLLECTOR__ACTIVE_CALLS__RATE",
            help="Connections that active-calls reads per second at most, 0.01 to 100.",
            group="collector",
            metavar="N",
            default="2.5",
        ),
    ],
    ids=lambda option: option.flag,
)
def test_collector_has_a_switch_and_a_ttl(option):
    """A collector has a switch with a negation, and a TTL. Dashes in its name are underscores in variables."""
    assert option in OF_COLLECTORS


def test_switches_have_a_negation():
    """A switch has a flag that switches it off. A flag with a value has none, and neither has the API key."""
    negations = {option.flag: option.negation for option in (*OPTIONS, *OF_COLLECTORS)}
    assert negations["--web.enable-lifecycle"] == "--no-web.enable-lifecycle"
    assert negations["--collector.ip-connections"] == "--no-collector.ip-connections"
    assert negations["--collector.ip-connections.ttl"] == negations["--cache.ttl"] == negations[""] == ""


def test_only_fan_outs_have_a_rate():
    """Only a collector that reads connections one by one has a rate."""
    assert [option.path for option in OF_COLLECTORS if option.path[2] == "rate"] == [
        ("collectors", "active-calls", "rate")
    ]


def test_names_are_unique():
    """No two options have the same place, flag or variable."""
    options = (*OPTIONS, *OF_COLLECTORS)
    names = [name for option in options for name in (option.path, option.flag, option.negation, option.variable)]
    assert len([name for name in names if name]) == len(set(names) - {""})


def test_options_of_the_model_leave_out_collectors():
    """The options of the model do not include the field that has the settings of collectors."""
    assert not [option for option in OPTIONS if option.path[0] == "collectors"]
