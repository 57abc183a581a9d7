import ast
from pathlib import Path

import pytest

import exporter
from exporter.config.options import OPTIONS

PACKAGE = Path(exporter.__file__).parent


def attributes_in(code):
    """Return the attributes in code as pairs of the owner's name, without a final `s`, and the attribute's name.

    `settings.cache.ttl` and `cache.ttl` are both `("cache", "ttl")`, and `filters.fqdn` is `("filter", "fqdn")`.
    """
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            found.add((owner.removesuffix("s"), node.attr))
    return found


def is_read(path, attributes):
    """Return whether these attributes include the setting at this path."""
    owner, name = ("settings", *path)[-2:]
    return (owner.removesuffix("s"), name) in attributes


MODULES = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "config"]
READ = attributes_in("\n".join(path.read_text() for path in MODULES))


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: ".".join(option.path))
def test_each_setting_is_read(option):
    """Each setting is read somewhere outside of `exporter/config`."""
    name = ".".join(option.path)
    assert is_read(option.path, READ), f"nothing reads settings.{name}: use it, or remove it from config/settings.py"


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("settings.cache.ttl", True),
        ("cache.ttl", True),
        ("entry.ttl", False),
        ("ttl", False),
        ("settings.cache.max_stale", False),
    ],
)
def test_reading_is_recognized(code, read):
    """An attribute counts only with its own group before it."""
    assert is_read(("cache", "ttl"), attributes_in(code)) is read
