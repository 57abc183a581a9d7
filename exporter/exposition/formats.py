"""The exposition formats: content types, family headers and label text."""

from __future__ import annotations

from enum import Enum


class Format(Enum):
    """An exposition format. The value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    TEXT_1 = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"


SAMPLE_SUFFIXES = {"counter": "_total", "info": "_info"}
"""Suffixes of sample names, by type. OpenMetrics leaves them out of the family's name, and Prometheus text does not."""


def header(form: Format, *, name: str, help_text: str, family_type: str, unit: str = "") -> str:
    """Return the header lines of a metric family. `name` is that of the Prometheus text format.

    Prometheus text has neither units nor the type `info`.
    """
    if form is not Format.OPENMETRICS:
        escaped_help = help_text.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {name} {escaped_help}\n# TYPE {name} {'gauge' if family_type == 'info' else family_type}\n"
    name = name.removesuffix(SAMPLE_SUFFIXES.get(family_type, ""))
    unit_line = f"# UNIT {name} {unit}\n" if unit else ""
    return f"# HELP {name} {escape(help_text)}\n# TYPE {name} {family_type}\n{unit_line}"


def escape(text: str) -> str:
    """Escape a label value."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def end_of(form: Format) -> bytes:
    """Return the end of a document in this format."""
    return b"# EOF\n" if form is Format.OPENMETRICS else b""
