import ast
from pathlib import Path

import pytest

import exporter

PACKAGE = Path(exporter.__file__).parent

RANKS = (
    {"errors", "files", "settings", "cache", "models", "logs", "reload"},
    {"answers", "options", "keys", "walk", "metrics", "tls"},
    {"client", "exposition", "protocol", "webconfig"},
    {"negotiation", "rendering", "sandbox"},
    {"refresh"},
    {"telemetry", "landing", "server", "auth"},
    {"web", "account"},
    {"cli"},
    {"__main__"},
)
"""Data flows one way: a module imports from those before its own set only."""


def imported(module):
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            yield from [node.module] if node.module else [alias.name for alias in node.names]


def test_every_module_has_a_rank():
    """A new module has to say where it stands."""
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"} == set().union(*RANKS)


@pytest.mark.parametrize("rank", range(len(RANKS)))
def test_imports_go_one_way(rank):
    """A module imports from lower ranks only."""
    below = set().union(*RANKS[:rank], {"__version__"})
    for module in RANKS[rank]:
        assert set(imported(module)) <= below, module
