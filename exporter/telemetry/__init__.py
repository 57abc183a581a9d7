"""The exporter's metrics about itself and its API requests, with prometheus-client."""

from exporter.telemetry.account import AccountTelemetry
from exporter.telemetry.telemetry import Telemetry

__all__ = ["AccountTelemetry", "Telemetry"]
