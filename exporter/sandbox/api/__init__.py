"""Telnyx's HTTP API for simulated accounts, as an ASGI application."""

from exporter.sandbox.api.app import ENDPOINTS, create_app, create_shared_app

__all__ = ["ENDPOINTS", "create_app", "create_shared_app"]
