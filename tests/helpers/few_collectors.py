"""Collectors for tests of the command line."""

from types import SimpleNamespace

FEW = [
    SimpleNamespace(
        name=name,
        title=title,
        endpoint=SimpleNamespace(path=path),
        default_ttl=ttl,
        default_rate=rate,
        on_by_default=on,
    )
    for name, title, path, ttl, rate, on in (
        ("credential-connections", "Credential connections", "/credential_connections", None, None, True),
        ("ip-connections", "IP connections", "/ip_connections", 60.0, None, False),
        ("fqdn-connections", "FQDN connections", "/fqdn_connections", 300.0, None, False),
        ("active-calls", "Active calls", "/connections/{connection_id}/active_calls", 60.0, 2.5, False),
    )
]
