import pytest
from collectors import view_of
from connections import text_of

from exporter.account.status import STATUS_FAMILIES, AnyUp, CollectorStatus
from exporter.exposition.response import Document
from exporter.telnyx.errors import REASONS


def lines(status, view=None, is_exposed=lambda _: True):
    """Return the sample lines of a status, without counters that are 0."""
    text = text_of(Document(status.render(view, is_exposed))).decode()
    return [line for line in text.splitlines() if line[0] != "#" and not line.endswith("} 0")]


@pytest.fixture
def status():
    """Return the status of a collector."""
    return CollectorStatus("ip-connections")


def test_before_the_first_refresh(status):
    """Before the first refresh ends, only the counters of failures exist, one for each reason."""
    assert lines(status) == []
    text = text_of(Document(status.render(None, lambda _: True))).decode()
    assert [line for line in text.splitlines() if line[0] != "#"] == [
        f'telnyx_collector_failures_total{{collector="ip-connections",reason="{reason}"}} 0' for reason in REASONS
    ]
    assert "# TYPE telnyx_collector_failures_total counter" in text


def test_success(status):
    """After a success, all gauges have values."""
    status.record_refresh(1.5, 1_700_000_000.25)
    assert lines(status, view_of(row_count=7)) == [
        'telnyx_collector_success{collector="ip-connections"} 1',
        'telnyx_collector_duration_seconds{collector="ip-connections"} 1.5',
        'telnyx_collector_last_success_timestamp_seconds{collector="ip-connections"} 1700000000.25',
        'telnyx_collector_rows{collector="ip-connections"} 7',
    ]


def test_incomplete_list(status):
    """Rows that are malformed or missing are counted."""
    text = text_of(Document(status.render(view_of(row_count=7, malformed=2, missing=3), lambda _: True))).decode()
    assert 'telnyx_collector_malformed_rows{collector="ip-connections"} 2\n' in text
    assert 'telnyx_collector_missing_rows{collector="ip-connections"} 3\n' in text


def test_failure(status):
    """After a failure, success is 0, the reason is counted, and the last success keeps its time."""
    status.record_refresh(1.5, 1.7e9)
    status.record_refresh_failure(0.5, "forbidden")
    status.record_refresh_failure(0.25, "forbidden")
    text = text_of(Document(status.render(None, lambda _: True))).decode()
    assert 'telnyx_collector_success{collector="ip-connections"} 0\n' in text
    assert lines(status) == [
        'telnyx_collector_duration_seconds{collector="ip-connections"} 0.25',
        'telnyx_collector_last_success_timestamp_seconds{collector="ip-connections"} 1700000000.0',
        'telnyx_collector_failures_total{collector="ip-connections",reason="forbidden"} 2',
    ]


def test_an_account_with_a_name_is_the_first_label():
    """The name of the account comes first on every line. Nothing else changes."""
    texts = []
    for account in ("", "emea"):
        status = CollectorStatus("ip-connections", account)
        status.record_refresh(1.5, 1.7e9)
        texts.append(text_of(Document(status.render(view_of(row_count=7), lambda _: True))).decode())
    assert texts[1] == texts[0].replace('{collector="', '{account="emea",collector="')
    assert texts[0].count("{") == 6 + len(REASONS)


def test_metrics_can_be_hidden(status):
    """Only exposed metrics are rendered."""
    status.record_refresh(1.5, 1.7e9)
    assert lines(status, is_exposed=lambda name: name == "telnyx_collector_success") == [
        'telnyx_collector_success{collector="ip-connections"} 1'
    ]


def test_every_refresh_changes_the_number_of_refreshes(status):
    """The number of refreshes shows that the metrics may have changed."""
    status.record_refresh(1.5, 1.7e9)
    status.record_refresh_failure(0.5, "timeout")
    assert status.refreshes == 2


@pytest.mark.parametrize("with_data", [True, False])
def test_adopt(status, with_data):
    """An adopted status continues the counters, and the other metrics only if the data is the same."""
    status.record_refresh(1.5, 1.7e9)
    status.record_refresh_failure(0.5, "timeout")
    following = CollectorStatus("ip-connections")
    following.adopt(status, with_data=with_data)
    following.record_refresh_failure(0.5, "timeout")
    assert following.failures["timeout"] == 2
    assert following.last_success == (1.7e9 if with_data else None)


def test_adopted_data_keeps_its_duration(status):
    """With the data, its duration is adopted."""
    status.record_refresh(1.5, 1.7e9)
    following = CollectorStatus("ip-connections")
    following.adopt(status, with_data=True)
    assert following.duration == 1.5


def test_families_have_distinct_names():
    """All families are about collectors, and no two have the same name."""
    names = [family.name for family in STATUS_FAMILIES]
    assert len(set(names)) == len(names)
    assert all(name.startswith("telnyx_collector_") for name in names)


def test_any_up():
    """Several collectors are up while the last refresh of one of them succeeded."""
    reports = []
    first, second = CollectorStatus("a"), CollectorStatus("b")
    any_up = AnyUp([first, second], reports.append)
    first.record_refresh_failure(1.0, "forbidden")
    any_up.record_refresh_failure(1.0, "forbidden")
    second.record_refresh(1.0, 1.7e9)
    any_up.record_refresh(1.0, 1.7e9)
    second.record_refresh_failure(1.0, "timeout")
    any_up.update()
    assert reports == [False, True, False]
