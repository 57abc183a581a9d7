"""Pages of a list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from exporter.sandbox.api.requests import MAX_PAGE_SIZE, RequestError, integer_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.sandbox.lists import AccountList
    from exporter.sandbox.resources import Filters, Sorts


def list_page(rows: AccountList, query: Mapping[str, str]) -> bytes:
    """Return a page of a list."""
    resource = rows.resource
    found = rows.encoded_rows(_sort(query, resource.sorts), _filters(query, resource.filters))
    return page(found, query, resource.page_size)


def page(found: Sequence[bytes], query: Mapping[str, str], default_size: int) -> bytes:
    """Return the page of these encoded objects that a query asks for."""
    number = integer_parameter(query, "page[number]", 1, 10**9)
    size = integer_parameter(query, "page[size]", default_size, MAX_PAGE_SIZE)
    meta = {
        "total_pages": math.ceil(len(found) / size),
        "total_results": len(found),
        "page_number": number,
        "page_size": size,
    }
    return b'{"data":[%b],"meta":%b}' % (
        b",".join(found[(number - 1) * size : number * size]),
        msgspec.json.encode(meta),
    )


def _sort(query: Mapping[str, str], sorts: Sorts) -> str | None:
    sort = query.get("sort") if sorts else None
    if sort is not None and sort.removeprefix("-") not in sorts:
        detail = f"This must be one of {', '.join(sorts)}, with a leading '-' for descending order."
        raise RequestError(400, detail, "sort")
    return sort


def _filters(query: Mapping[str, str], filters: Filters) -> dict[str, str]:
    values = {name: query[name] for name in filters if name in query}
    for name, text in values.items():
        minimum = 3 if name.endswith("[contains]") else 1
        if len(text) < minimum:
            raise RequestError(400, f"This must have {minimum} or more characters.", name)
    return values
