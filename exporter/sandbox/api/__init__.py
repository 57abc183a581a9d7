"""Telnyx's HTTP API for simulated accounts, as an ASGI application."""

from exporter.sandbox.api.app import create_app, create_shared_app
from exporter.sandbox.api.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS", "create_app", "create_shared_app"]
