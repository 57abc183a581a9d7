import ast
from pathlib import Path

import pytest

import exporter
from exporter.config.flags import OPTIONS

PACKAGE = Path(exporter.__file__).parent
CODE = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.parent.name != "config")


def is_read(path, code):
    """Return whether code has an expression such as `settings.cache.ttl`, `cache.ttl` or `filters.fqdn`."""
    *groups, name = path
    owner = groups[-1] if groups else "settings"
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and node.attr == name:
            value = node.value
            found = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
            if found.removesuffix("s") == owner.removesuffix("s"):
                return True
    return False


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: ".".join(option.path))
def test_each_setting_is_read(option):
    """Each setting is read somewhere outside of `exporter/config`."""
    name = ".".join(option.path)
    assert is_read(option.path, CODE), f"nothing reads settings.{name}: use it, or remove it from config/settings.py"


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
    assert is_read(("cache", "ttl"), code) is read
