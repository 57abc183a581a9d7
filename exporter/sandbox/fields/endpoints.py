"""The fields of IPs and FQDNs: the addresses of the servers of connections."""

from __future__ import annotations

from exporter.sandbox.rows import ROW, Draft, Fields, every, host, ip_address

_COUNTS = (1, 2, 3, 1, 0)
"""Numbers of endpoints of the first five connections, the next five, and so on."""
_POSITIONS = [position for position, count in enumerate(_COUNTS) for _ in range(count)]
ENDPOINTS_PER_CONNECTION = len(_POSITIONS) / len(_COUNTS)


def _connection_id(draft: Draft) -> str | None:
    if not draft.owners:
        return None
    five, index = divmod(draft.index, len(_POSITIONS))
    return draft.owners[(five * len(_COUNTS) + _POSITIONS[index]) % len(draft.owners)]


IP: Fields = ROW | {
    "record_type": ("ip",),
    "connection_id": _connection_id,
    "ip_address": ip_address,
    "port": (5060, 5060, 5061),
}
FQDN: Fields = ROW | {
    "record_type": ("fqdn",),
    "connection_id": _connection_id,
    "fqdn": host,
    "port": every(3, 1, (None,), (5060, 5061)),
    "dns_record_type": every(3, 1, ("srv",), ("a",)),
}
