"""A Telnyx-compatible API on loopback, for `--demo` and tests. It imports nothing else from the exporter."""

from exporter.sandbox.account import Account
from exporter.sandbox.api import create_app, create_shared_app

__all__ = ["Account", "create_app", "create_shared_app"]
