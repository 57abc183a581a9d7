"""The bodies of requests that change an object."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from exporter.sandbox.api.requests import RequestError
from exporter.sandbox.resources import RESOURCES
from exporter.sandbox.rows import FIRST_CREATED, generate

if TYPE_CHECKING:
    from exporter.sandbox.rows import Row

_Schema: TypeAlias = "dict[str, _Schema | frozenset[type]]"
"""The types of each field, or the fields of an object."""

_READ_ONLY = frozenset(
    {
        *("id", "record_type", "created_at", "updated_at", "connections_count", "fqdns"),
        *("registration_status", "registration_status_updated_at", "credential_active"),
        *("expired", "resource_id", "sip_username", "sip_password", "user_id"),
    }
)
_SAMPLES = 200
_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list of strings",
    type(None): "null",
}


def parse_object(body: bytes) -> Row:
    """Return the JSON object in a body."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RequestError(400, "The body must be a JSON object.")
    return fields


def check_fields(path: str, fields: Row) -> None:
    """Reject fields that the objects of this list don't have or that are read-only, and values of the wrong type."""
    _check(fields, _schema(path), "")


def _check(fields: Row, schema: _Schema, pointer: str) -> None:
    for name, value in fields.items():
        known = schema.get(name)
        if known is None:
            raise RequestError(422, "There is an unknown or read-only field.", pointer=pointer or "/")
        field = f"{pointer}/{name}"
        if not isinstance(known, dict):
            _check_type(value, known, field)
        elif isinstance(value, dict):
            _check(value, known, field)
        else:
            raise RequestError(422, "This must be an object.", pointer=field)


def _check_type(value: Any, types: frozenset[type], pointer: str) -> None:
    items_fit = not isinstance(value, list) or all(isinstance(item, str) for item in value)
    if not items_fit or not {type(value), float if type(value) is int else type(value)} & types:
        names = sorted(text for type_, text in _TYPE_NAMES.items() if type_ in types)
        raise RequestError(422, f"This must be {' or '.join(names)}.", pointer=pointer)


@cache
def _schema(path: str) -> _Schema:
    """Return the fields of a list that a request can set. Their types are those of generated rows."""
    fields = {name: values for name, values in RESOURCES[path].fields.items() if name not in _READ_ONLY}
    rng = random.Random(0)  # noqa: S311 -- reproducible on purpose
    samples = [
        generate(fields, rng, index, index, FIRST_CREATED, now=FIRST_CREATED, owners=["1"]) for index in range(_SAMPLES)
    ]
    return _learn(samples)


def _learn(samples: list[Row]) -> _Schema:
    schema: _Schema = {}
    for name in samples[0]:
        values = [sample[name] for sample in samples]
        schema[name] = _learn(values) if isinstance(values[0], dict) else frozenset(map(type, values))
    return schema
