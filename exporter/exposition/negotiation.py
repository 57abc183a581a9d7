"""Chooses the format and the encoding that a scraper prefers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.exposition.formats import Format

if TYPE_CHECKING:
    from collections.abc import Iterator

_FORMATS = {
    ("application/openmetrics-text", ""): Format.OPENMETRICS,
    ("application/openmetrics-text", "0.0.1"): Format.OPENMETRICS,
    ("application/openmetrics-text", "1.0.0"): Format.OPENMETRICS,
    ("text/plain", ""): Format.TEXT,
    ("text/plain", "0.0.4"): Format.TEXT,
    ("text/plain", "1.0.0"): Format.TEXT_1,
    ("text/*", ""): Format.TEXT,
    ("*/*", ""): Format.TEXT,
}

_MAX_PARTS = 20
"""Items of a header, and parameters of an item, that are parsed. Scrapers send fewer, and thousands take too long."""
_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)


def choose_format(accept: str) -> Format:
    """Return the format with the highest quality in the `Accept` header; the first of equals.

    If no format matches, return Prometheus text 0.0.4 rather than an error, because most clients can read it.
    """
    best, best_quality = Format.TEXT, 0.0
    for media_type, parameters in _parse(accept):
        form = _FORMATS.get((media_type, parameters.get("version", "")))
        quality = _quality(parameters)
        if form is not None and quality > best_quality:
            best, best_quality = form, quality
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether the `Accept-Encoding` header accepts gzip and does not prefer an uncompressed response."""
    qualities = {coding: _quality(parameters) for coding, parameters in _parse(accept_encoding)}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _parse(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Return the items of a header, each with its parameters."""
    for item in header.lower().split(",", _MAX_PARTS)[:_MAX_PARTS]:
        name, *parameters = (part.strip() for part in item.split(";", _MAX_PARTS)[:_MAX_PARTS])
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _quality(parameters: dict[str, str]) -> float:
    """Return the q-value: 1 if it is absent, 0 if it is invalid."""
    text = parameters.get("q", "1")
    return float(text) if _QUALITY.fullmatch(text) else 0.0
