"""Fan-outs: collectors that send one request for each connection."""

from exporter.account.fan_out.fan_out import FanOut

__all__ = ["FanOut"]
