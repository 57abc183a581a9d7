"""Prometheus exporter for Telnyx SIP trunks."""
