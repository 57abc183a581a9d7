import pytest
from sandbox_client import error_of, get

PATH = "/v2/audit_events"


@pytest.fixture
def events(account, clock):
    """Change five connections, one a second, and return the events."""
    for row in account.rows[:5]:
        clock.now += 1
        account.update(row["id"], tags=["changed"])
    return account.audit_events


async def test_pages(account, events):
    """The log has pages like a list. By default, the newest event is the first one."""
    response = await get(account, PATH, **{"page[size]": 2})
    assert response.json() == {
        "data": [events[4], events[3]],
        "meta": {"total_pages": 3, "total_results": 5, "page_number": 1, "page_size": 2},
    }
    assert (await get(account, PATH)).json()["meta"]["page_size"] == 20


async def test_sort(account, events):
    """The log can be sorted in both directions."""
    assert (await get(account, PATH, sort="asc")).json()["data"] == events
    assert (await get(account, PATH, sort="desc")).json()["data"] == events[::-1]
    assert error_of(await get(account, PATH, sort="created_at")) == (400, "10015")


async def test_filters(account, events):
    """Events can be filtered by their time."""
    after, before = (
        {"filter[created_after]": events[2]["created_at"]},
        {"filter[created_before]": events[3]["created_at"]},
    )
    assert (await get(account, PATH, **after)).json()["data"] == events[:1:-1]
    assert (await get(account, PATH, **after, **before)).json()["data"] == [events[3], events[2]]
