"""The endpoints by method and path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from exporter.sandbox.api.audit_events import audit_events
from exporter.sandbox.api.connections.calls import ACTIVE_CALLS, active_calls
from exporter.sandbox.api.connections.counts import connection_counts
from exporter.sandbox.api.connections.registrations import registration_status
from exporter.sandbox.api.connections.summary import connection_summary
from exporter.sandbox.api.lists.objects import REQUIRED_FIELDS, add_object, change_object, read_object
from exporter.sandbox.api.lists.pages import list_page
from exporter.sandbox.api.money import balance, spend_limits
from exporter.sandbox.resources import CONNECTIONS, RESOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.sandbox.account import Account

Body: TypeAlias = bytes | dict[str, Any]
Read: TypeAlias = "Callable[[Account, Mapping[str, str]], Body]"
"""Returns the body of a response for an account and the parameters of the query and the path."""
Write: TypeAlias = "Callable[[Account, Mapping[str, str], bytes], Body]"
"""Applies the body of a request to an account and returns the body of the response."""

_OBJECT = "/{id}"
_WITH_OBJECTS = (*CONNECTIONS, "/outbound_voice_profiles", "/telephony_credentials")
"""The lists whose objects can be read and changed one by one."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint. Its path is the part below `/v2`."""

    path: str
    read: Read
    write: Write | None = None
    write_method: str = "PATCH"

    @property
    def list_path(self) -> str:
        """The path without the id of an object."""
        return self.path.removesuffix(_OBJECT)

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that the endpoint accepts."""
        return ("GET", self.write_method) if self.write else ("GET",)


def _list_endpoint(path: str) -> Endpoint:
    add = partial(add_object, path) if path in REQUIRED_FIELDS else None
    return Endpoint(path, lambda account, query: list_page(account[path], query), add, "POST")


_ENDPOINTS = (
    *map(_list_endpoint, RESOURCES),
    Endpoint("/balance", balance),
    Endpoint("/spend_limits", spend_limits),
    Endpoint("/connections/count", connection_counts),
    Endpoint("/sip_registration_status", registration_status),
    Endpoint(ACTIVE_CALLS, active_calls),
    Endpoint("/audit_events", audit_events),
    *(Endpoint(f"{path}{_OBJECT}", partial(read_object, path), partial(change_object, path)) for path in _WITH_OBJECTS),
    Endpoint("/connections/{connection_id}", connection_summary),
)
ENDPOINTS = tuple(endpoint.path for endpoint in _ENDPOINTS if endpoint.path == endpoint.list_path)
"""The paths that a key can be forbidden to use. Those of objects belong to the path of their list."""
DESCRIPTION = "; ".join(
    f"{method} of {', '.join(endpoint.path for endpoint in _ENDPOINTS if method in endpoint.methods)}"
    for method in ("GET", "PATCH", "POST")
)
"""All methods and paths."""
_BY_PATH = {endpoint.path: endpoint for endpoint in _ENDPOINTS if "{" not in endpoint.path}
_BY_PATTERN = [
    (re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", endpoint.path)), endpoint)
    for endpoint in _ENDPOINTS
    if "{" in endpoint.path
]


def find_endpoint(path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """Return the endpoint at a path below `/v2`, and the parameters in the path."""
    if path in _BY_PATH:
        return _BY_PATH[path], {}
    matches = ((pattern.fullmatch(path), endpoint) for pattern, endpoint in _BY_PATTERN)
    return next(((endpoint, match.groupdict()) for match, endpoint in matches if match), None)
