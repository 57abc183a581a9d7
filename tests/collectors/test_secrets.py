"""No collector decodes or exposes a secret. These tests cover all collectors."""

import json
import re
from typing import get_args, get_type_hints

import pytest
from connections import text_of
from msgspec import Struct

from exporter.collectors.registry import COLLECTORS
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.sandbox import Account
from exporter.telnyx.lists.pages import PageDecoder
from exporter.telnyx.lists.snapshots import Snapshot

SECRET = re.compile(
    r"passw|secret|token|api_key|tech_prefix|txt_value|proxy|user_?name|auth_user|from_user|destination_uri|email|url"
)
SENSITIVE = {"user_name", "webhook_event_url", "webhook_event_failover_url"}
"""Fields that are decoded, but exposed on request only. Of a URL, the host is exposed."""


def structs_of(hint):
    """Yield the structs of a type hint, and those inside them."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
        for inner in get_type_hints(hint).values():
            yield from structs_of(inner)
    for argument in get_args(hint):
        yield from structs_of(argument)


def secret_fields(struct):
    """Return the names of the fields, as Telnyx sends them, that hold secrets."""
    names = {*struct.__struct_fields__, *struct.__struct_encode_fields__} - SENSITIVE
    return sorted(filter(SECRET.search, names))


@pytest.mark.parametrize("collector", COLLECTORS, ids=lambda collector: collector.name)
def test_no_secret_is_decoded(collector):
    """No struct declares a field of a secret, so the decoder skips it."""
    assert {struct: fields for struct in structs_of(collector.row_type) if (fields := secret_fields(struct))} == {}


def test_nested_structs_are_searched():
    """The search finds structs inside others, in lists and in unions, and the names of the API."""

    class Inner(Struct):
        key: str = ""
        ip_authentication_token: str = ""

    class Outer(Struct, rename={"login": "sip_username"}):
        login: str = ""
        parts: tuple[Inner, ...] | None = None

    Outer.__annotations__["parts"] = tuple[Inner, ...] | None
    assert [secret_fields(struct) for struct in structs_of(Outer)] == [["sip_username"], ["ip_authentication_token"]]


def leaves(value, field=""):
    """Yield the texts in a row with the names of their fields."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, name)
    elif isinstance(value, str):
        yield field, value


@pytest.mark.parametrize("collector", COLLECTORS, ids=lambda collector: collector.name)
def test_no_secret_is_exposed(collector):
    """No password, token, login or URL of the rows that the sandbox sends is in the metrics."""
    rows = Account(50, step=0)[collector.endpoint.path].rows
    renderer = Renderer(collector)
    page = renderer.render_page(PageDecoder(collector.row_type)(json.dumps({"data": rows}).encode()).rows)
    text = text_of(Document(renderer.render(Snapshot((page,), len(rows))))).decode()
    secrets = {value for row in rows for name, value in leaves(row) if SECRET.search(name) or "://" in value}
    assert secrets, f"add the secrets that Telnyx sends for {collector.name} to the sandbox"
    assert {secret for secret in secrets if secret in text} == set()
    assert rows[0]["id"] in text
