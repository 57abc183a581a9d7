"""Choosing the format and the encoding that a scraper asks for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from exporter.exposition.response import Format

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

_QUALITY = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)


def choose_format(accept: str) -> Format:
    """Return the format that the `Accept` header likes best, the first of equals.

    Prometheus text 0.0.4 where none is known: a scraper with odd wishes is better served than refused.
    """
    best, best_quality = Format.TEXT, 0.0
    for kind, parameters in _items(accept):
        form = _FORMATS.get((kind, parameters.get("version", "")))
        quality = _quality(parameters)
        if form is not None and quality > best_quality:
            best, best_quality = form, quality
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether the `Accept-Encoding` header takes gzip, and not less gladly than a plain answer."""
    qualities = {coding: _quality(parameters) for coding, parameters in _items(accept_encoding)}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _items(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _quality(parameters: dict[str, str]) -> float:
    """Return the q-value; what has none is worth 1, what is no number is worth nothing."""
    text = parameters.get("q", "1")
    return float(text) if _QUALITY.fullmatch(text) else 0.0
