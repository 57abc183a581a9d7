"""The table of connections: one page of those that the query selects."""

from __future__ import annotations

from dataclasses import dataclass

PAGE_ROWS = 50
"""Rows on a page of the table."""


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection. A setting that connections of its type lack is empty or None."""

    account: str
    id: str
    name: str
    type: str
    """The record type, such as `credential_connection`."""
    active: bool | None
    registered: bool | None
    """None if connections of the type do not register, or if the state is unknown."""
    site: str
    encryption: str
    """`SRTP`, `none`, or empty."""
    inbound_limit: int | None
    """None if there is no limit."""
    outbound_limit: int | None
    updated_at: str
    """As Telnyx sends it, such as `2026-10-05T12:30:00Z`. It can be empty."""


@dataclass(frozen=True, slots=True)
class ConnectionTable:
    """A page of the table, and what one can choose in its filters."""

    rows: tuple[ConnectionRow, ...] = ()
    first: int = 0
    """Number of the first row, from 1. 0 if there are no rows."""
    matches: int = 0
    """The number of connections that the query selects."""
    total: int = 0
    """The number of all connections, of the selected account if there is one."""
    page: int = 1
    """From 1 to `pages`."""
    pages: int = 1
    types: tuple[str, ...] = ()
    """All record types."""
    sites: tuple[str, ...] = ()
    encryptions: tuple[str, ...] = ()
