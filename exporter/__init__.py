"""Prometheus exporter for Telnyx credential connections."""

__version__ = "0.1.0"
