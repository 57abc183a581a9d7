"""Collectors for tests of the command line."""

from types import SimpleNamespace

FEW = [
    SimpleNamespace(name=name, title=title, endpoint=SimpleNamespace(path=path), default_ttl=ttl, on_by_default=on)
    for name, title, path, ttl, on in (
        ("credential-connections", "Credential connections", "/credential_connections", None, True),
        ("ip-connections", "IP connections", "/ip_connections", 60.0, False),
        ("fqdn-connections", "FQDN connections", "/fqdn_connections", 300.0, False),
    )
]
