import json

import pytest
from connections import samples
from msgspec.structs import replace

from exporter.collectors.active_calls import COLLECTOR
from exporter.collectors.connection_index import EXAMPLE
from exporter.telnyx.errors import BadRequest, Forbidden, Malformed, NotFound

CONNECTION = replace(EXAMPLE, id="42", name="pbx", has_webhook=True)
CALL = {
    "call_control_id": "canary-1",
    "call_leg_id": "canary-2",
    "call_session_id": "canary-3",
    "client_state": "canary-4",
    "call_duration": 50,
    "record_type": "call",
}


class Api:
    """The calls of a connection, and the requests that the API gets. It states a total only in `meta`."""

    def __init__(self, calls=0, *, meta=None, error=None, repeat_cursor=False):
        self.calls = [CALL | {"call_duration": number} for number in range(calls)]
        self.meta = meta
        self.error = error
        self.repeat_cursor = repeat_cursor
        self.requests = []

    async def get(self, path, params):
        """Return a page."""
        self.requests.append((path, params))
        if self.error:
            raise self.error
        start, limit = int(params.get("page[after]", 0)), params["page[limit]"]
        page = self.calls[start : start + limit]
        end = start + len(page)
        has_more = end < len(self.calls) or self.repeat_cursor
        meta = self.meta or {"cursors": {"after": str(end) if has_more else None, "before": None}}
        return json.dumps({"data": page, "meta": meta}).encode()


async def read(api, connection=CONNECTION):
    """Return the sample lines of the connection."""
    return samples([await COLLECTOR.endpoint.read(api.get, connection)], collector=COLLECTOR)


def line(number):
    """Return the sample line for this number of calls."""
    return [f'telnyx_connection_active_calls{{connection_id="42",connection_name="pbx"}} {number}']


@pytest.mark.parametrize("name", ["total_items", "total_results"])
@pytest.mark.parametrize("total", [0, 7, "7"])
async def test_the_total_is_the_number_of_calls(name, total):
    """One request, for one call, gives the total. Telnyx documents two names for it."""
    api = Api(5, meta={name: total})
    assert await read(api) == line(int(total))
    assert api.requests == [("/connections/42/active_calls", {"page[limit]": 1})]


@pytest.mark.parametrize(("calls", "requests"), [(0, 1), (1, 1), (2, 2), (251, 2), (252, 3)])
async def test_without_a_total_the_calls_are_counted(calls, requests):
    """If there is no total, the calls on all pages are counted."""
    api = Api(calls)
    assert await read(api) == line(calls)
    assert len(api.requests) == requests
    assert {params["page[limit]"] for _, params in api.requests[1:]} <= {250}


async def test_calls_without_meta_are_counted():
    """A response without meta is the whole list."""

    async def get(path, params):
        return b'{"data": [{}, {}, {}]}'

    assert samples([await COLLECTOR.endpoint.read(get, CONNECTION)], collector=COLLECTOR) == line(3)


async def test_an_endless_list_is_malformed():
    """A list whose pages never end is an error."""
    with pytest.raises(Malformed, match="more than 100 pages"):
        await read(Api(100_000, repeat_cursor=True))


async def test_a_page_without_calls_is_the_end():
    """An empty page ends the list, whatever its cursor says."""
    assert await read(Api(1, repeat_cursor=True)) == line(1)


@pytest.mark.parametrize("error", [BadRequest(400), NotFound(404), BadRequest(422)])
async def test_a_rejected_request_has_no_number(error):
    """A connection whose calls Telnyx does not count has no sample."""
    assert await read(Api(error=error)) == []


async def test_a_refusal_is_an_error():
    """A key that may not read the calls is an error."""
    with pytest.raises(Forbidden):
        await read(Api(error=Forbidden(403)))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": null}', b'{"data": ["x"]}', b'{"data": {}}'])
async def test_something_else_is_malformed(body):
    """A response that is not a list of calls is an error."""

    async def get(path, params):
        return body

    with pytest.raises(Malformed):
        await COLLECTOR.endpoint.read(get, CONNECTION)


async def test_no_secret_is_kept():
    """Nothing of a call is decoded: with its control id, anyone could control the call."""
    row = await COLLECTOR.endpoint.read(Api(2).get, CONNECTION)
    assert "canary" not in repr([getattr(row, name) for name in row.__struct_fields__])


@pytest.mark.parametrize(
    ("record_type", "has_webhook", "selected"),
    [
        ("credential_connection", True, True),
        ("credential_connection", False, False),
        ("call_control_application", False, True),
        ("texml_application", False, True),
        ("fax_application", False, False),
    ],
)
def test_selected_connections(record_type, has_webhook, selected):
    """Connections with a webhook, call control applications and TeXML applications have calls that Telnyx counts."""
    connection = replace(CONNECTION, record_type=record_type, has_webhook=has_webhook)
    assert COLLECTOR.endpoint.selects(connection) is selected


async def test_ids_are_quoted():
    """An id can't lead to another path."""
    api = Api(meta={"total_items": 1})
    await COLLECTOR.endpoint.read(api.get, replace(CONNECTION, id="../balance?x"))
    assert api.requests[0][0] == "/connections/..%2Fbalance%3Fx/active_calls"
