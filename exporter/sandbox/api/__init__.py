"""Telnyx's HTTP API for a simulated account, as an ASGI application."""

from exporter.sandbox.api.app import ENDPOINTS, create_app

__all__ = ["ENDPOINTS", "create_app"]
