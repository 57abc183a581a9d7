import ast
import graphlib
import re
from pathlib import Path

import pytest

import exporter

PACKAGE = Path(exporter.__file__).parent

ORDER = (
    "__main__",
    "cli",
    "commands",
    "web",
    "status",
    "accounts",
    "account",
    "telemetry",
    "exposition",
    "collectors",
    "telnyx",
    "server",
    "config",
    "cache",
    "logs",
    "sandbox",
    "assets",
    "build",
)
"""The parts of the exporter. A part imports only from parts below it."""
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
MAX_LINES = 300
MAX_MODULES = 8


def name_of(path):
    """Return a module's dotted name without the leading `exporter`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def imported(path):
    """Yield the names of the exporter's modules that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("exporter")], "use from ... import"
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "use absolute imports"
            package, _, module = node.module.partition(".")
            if package == "exporter":
                inner = [f"{module}.{alias.name}".removeprefix(".") for alias in node.names]
                yield from [name for name in inner if name in NAMES] or [module] * bool(module)


def part_of(name):
    """Return the part that a module belongs to."""
    return name.partition(".")[0]


def test_every_part_has_a_place():
    """A new package or module is added to the order."""
    assert {part_of(name) for name in NAMES} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    """A module imports only from its own package and from parts below it."""
    part = part_of(name_of(path))
    below = ORDER[ORDER.index(part) :] if path.parent != PACKAGE else ORDER[ORDER.index(part) + 1 :]
    forbidden = {part_of(name) for name in imported(path)} - set(below)
    assert not forbidden, f"{path.name} imports from above: {forbidden}, see ORDER in tests/project/test_imports.py"


def test_no_import_is_circular():
    """No module imports itself through others, not even for type checking."""
    graphlib.TopologicalSorter({name_of(path): set(imported(path)) - {name_of(path)} for path in MODULES}).prepare()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_are_short(path):
    """No module has more than 300 lines."""
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{path.name} has {lines} lines: split it"


@pytest.mark.parametrize(
    "package", sorted(path.parent for path in PACKAGE.rglob("__init__.py")), ids=lambda path: path.name
)
def test_packages_are_small(package):
    """No package has more than 8 modules. `collectors` has one for each resource."""
    assert package.name == "collectors" or len(list(package.glob("*.py"))) <= MAX_MODULES


def test_only_one_package_uses_httpx():
    """Only `telnyx/http` imports httpx, not even for type checking elsewhere, so that it can be replaced."""
    users = {path.parent for path in MODULES if re.search(r"\b(import|from) (httpx|httpcore)", path.read_text())}
    assert users == {PACKAGE / "telnyx" / "http"}
