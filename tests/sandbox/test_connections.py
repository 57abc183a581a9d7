import re
from collections import Counter

import httpx
import pytest
from sandbox_client import Clock

from exporter.sandbox import Account


def test_same_seed_gives_same_connections():
    """The same seed gives the same connections, independent of the clock. Another seed gives other connections."""
    rows = Account(seed=7, clock=Clock(), step=0).rows
    assert Account(seed=7, step=0).rows == rows
    assert Account(seed=8, step=0).rows != rows


@pytest.mark.parametrize("seed", range(5))
def test_account_has_what_graphs_and_alerts_need(seed):
    """With any seed, some of the 55 connections are disabled, unencrypted, unrestricted, limited or unlimited.

    Some have unusual names.
    """
    rows = Account(seed=seed, step=0).rows
    assert len(rows) == 55
    assert 3 <= sum(not row["active"] for row in rows) <= 8
    assert 3 <= sum(row["encrypted_media"] is None for row in rows) <= 10
    assert sum(row["sip_uri_calling_preference"] == "unrestricted" for row in rows) in {2, 3}
    sites = Counter(row["anchorsite_override"] for row in rows)
    assert sites.most_common(1)[0][0] == "Latency"
    assert len(sites) > 3
    limits = [row["inbound"]["channel_limit"] for row in rows]
    assert None in limits
    assert len(set(limits)) > 3
    assert 3 <= sum(not re.fullmatch(r"[a-z-]+-\d\d", row["connection_name"]) for row in rows) <= 6
    assert any(row["outbound"]["ani_override"] for row in rows)
    assert any(row["webhook_event_url"] for row in rows)
    assert any(row["tags"] for row in rows)


def test_times_and_ids_ascend():
    """Creation times and ids ascend strictly. Names are unique. No connection was updated before it was created."""
    rows = Account(2000, step=0).rows
    created = [row["created_at"] for row in rows]
    numbers = [int(row["id"]) for row in rows]
    assert created == sorted(set(created))
    assert numbers == sorted(set(numbers))
    assert len({row["connection_name"] for row in rows}) == 2000
    assert all(row["updated_at"] >= row["created_at"] for row in rows)
    assert {len(row["id"]) for row in rows} == {19}
    assert all(
        re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[name])
        for row in rows
        for name in ("created_at", "updated_at")
    )


def test_everything_is_fictional():
    """Every URL has a reserved domain, and every phone number is in a range that is reserved for fiction."""
    rows = Account(2000, step=0).rows
    urls = {row[name] for row in rows for name in ("webhook_event_url", "webhook_event_failover_url")} - {None}
    assert all(httpx.URL(url).host.endswith(".example") for url in urls)
    assert any(httpx.URL(url).userinfo for url in urls)
    assert all(row["webhook_event_url"] for row in rows if row["webhook_event_failover_url"])
    assert any(httpx.URL(url).query for url in urls)
    assert any(httpx.URL(url).path.startswith("/services/") for url in urls)
    numbers = {row["outbound"]["ani_override"] for row in rows} - {None}
    fictional = r"\+(1\d{3}55501|49302312502?|442079460|441614960|33199000|61255500)\d+"
    assert all(re.fullmatch(fictional, number) and len(number) in {12, 13} for number in numbers)
