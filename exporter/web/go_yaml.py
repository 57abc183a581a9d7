"""Reads values of a YAML file as Go's library does, because exporters in Go may read the same file."""

from __future__ import annotations

import re
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator

_TRUE = frozenset({"y", "yes", "on", "true"})
_FALSE = frozenset({"n", "no", "off", "false"})
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = rf"(\d+\.?\d*|\.\d+)({'|'.join(_SECONDS)})"


class Quoted(str):
    """Text in quotes. Go accepts it for text and durations, but not for booleans and numbers."""

    __slots__ = ()


def to_plain(node: yaml.Node | None) -> Any:
    """Convert a YAML document to mappings, lists and uninterpreted text. The types of this module interpret the text.

    A key without a value is None. Raises `ValueError` for a key that is duplicated or not text.
    """
    if isinstance(node, yaml.SequenceNode):
        return [to_plain(item) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        return node.value if node.style is None else Quoted(node.value)
    if not isinstance(node, yaml.MappingNode):
        return None
    plain: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value in plain:
            raise ValueError(f"line {key.start_mark.line + 1}: a key is duplicated or not text")
        plain[key.value] = to_plain(value)
    return plain


def parse_duration(text: str) -> float:
    """Parse a Go duration such as `1m30s`, `0.5s` or `100us` and return seconds.

    As in Go, a number without a unit and without quotes is in nanoseconds.
    """
    if text == "0":
        return 0.0
    if not isinstance(text, Quoted) and re.fullmatch(r"\d+", text, re.ASCII):
        return int(text) * _SECONDS["ns"]
    if not re.fullmatch(f"({_PART})+", text, re.ASCII):
        raise ValueError("must be a duration such as 1s, 0.5s, 100ms or 1m30s")
    return sum(float(count) * _SECONDS[unit] for count, unit in re.findall(_PART, text, re.ASCII))


def _to_text(value: Any) -> Any:
    return "" if value is None else value


def _to_bool(value: Any) -> Any:
    if not isinstance(value, str) or isinstance(value, Quoted) or value.lower() not in _TRUE | _FALSE:
        raise ValueError("must be true or false, without quotes")
    return value.lower() in _TRUE


def _to_int(value: Any) -> Any:
    if isinstance(value, Quoted):
        raise ValueError("must be a whole number, without quotes")  # noqa: TRY004 -- pydantic requires ValueError
    return value


def _to_seconds(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_to_text)]
Bool = Annotated[bool, BeforeValidator(_to_bool)]
Int = Annotated[int, BeforeValidator(_to_int)]
Duration = Annotated[float, BeforeValidator(_to_seconds)]
"""Seconds, given as a Go duration."""
