"""Prometheus exporter for Telnyx SIP trunks."""

__version__ = "0.1.0"
