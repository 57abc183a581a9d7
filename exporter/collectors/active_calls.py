"""Active calls: the number of calls of each connection that is controlled by a webhook, and of each application."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from exporter.collectors.collector import Collector, FanOutEndpoint
from exporter.collectors.families import gauge, whole_row
from exporter.telnyx.errors import BadRequest, Malformed
from exporter.telnyx.objects import ObjectDecoder
from exporter.telnyx.structs import ApiObject, Int

if TYPE_CHECKING:
    from exporter.collectors.collector import Get
    from exporter.collectors.connection_index import ConnectionRecord

_MAX_PAGES = 100
_PAGE_SIZE = 250
_APPLICATIONS = {"call_control_application", "texml_application"}


class Cursors(ApiObject, frozen=True, gc=False):
    """Where the next page begins."""

    after: str | None = None


class Meta(ApiObject, frozen=True, gc=False):
    """What a page states about the list, in either of two forms."""

    total_items: Int | None = None
    total_results: Int | None = None
    cursors: Cursors | None = None


class CallsPage(ApiObject, frozen=True):
    """A page of the calls of a connection. The calls are only counted."""

    data: tuple[ApiObject, ...]
    meta: Meta | None = None


class ActiveCalls(ApiObject, frozen=True, gc=False, kw_only=True):
    """The number of calls of a connection. None if Telnyx does not count them."""

    id: str
    connection_name: str
    calls: int | None = None


_decode = ObjectDecoder(CallsPage)


async def _read(get: Get, connection: ConnectionRecord) -> ActiveCalls:
    path = f"/connections/{quote(connection.id, safe='')}/active_calls"
    try:
        calls = await _count(get, path)
    except BadRequest:  # Telnyx does not count the calls of this connection
        calls = None
    return ActiveCalls(id=connection.id, connection_name=connection.name, calls=calls)


async def _count(get: Get, path: str) -> int:
    """Return the total that the first page states. If it states none, count the calls on all pages."""
    page = _decode(await get(path, {"page[limit]": 1}))
    meta = page.meta or Meta()
    total = meta.total_results if meta.total_items is None else meta.total_items
    if total is not None:
        return total
    count = len(page.data)
    for _ in range(_MAX_PAGES):
        after = page.meta.cursors.after if page.meta and page.meta.cursors else None
        if not after or not page.data:
            return count
        page = _decode(await get(path, {"page[limit]": _PAGE_SIZE, "page[after]": after}))
        count += len(page.data)
    raise Malformed(f"the list of calls has more than {_MAX_PAGES} pages")


COLLECTOR = Collector(
    name="active-calls",
    title="Active calls of applications and of connections with a webhook",
    endpoint=FanOutEndpoint(
        "/connections/{connection_id}/active_calls",
        lambda connection: connection.has_webhook or connection.record_type in _APPLICATIONS,
        _read,
    ),
    row_type=ActiveCalls,
    identity_labels={"connection_id": "id", "connection_name": "connection_name"},
    row_families=(
        gauge(
            "telnyx_connection_active_calls",
            "Number of active calls in both directions; absent if Telnyx does not count them.",
            whole_row,
            "calls",
        ),
    ),
    default_ttl=60.0,
    connections_of=(
        "credential-connections",
        "ip-connections",
        "fqdn-connections",
        "uac-connections",
        "external-connections",
        "call-control-applications",
        "texml-applications",
    ),
)
