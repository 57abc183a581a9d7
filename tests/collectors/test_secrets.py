"""No collector decodes or exposes a secret."""

import re
from typing import get_args, get_type_hints

import pytest
from connections import INDEPENDENT_COLLECTORS, decode, documented_row, text_of
from msgspec import Struct
from msgspec.structs import astuple

from exporter.collectors.active_calls import CallsPage
from exporter.collectors.registrations import RegistrationStatus
from exporter.collectors.registry import COLLECTORS
from exporter.exposition.renderer import Renderer
from exporter.exposition.response import Document
from exporter.sandbox import Account
from exporter.sandbox.resources import RESOURCES
from exporter.telnyx.lists.snapshots import Snapshot

SECRET = re.compile(
    r"passw|secret|token|api_key|tech_prefix|txt_value|proxy|user_?name|auth_user|from_user|destination_uri|email|url"
    r"|phone_numbers?$|external_pin|customer_reference|ua_ip|ua_port|user_host|call_control|client_state"
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


@pytest.mark.parametrize("decoded", [*(collector.row_type for collector in COLLECTORS), CallsPage, RegistrationStatus])
def test_no_secret_is_decoded(decoded):
    """No struct declares a field of a secret, so the decoder skips it."""
    assert {struct: fields for struct in structs_of(decoded) if (fields := secret_fields(struct))} == {}


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
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, field)
    elif isinstance(value, str):
        yield field, value


CANARIES = ("password", "api_token", "v1_secret", "sip_username", "email", "voice_url", "phone_number")


def with_canaries(value):
    """Return a row with secrets in fields that no struct declares, also inside its objects."""
    if not isinstance(value, dict) or all(isinstance(inner, int) for inner in value.values()):
        return value  # an object of numbers only can have fields of any name
    row = {name: with_canaries(inner) for name, inner in value.items()}
    return row | {name: f"canary of {name}" for name in CANARIES}


def text_with(collector, rows):
    """Return the metrics of rows as Telnyx sends them, and the index that is kept to find changes."""
    renderer = Renderer(collector)
    page = renderer.render_page(decode(*rows, collector=collector))
    text = text_of(Document(renderer.render(Snapshot((page,), len(rows))))).decode()
    assert any(line[0] != "#" for line in text.splitlines())
    return text, repr([astuple(record) for record in page.index.records])


@pytest.mark.parametrize("collector", INDEPENDENT_COLLECTORS, ids=lambda collector: collector.name)
def test_no_undeclared_field_is_exposed(collector):
    """Secrets in fields that the exporter does not use are neither exposed nor kept."""
    row = with_canaries(documented_row(collector.name))
    assert "canary of password" in dict.fromkeys(text for _, text in leaves(row))
    secrets = {text for field, text in leaves(row) if SECRET.search(field)} | {f"canary of {name}" for name in CANARIES}
    found = text_with(collector, [row])
    assert {secret for secret in secrets if any(secret in text for text in found)} == set()


@pytest.mark.parametrize("collector", INDEPENDENT_COLLECTORS, ids=lambda collector: collector.name)
def test_only_ids_of_identity_labels_are_exposed(collector):
    """The id of a row is exposed if it is a label of the collector. That of a phone number is not."""
    row = documented_row(collector.name)
    text, _ = text_with(collector, [row])
    assert (row.get("id", "no id") in text) == ("id" in collector.identity_labels.values())


LISTED = [collector for collector in INDEPENDENT_COLLECTORS if collector.endpoint.path in RESOURCES]
"""The collectors whose lists the sandbox generates."""


@pytest.mark.parametrize("collector", LISTED, ids=lambda collector: collector.name)
def test_no_secret_is_exposed(collector):
    """No password, token, login or URL of the rows that the sandbox sends is in the metrics."""
    rows = Account(50, step=0)[collector.endpoint.path].rows
    text, _ = text_with(collector, rows)
    secrets = {value for row in rows for name, value in leaves(row) if SECRET.search(name) or "://" in value}
    assert secrets, f"add the secrets that Telnyx sends for {collector.name} to the sandbox"
    assert {secret for secret in secrets if secret in text} == set()
